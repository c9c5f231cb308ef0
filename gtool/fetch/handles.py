"""libcurl easy handles: how settings and a request become curl options, and what a handle has measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pycurl

from gtool import __version__
from gtool.errors import UsageError
from gtool.fetch.record import Measured
from gtool.fetch.request import Request
from gtool.fetch.settings import Network
from gtool.fetch.stores import ResumePoint

HTTP_VERSIONS = {
    "1.1": pycurl.CURL_HTTP_VERSION_1_1,
    "2": pycurl.CURL_HTTP_VERSION_2_0,
    "3": pycurl.CURL_HTTP_VERSION_3,
}
IP_VERSIONS = {"4": pycurl.IPRESOLVE_V4, "6": pycurl.IPRESOLVE_V6}
ONLY_HTTP = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
BUFFER_BYTES = 1 << 17  # one for all handles: libcurl receives into a buffer of the multi handle

#: the fields of Measured, in order, but the last one
INFOS = (
    pycurl.EFFECTIVE_METHOD, pycurl.RESPONSE_CODE, pycurl.INFO_HTTP_VERSION,
    pycurl.CONTENT_TYPE, pycurl.SIZE_DOWNLOAD_T, pycurl.REDIRECT_COUNT, pycurl.NUM_CONNECTS, pycurl.PRIMARY_IP,
    pycurl.PRIMARY_PORT, pycurl.NAMELOOKUP_TIME, pycurl.CONNECT_TIME, pycurl.APPCONNECT_TIME,
    pycurl.STARTTRANSFER_TIME, pycurl.TOTAL_TIME,
)  # fmt: skip

WriteFunction = Callable[[bytes], int | None]


class Handle:
    """One easy handle, prepared once and used for one transfer after the other."""

    def __init__(
        self,
        network: Network,
        on_new_socket: Callable[[int, int], int],
        share: pycurl.CurlShare | None,
        want_headers: bool,
    ) -> None:
        """`want_headers` has `header_lines` filled by each attempt. UsageError if libcurl can't do a setting."""
        self.curl = pycurl.Curl()
        self._want_headers = want_headers
        self.header_lines: list[bytes] = []
        self.refused: list[str] = []  #: addresses that --deny-private did not let it connect to
        self._network = network
        self._on_new_socket = on_new_socket
        self._share = share
        self._is_plain = True
        if share:
            self.curl.setopt(pycurl.SHARE, share)  # outlives a reset()
        try:
            self._configure()
        except pycurl.error as error:
            raise UsageError(f"libcurl does not take these options: {error}", pycurl.version) from error

    def prepare(
        self, request: Request, write: WriteFunction, timeout_s: float | None, resume: ResumePoint | None
    ) -> None:
        """Set it up for one attempt. ValueError, pycurl.error if libcurl does not take the URL or a header."""
        if not self._is_plain:
            self.curl.reset()
            self._configure()
        if self.header_lines:
            self.header_lines.clear()
        if self.refused:
            self.refused.clear()
        set_option = self.curl.setopt
        set_option(pycurl.URL, request.url)
        set_option(pycurl.WRITEFUNCTION, write)
        if not request.is_plain:
            self._apply(request)
        if timeout_s is not None:
            self._is_plain = False
            set_option(pycurl.TIMEOUT_MS, _milliseconds(timeout_s))
        if resume:
            self._ask_for_rest(resume)

    @property
    def is_connected(self) -> bool:
        """Whether the current attempt has a connection, TLS and all, and has begun to send."""
        return bool(self.curl.getinfo(pycurl.PRETRANSFER_TIME))

    def measured(self) -> Measured:
        """What libcurl has measured of the last attempt."""
        getinfo = self.curl.getinfo
        # Asking libcurl for the URL takes longer than for all the rest, so it is asked only when it has changed.
        try:
            redirected_to = getinfo(pycurl.EFFECTIVE_URL) if getinfo(pycurl.REDIRECT_COUNT) else None
            return Measured._make((*map(getinfo, INFOS), redirected_to))
        except UnicodeDecodeError:  # a header of the peer, in no encoding that pycurl knows
            raw = [self.curl.getinfo_raw(info) for info in (*INFOS, pycurl.EFFECTIVE_URL)]
            return Measured._make(text.decode("latin-1") if isinstance(text, bytes) else text for text in raw)

    def bytes_moved(self) -> int:
        """How much this attempt has sent and received so far; of headers, received ones only."""
        getinfo = self.curl.getinfo
        moved: int = getinfo(pycurl.SIZE_UPLOAD_T) + getinfo(pycurl.SIZE_DOWNLOAD_T) + getinfo(pycurl.HEADER_SIZE)
        return moved

    def flush_cookies(self) -> None:
        self.curl.setopt(pycurl.COOKIELIST, "FLUSH")

    def close(self) -> None:
        self.curl.close()

    def _apply(self, request: Request) -> None:
        self._is_plain = False
        network = self._network
        data = network.data if request.data is None else request.data
        _set_method(self.curl, request.method or network.request, data)
        self._headers = _merged(self._network.header, request.headers)
        self.curl.setopt(pycurl.HTTPHEADER, self._headers)

    def _ask_for_rest(self, resume: ResumePoint) -> None:
        """Ask for the rest of a body if it is still that body (RFC 9110 section 13.1.5), and not compressed."""
        self._is_plain = False
        self.curl.setopt(pycurl.RANGE, f"{resume.offset}-")
        self.curl.unsetopt(pycurl.ACCEPT_ENCODING)
        self.curl.setopt(pycurl.HTTPHEADER, [*self._headers, f"If-Range: {resume.validator}".encode("latin-1")])

    def _configure(self) -> None:
        network, curl = self._network, self.curl
        self._is_plain = True
        self._headers = _merged(network.header, ())
        set_option = curl.setopt
        set_option(pycurl.SOCKOPTFUNCTION, self._on_new_socket)
        if self._want_headers:
            # list.append returns None, which pycurl takes for "all of it": no Python code runs per header.
            set_option(pycurl.HEADERFUNCTION, self.header_lines.append)
        set_option(pycurl.NOSIGNAL, 1)
        set_option(pycurl.BUFFERSIZE, BUFFER_BYTES)
        set_option(pycurl.PROTOCOLS, ONLY_HTTP)
        set_option(pycurl.REDIR_PROTOCOLS, ONLY_HTTP)
        set_option(pycurl.FOLLOWLOCATION, int(network.location))
        set_option(pycurl.MAXREDIRS, network.max_redirs)
        if network.connect_timeout:
            set_option(pycurl.CONNECTTIMEOUT_MS, _milliseconds(network.connect_timeout))
        set_option(
            pycurl.USERAGENT, _bytes(f"gtool/{__version__}" if network.user_agent is None else network.user_agent)
        )
        if network.compressed:
            set_option(pycurl.ACCEPT_ENCODING, "")
        if network.data is not None or network.request:
            _set_method(curl, network.request, network.data)
        if self._headers:
            set_option(pycurl.HTTPHEADER, self._headers)
        if self._share:
            _set_cookies(curl, network)
        self._configure_connection()

    def _configure_connection(self) -> None:
        network, set_option = self._network, self.curl.setopt
        texts: list[tuple[int, str | None]] = [
            (pycurl.USERPWD, network.user),
            (pycurl.PROXY, network.proxy),
            (pycurl.CAINFO, network.cacert),
            (pycurl.SSLCERT, network.cert),
            (pycurl.SSLKEY, network.key),
            (pycurl.UNIX_SOCKET_PATH, network.unix_socket),
            (pycurl.INTERFACE, network.interface),
        ]
        for option, text in texts:
            if text is not None:
                set_option(option, _bytes(text))
        if network.netrc:
            set_option(pycurl.NETRC, pycurl.NETRC_OPTIONAL)
        if network.insecure:
            set_option(pycurl.SSL_VERIFYPEER, 0)
            set_option(pycurl.SSL_VERIFYHOST, 0)
        if network.resolve:
            set_option(pycurl.RESOLVE, [*map(_bytes, network.resolve)])
        if network.connect_to:
            set_option(pycurl.CONNECT_TO, [*map(_bytes, network.connect_to)])
        if network.ip_version:
            set_option(pycurl.IPRESOLVE, IP_VERSIONS[network.ip_version])
        if network.http_version:
            set_option(pycurl.HTTP_VERSION, HTTP_VERSIONS[network.http_version])
            # Wait whether a new connection can carry further transfers rather than open more, but only for who asks for
            # that version: of some servers only the first answer tells, and while it is slow all others would wait.
            set_option(pycurl.PIPEWAIT, int(network.http_version != "1.1"))
        if network.deny_private:
            set_option(pycurl.PROXY, "")  # a proxy from the environment would resolve names out of our sight
            set_option(pycurl.OPENSOCKETFUNCTION, self._open_public_socket)

    def _open_public_socket(self, _purpose: int, address: tuple[int, int, int, Any]) -> Any:
        family, kind, protocol, target = address
        import socket  # these take their time, and most runs deny nothing

        from gtool.fetch.policy import is_public

        host = target[0] if isinstance(target, tuple) else str(target)
        if not is_public(host):
            self.refused.append(host)
            return pycurl.SOCKET_BAD
        return socket.socket(family, kind, protocol)


