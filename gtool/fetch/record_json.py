"""Records, and what else a run says, as JSON. Pure. Plain bodies need none of it: simplejson is 3 ms of a start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import simplejson

from gtool.fetch.record import FIELDS, Record

_escape: Callable[[str], str] = simplejson.encoder.encode_basestring_ascii
encode_json: Callable[[Any], str] = simplejson.JSONEncoder(
    ignore_nan=True,  # never an invalid document
    namedtuple_as_object=False,
    tuple_as_array=False,
    use_decimal=False,
).encode

_HEAD = (
    '{"seq": %d, "id": %s, "url": %s, "ok": %s, "method": %s, "url_effective": %s, "response_code": %d, '
    '"http_version": "%s", "content_type": %s, "size_download": %d, '
)
_TAIL = (
    '"num_redirects": %d, "num_retries": %d, "num_connects": %d, "remote_ip": %s, "remote_port": %d, '
    '"time_namelookup": %.6f, "time_connect": %.6f, "time_appconnect": %.6f, "time_starttransfer": %.6f, '
    '"time_total": %.6f, "started_at": "%s", "exitcode": %d, "errormsg": %s}\n'
)
_COMMON = frozenset(FIELDS) - {"headers", "sha256", "body", "body_base64", "body_path", "truncated"}


def json_line(record: Record) -> str:
    """Spell a record as a line of JSON.

    By hand, because simplejson takes 6 us for it and this 2 us of the 25 us that a small request takes in all; a test
    holds the two against each other. What not every record has goes through simplejson.
    """
    r, quote = record, _quote
    url = _escape(r["url"])
    effective = url if r["url_effective"] == r["url"] else quote(r["url_effective"])
    head = _HEAD % (
        r["seq"], quote(r["id"]), url, "true" if r["ok"] else "false", quote(r["method"]),
        effective, r["response_code"], r["http_version"], quote(r["content_type"]), r["size_download"],
    )  # fmt: skip
    extra = ""
    if len(r) > len(_COMMON):
        extra = encode_json({name: value for name, value in r.items() if name not in _COMMON})[1:-1] + ", "
    return head + extra + _TAIL % (
        r["num_redirects"], r["num_retries"], r["num_connects"], quote(r["remote_ip"]), r["remote_port"],
        r["time_namelookup"], r["time_connect"], r["time_appconnect"], r["time_starttransfer"], r["time_total"],
        r["started_at"], r["exitcode"], quote(r["errormsg"]),
    )  # fmt: skip


def _quote(value: object) -> str:
    if value is None:
        return "null"
    return _escape(value) if isinstance(value, str) else encode_json(value)
