"""URLs: as libcurl shall have them, and as they may be shown. Pure.

Exit codes are curl's (https://curl.se/libcurl/c/libcurl-errors.html).
"""

from __future__ import annotations

import re
from functools import lru_cache

UNSUPPORTED_PROTOCOL = 1
URL_MALFORMED = 3

DEFAULT_PORTS = {"http": "80", "https": "443"}

# Patterns, compiled when first used: most runs need none of them, and each would cost every start its share.
#: `file:/etc/passwd`, `mailto:x`: a scheme with no `//`, which curl would take for a host and a port
BARE_SCHEME = r"(?i)(file):|([a-z][a-z0-9+.-]*):(?![\d/?#]|$|[^/?#]*@)"
PASSWORD = r"^([A-Za-z][A-Za-z0-9+.-]*://)?([^/?#:]*):([^/?#]*)@"
#: where a URL is too broken to tell what is its authority, everything up to the last @ is taken for a secret
PASSWORD_IN_WRECK = r"(?s)^([A-Za-z][A-Za-z0-9+.-]*://)?([^:]*):(.*)@"
PASSWORD_WITHIN = r"(://[^/\s:@]*):[^\s]*@"
HALF_SCHEME = r"(?i)https?:(?!\d|[^/?#]*@)"
HOST_NAME = r"[A-Za-z0-9._-]+"
SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*)://"
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))  #: what is left as it is in a URL that has other characters


class BadRequest(ValueError):
    """What is asked for cannot be sent; gtool.fetch.request makes a Rejected of it."""

    def __init__(self, exitcode: int, message: str) -> None:
        super().__init__(message)
        self.exitcode = exitcode


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