def cookie_share(network: Network) -> pycurl.CurlShare | None:
    """Make what lets all handles see one another's cookies, if there are to be any."""
    if network.cookie is None and network.cookie_jar is None:
        return None
    share = pycurl.CurlShare()
    share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_COOKIE)
    return share


def _set_cookies(curl: pycurl.Curl, network: Network) -> None:
    if network.cookie is not None:
        # As curl has it: with a `=` these are cookies, else the name of a file of them.
        curl.setopt(pycurl.COOKIE if "=" in network.cookie else pycurl.COOKIEFILE, _bytes(network.cookie))
    if network.cookie_jar is not None:
        curl.setopt(pycurl.COOKIEFILE, "")
        curl.setopt(pycurl.COOKIEJAR, _bytes(network.cookie_jar))


def _set_method(curl: pycurl.Curl, method: str | None, data: bytes | None) -> None:
    """Have a request sent with that method and body, whatever the handle was set up for before."""
    if method == "HEAD":
        curl.unsetopt(pycurl.CUSTOMREQUEST)
        curl.setopt(pycurl.NOBODY, 1)  # or libcurl waits for a body that never comes
        return
    curl.setopt(pycurl.NOBODY, 0)
    if data is not None:
        curl.setopt(pycurl.POSTFIELDS, data)
    implied = "GET" if data is None else "POST"
    if method not in (None, implied):  # one that is not set by hand turns to GET where a redirect says so
        curl.setopt(pycurl.CUSTOMREQUEST, _bytes(method))
    else:
        curl.unsetopt(pycurl.CUSTOMREQUEST)


def _bytes(text: str) -> bytes:
    """Text for libcurl: UTF-8, and whatever bytes the command line has had. pycurl takes a str only if it is ASCII."""
    return text.encode(errors="surrogateescape")


def _milliseconds(seconds: float) -> int:
    """For libcurl, whose time-outs are C longs: at least 1, since 0 is none, and at most 24 days."""
    return max(1, round(min(seconds * 1000, 2**31 - 1)))


def _merged(defaults: tuple[str, ...], headers: tuple[str, ...]) -> list[bytes]:
    """Header lines of a run, with those of one request in place of the ones of the same name."""
    names = {line.partition(":")[0].lower() for line in headers}
    kept = [line for line in defaults if line.partition(":")[0].lower() not in names]
    return [_bytes(line) for line in (*kept, *headers)]
