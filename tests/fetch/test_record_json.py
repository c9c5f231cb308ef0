"""A record's line of JSON, made by hand, says what simplejson would."""

from __future__ import annotations

import simplejson
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.fetch.record import HTTP_VERSIONS, Measured, build
from gtool.fetch.record_json import json_line

fixed = settings(derandomize=True, deadline=None, max_examples=300)

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # surrogates and control characters too
COUNTS = st.integers(0, 2**63)
SECONDS = st.integers(0, 10**11).map(lambda us: us / 1e6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MEASURED = st.builds(
    Measured,
    method=st.sampled_from(["", "GET", "PURGE"]),
    response_code=st.integers(0, 999),
    http_version=st.sampled_from([*HTTP_VERSIONS, 99]),
    content_type=st.none() | TEXT,
    size_download=COUNTS,
    num_redirects=COUNTS,
    num_connects=COUNTS,
    remote_ip=TEXT,
    remote_port=st.integers(0, 65535),
    time_namelookup=SECONDS,
    time_connect=SECONDS,
    time_appconnect=SECONDS,
    time_starttransfer=SECONDS,
    time_total=SECONDS,
    redirected_to=st.none() | TEXT,
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.dictionaries(TEXT, st.lists(TEXT, max_size=3), max_size=3),
        "sha256": st.none() | TEXT,
        "body": TEXT,
        "body_base64": TEXT,
        "body_path": TEXT,
        "truncated": st.booleans(),
    },
)
RECORDS = st.builds(
    build,
    seq=COUNTS,
    request_id=JSON,
    url=TEXT,
    url_effective=st.none() | TEXT,
    measured=MEASURED,
    body=BODY,
    num_retries=COUNTS,
    started_at=st.floats(0, 1e10),
    exitcode=st.integers(0, 200),
    errormsg=st.none() | TEXT,
)


@fixed
@given(RECORDS)
def test_a_line_says_what_simplejson_says_of_the_record(record):
    assert simplejson.loads(json_line(record)) == simplejson.loads(simplejson.dumps(record, ignore_nan=True))


@fixed
@given(RECORDS)
def test_fields_come_out_in_the_order_of_the_record(record):
    assert list(simplejson.loads(json_line(record))) == list(record)


@fixed
@given(RECORDS)
def test_a_record_is_one_line_of_ascii(record):
    line = json_line(record)
    assert line.isascii()
    assert line.isprintable() is False
    assert line.removesuffix("\n").isprintable()


@fixed
@given(RECORDS, TEXT)
def test_an_effective_url_that_is_the_url_is_spelled_like_it(record, url):
    line = json_line({**record, "url": url, "url_effective": url})
    assert simplejson.loads(line)["url_effective"] == simplejson.loads(line)["url"]
