"""What is asked for: one line of input becomes a Request, or a Rejected that says why not.

Pure: no file, no socket.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from gtool.fetch.urls import URL_MALFORMED, BadRequest, normalized, redacted, shown

LONGEST_TIME_S = 10**9
KEYS = frozenset({"url", "method", "headers", "data", "json", "id", "output", "sha256", "max_time"})

# Patterns, compiled when first used: most runs need none of them, and each would cost every start its share.
METHOD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token, RFC 9110 section 5.6.2
SHA256 = r"[0-9a-fA-F]{64}"


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
    check_method(method)
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


def check_method(method: str | None) -> None:
    """BadRequest for a method that HTTP can't have; None is left to what is sent."""
    if method is not None and not re.fullmatch(METHOD, method):
        raise BadRequest(URL_MALFORMED, f"bad method {method!r}")


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
