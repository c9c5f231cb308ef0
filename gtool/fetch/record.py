"""The record of one input: what a transfer measured, in curl's names and units. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

#: A dict, built once per input and never changed after it is out: FIELDS says what it may hold, in order.
Record: TypeAlias = dict[str, Any]

FIELDS = (
    "seq", "id", "url", "ok", "method", "url_effective", "response_code", "http_version", "content_type",
    "size_download", "headers", "sha256", "body", "body_base64", "body_path", "truncated", "num_redirects",
    "num_retries", "num_connects", "remote_ip", "remote_port", "time_namelookup", "time_connect", "time_appconnect",
    "time_starttransfer", "time_total", "started_at", "exitcode", "errormsg",
)  # fmt: skip

HTTP_VERSIONS = {0: "0", 1: "1.0", 2: "1.1", 3: "2", 30: "3"}  #: CURLINFO_HTTP_VERSION, spelled as curl does

#: exit codes of curl that gtool itself gives; https://curl.se/libcurl/c/libcurl-errors.html
COULD_NOT_CONNECT, PARTIAL, HTTP_ERROR, WRITE_ERROR, TIMED_OUT, TOO_LARGE = 7, 18, 22, 23, 28, 63
#: curl has no number for a body that came whole and is the wrong one; this is its "weird server reply"
CHECKSUM_MISMATCH = 8


class Measured(NamedTuple):
    """What libcurl says of the last attempt. Times are seconds since its start, cumulative; sizes are bytes."""

    method: str
    response_code: int
    http_version: int
    content_type: str | None
    size_download: int
    num_redirects: int
    num_connects: int
    remote_ip: str
    remote_port: int
    time_namelookup: float
    time_connect: float
    time_appconnect: float
    time_starttransfer: float
    time_total: float
    redirected_to: str | None  #: the last URL, where redirects have led to another


#: of an input that was never sent
NOTHING = Measured("", 0, 0, None, 0, 0, 0, "", 0, 0.0, 0.0, 0.0, 0.0, 0.0, None)


def build(
    seq: int,
    request_id: object,
    url: str,
    url_effective: str | None,
    measured: Measured,
    body: Mapping[str, Any],
    num_retries: int,
    started_at: float,
    exitcode: int,
    errormsg: str | None,
) -> Record:
    """Build a record. `body` has what is known of the body, `started_at` is seconds since the epoch.

    `url_effective` is the URL that was asked for last, None if none was: it is other than `url` only where `url` had no
    scheme, or was redirected.
    """
    return {
        "seq": seq,
        "id": request_id,
        "url": url,
        "ok": exitcode == 0,
        "method": measured.method or None,
        "url_effective": url_effective,
        "response_code": measured.response_code,
        "http_version": HTTP_VERSIONS.get(measured.http_version, "0"),
        "content_type": measured.content_type,
        "size_download": measured.size_download,
        **body,
        "num_redirects": measured.num_redirects,
        "num_retries": num_retries,
        "num_connects": measured.num_connects,
        "remote_ip": measured.remote_ip or None,
        "remote_port": max(0, measured.remote_port),
        "time_namelookup": measured.time_namelookup,
        "time_connect": measured.time_connect,
        "time_appconnect": measured.time_appconnect,
        "time_starttransfer": measured.time_starttransfer,
        "time_total": measured.time_total,
        "started_at": timestamp(started_at),
        "exitcode": exitcode,
        "errormsg": errormsg,
    }


def timestamp(seconds: float) -> str:
    """Spell seconds since the epoch as RFC 3339, UTC, microseconds."""
    whole = int(seconds)
    return f"{_whole_second(whole)}.{int((seconds - whole) * 1e6):06d}Z"


@lru_cache(maxsize=4)
def _whole_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def inline_body(data: bytes, truncated: bool) -> dict[str, Any]:
    """Show a body inside a record: as text if it is UTF-8, else as Base64.

    A cut may fall inside a character: up to three bytes of it are left out then.
    """
    if truncated:
        data = data[: _whole_characters(data)]
    try:
        shown: dict[str, Any] = {"body": data.decode()}
    except UnicodeDecodeError:
        import base64

        shown = {"body_base64": base64.b64encode(data).decode()}
    return {**shown, "truncated": truncated}


def _whole_characters(data: bytes) -> int:
    for back in range(1, min(4, len(data)) + 1):
        lead = data[-back]
        if lead & 0xC0 != 0x80:  # not a continuation byte: the last character starts here
            length = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return len(data) if length <= back else len(data) - back
    return len(data)


class Headers:
    """The header lines of one attempt as libcurl delivers them: those of interim answers and redirects first."""

    __slots__ = ("_lines",)

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = lines

    def status(self) -> int:
        """Status code of the last answer so far; 0 if there is none."""
        line = self._lines[self._last_answer()] if self._lines else b""
        words = line.split(None, 2)
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0

    def last(self, name: str) -> str | None:
        """Value of a header of the last answer; the last one where it is repeated."""
        values = self.as_dict().get(name)
        return values[-1] if values else None

    def as_dict(self) -> dict[str, list[str]]:
        """Headers of the last answer: lower-case names to their values in order."""
        headers: dict[str, list[str]] = {}
        for line in self._lines[self._last_answer() + 1 :]:
            name, colon, value = line.decode("latin-1").partition(":")
            if colon:
                headers.setdefault(name.strip().lower(), []).append(value.strip())
        return headers

    def _last_answer(self) -> int:
        index = len(self._lines) - 1
        while index > 0 and not self._lines[index].startswith(b"HTTP/"):
            index -= 1
        return max(index, 0)
