"""What is asked for: one line of input becomes a Request, or a Rejected that says why not.

Pure: no file, no socket. Exit codes are curl's (https://curl.se/libcurl/c/libcurl-errors.html).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

UNSUPPORTED_PROTOCOL = 1
URL_MALFORMED = 3

DEFAULT_PORTS = {"http": "80", "https": "443"}
LONGEST_TIME_S = 10**9
KEYS = frozenset({"url", "method", "headers", "data", "json", "id", "output", "sha256", "max_time"})

# Patterns, compiled when first used: most runs need none of them, and each would cost every start its share.
#: `file:/etc/passwd`, `mailto:x`: a scheme with no `//`, which curl would take for a host and a port
BARE_SCHEME = r"(?i)(file):|([a-z][a-z0-9+.-]*):(?![\d/?#]|$|[^/?#]*@)"
PASSWORD = r"^([A-Za-z][A-Za-z0-9+.-]*://)?([^/?#:]*):([^/?#]*)@"
#: where a URL is too broken to tell what is its authority, everything up to the last @ is taken for a secret
PASSWORD_IN_WRECK = r"(?s)^([A-Za-z][A-Za-z0-9+.-]*://)?([^:]*):(.*)@"
METHOD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token, RFC 9110 section 5.6.2
PASSWORD_WITHIN = r"(://[^/\s:@]*):[^\s]*@"
SHA256 = r"[0-9a-fA-F]{64}"
HALF_SCHEME = r"(?i)https?:(?!\d|[^/?#]*@)"
HOST_NAME = r"[A-Za-z0-9._-]+"
SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*)://"
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))  #: what is left as it is in a URL that has other characters


class Request(NamedTuple):
    """One input, ready to be sent. A tuple, since a million of them are built in a run."""

    url: str
    #: the URL as the input has it, without its password: for records and the log
    shown: str
    #: what limits per host count by: `host` or `host:port`, lower case, the default port left out
    host: str
    method: str | None = None
    headers: tuple[str, ...] = ()
    data: bytes | None = None
    #: what the input called itself, returned as it came: any JSON value
    id: Any = None
    output: str | None = None
    sha256: str | None = None
    max_time_s: float | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it asks for nothing but its URL, so that a prepared handle serves it as it is."""
        return self.method is None and not self.headers and self.data is None


class Rejected(NamedTuple):
    """An input that cannot be sent, and the code and message of its record."""

    url: str
    exitcode: int
    errormsg: str
    id: Any = None


class BadRequest(ValueError):
    """Raised inside this module; leaves it as a Rejected."""

    def __init__(self, exitcode: int, message: str) -> None:
        super().__init__(message)
        self.exitcode = exitcode


def parse_line(line: bytes) -> Request | Rejected | None:
    """Parse one line of input: a URL, a JSON request object, or None for a blank line or a comment."""
    line = line.strip()
    if not line or line.startswith(b"#"):
        return None
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return Rejected(shown(line.decode(errors="replace")), URL_MALFORMED, f"not UTF-8: {error.reason}")
    return parse_object(text) if text.startswith("{") else parse_url(text)


def parse_url(text: str) -> Request | Rejected:
    """Make a plain Request of a URL; `http://` is put before one that has no scheme."""
    try:
        url, host = normalized(text)
        return Request(url, redacted(text), host)
    except BadRequest as error:
        return Rejected(shown(text), error.exitcode, str(error))


def parse_object(text: str) -> Request | Rejected:
    """Make a Request of a JSON object with `KEYS`; an unknown key is an error, not a surprise."""
    import simplejson  # 3 ms of a start, for those whose inputs are objects

    try:
        document = simplejson.loads(text)
    except (ValueError, RecursionError) as error:
        return Rejected("…", URL_MALFORMED, f"not a JSON request: {error}")  # it may hold secrets anywhere
    url = document.get("url")
    try:
        return _request(document)
    except BadRequest as error:
        shown_url = shown(url) if isinstance(url, str) else ""
        return Rejected(shown_url, error.exitcode, str(error), document.get("id"))


def _request(document: Mapping[str, Any]) -> Request:
    unknown = sorted(document.keys() - KEYS)
    if unknown:
        raise BadRequest(URL_MALFORMED, f"unknown key {unknown[0]!r} in the request (known: {', '.join(sorted(KEYS))})")
    if "data" in document and "json" in document:
        raise BadRequest(URL_MALFORMED, "'data' and 'json' exclude each other")
    text = _typed(document, "url", str) or ""
    url, host = normalized(text)
    method = _typed(document, "method", str)
    if method is not None and not re.fullmatch(METHOD, method):
        raise BadRequest(URL_MALFORMED, f"bad method {method!r}")
    sha256 = _typed(document, "sha256", str)
    if sha256 is not None and not re.fullmatch(SHA256, sha256):
        raise BadRequest(URL_MALFORMED, "'sha256' is not 64 hexadecimal digits")
    max_time_s = _typed(document, "max_time", (int, float))
    if max_time_s is not None and not 0 < max_time_s <= LONGEST_TIME_S:
        raise BadRequest(URL_MALFORMED, f"'max_time' is not a number of seconds from 0 to {LONGEST_TIME_S}")
    headers = header_lines(document.get("headers"))
    data = _typed(document, "data", str)
    body = data.encode(errors="surrogatepass") if data is not None else None
    if "json" in document:
        body = _json_body(document["json"])
        headers = with_json_headers(headers)
    output = _typed(document, "output", str)
    lower_sha256 = sha256.lower() if sha256 else None
    request_id = document.get("id")
    return Request(url, redacted(text), host, method, headers, body, request_id, output, lower_sha256, max_time_s)


def _json_body(value: object) -> bytes:
    import simplejson

    return simplejson.dumps(value, ignore_nan=True).encode()


def _typed(document: Mapping[str, Any], key: str, kind: Any) -> Any:
    value = document.get(key)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise BadRequest(URL_MALFORMED, f"{key!r} has the wrong type in the request")
    return value


def header_lines(headers: object) -> tuple[str, ...]:
    """Turn `{"name": "value" or ["value", ...]}` or `["name: value", ...]` into header lines."""
    if headers is None:
        return ()
    if isinstance(headers, Mapping):
        lines = [
            f"{name}: {_header_value(name, value)}"
            for name, values in headers.items()
            for value in (values if isinstance(values, list) else [values])
        ]
    elif isinstance(headers, list) and all(isinstance(line, str) for line in headers):
        lines = headers
    else:
        raise BadRequest(URL_MALFORMED, "'headers' is neither an object nor a list of lines")
    for line in lines:
        check_header(line)
    return tuple(lines)


def _header_value(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadRequest(URL_MALFORMED, f"the value of header {name!r} is neither text nor a number")
    return str(value)


def check_header(line: str) -> None:
    """Raise BadRequest for a header line that could smuggle in another (CR, LF, NUL), or has no name."""
    name, colon, _ = line.partition(":")
    if not colon:
        name = name.removesuffix(";")  # curl's way to send a header with no value
    has_name = re.fullmatch(METHOD, name) and (colon or line.endswith(";"))
    if not has_name or any(c in line for c in "\r\n\0"):
        raise BadRequest(URL_MALFORMED, f"bad header {name!r} (a name, a colon, and a value with no line end)")


def with_json_headers(headers: tuple[str, ...]) -> tuple[str, ...]:
    """Add what curl's --json adds, where the caller has not said otherwise."""
    given = {line.partition(":")[0].lower() for line in headers}
    wanted = {"content-type": "Content-Type: application/json", "accept": "Accept: application/json"}
    return headers + tuple(line for name, line in wanted.items() if name not in given)


def normalized(text: str) -> tuple[str, str]:
    """Give the URL as libcurl shall have it, and its host key; BadRequest says what is wrong with it.

    As strict as scheduling needs it (RFC 3986 section 3.2): libcurl's own parser has the last word.
    """
    scheme, _, rest = text.partition("://")
    if scheme not in DEFAULT_PORTS:
        scheme, rest, text = _with_scheme(text)
    authority = rest.partition("/")[0]
    host = _host_key(scheme, authority)
    if not text.isprintable():
        raise BadRequest(URL_MALFORMED, "malformed URL")
    return (text, host) if text.isascii() else _ascii(scheme, text)


def _with_scheme(text: str) -> tuple[str, str, str]:
    """Find or supply the scheme, in lower case: scheme, what follows it, the whole."""
    match = re.match(SCHEME, text)
    if match is None:
        if re.match(HALF_SCHEME, text):
            raise BadRequest(URL_MALFORMED, "malformed URL: no // after the scheme")
        if bare := re.match(BARE_SCHEME, text):
            raise BadRequest(UNSUPPORTED_PROTOCOL, f"protocol {bare[1] or bare[2]!r} is not http or https")
        return "http", text, f"http://{text}"
    scheme = match[1].lower()
    if scheme not in DEFAULT_PORTS:
        raise BadRequest(UNSUPPORTED_PROTOCOL, f"protocol {scheme!r} is not http or https")
    return scheme, text[match.end() :], text


@lru_cache(maxsize=1024)
def _host_key(scheme: str, authority: str) -> str:
    """Take `[user[:password]@]host[:port]` apart: the host, and the port if it is not the scheme's own."""
    authority = authority.partition("?")[0].partition("#")[0].rpartition("@")[2]
    if authority.startswith("["):
        host, bracket, port = authority.partition("]")
        host, port = host + bracket, port.removeprefix(":")
    else:
        host, _, port = authority.partition(":")
    if not host or (host.startswith("[") and not host.endswith("]")) or not (port.isdecimal() or port == ""):
        raise BadRequest(URL_MALFORMED, "malformed URL")
    host = host.lower()
    return host if not port or port == DEFAULT_PORTS[scheme] else f"{host}:{port}"


def _ascii(scheme: str, text: str) -> tuple[str, str]:
    """Spell a URL in ASCII: the host as IDNA, the rest percent-encoded as UTF-8 (RFC 3987 section 3.1)."""
    from urllib.parse import quote

    import idna

    start = text.index("://") + len("://")
    end = start + re.match("[^/?#]*", text[start:]).end()  # type: ignore[union-attr]
    before, at, host_and_port = text[start:end].rpartition("@")
    host, colon, port = host_and_port.partition(":")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()  # IDNA 2008: what registries and curl go by
        except idna.IDNAError as error:
            raise BadRequest(URL_MALFORMED, f"bad international host name: {error}") from error
        if not re.fullmatch(HOST_NAME, host):  # as where a character stands for an @ or a slash
            raise BadRequest(URL_MALFORMED, "malformed URL")
    authority = f"{host}{colon}{port}"
    tail = quote(text[end:], safe=PRINTABLE)
    return f"{text[:start]}{quote(before, safe=PRINTABLE)}{at}{authority}{tail}", _host_key(scheme, authority)


def redacted(url: str) -> str:
    """Hide the password of a URL."""
    return re.sub(PASSWORD, r"\1\2:***@", url) if "@" in url else url


def redacted_message(message: str) -> str:
    """Hide the passwords of URLs inside a message."""
    return re.sub(PASSWORD_WITHIN, r"\1:***@", message) if "@" in message else message


def shown(text: str) -> str:
    """What a record shows of an input that could not be used: no password, not too long."""
    text = re.sub(PASSWORD_IN_WRECK, r"\1\2:***@", text)
    return text if len(text) <= 2048 else text[:2048] + "…"
