"""curl's --write-out: variables, escapes, and a line per input."""

from __future__ import annotations

import pytest

from gtool.fetch.record import FIELDS, NOTHING, build
from gtool.fetch.record_json import json_line
from gtool.fetch.write_out import ALIASES, parse_write_out

MEASURED = NOTHING._replace(method="GET", response_code=200, http_version=2, size_download=12, time_total=1.5)
RECORD = build(
    seq=3,
    request_id={"a": 1},
    url="http://h/",
    url_effective="http://h/x",
    measured=MEASURED,
    body={"body_path": "out/x"},
    num_retries=0,
    started_at=0.0,
    exitcode=0,
    errormsg=None,
)


def line(template: str, **changes: object) -> str:
    return parse_write_out(template)({**RECORD, **changes})


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("%{response_code}", "200"),
        ("%{url}", "http://h/"),
        ("%{url_effective}", "http://h/x"),
        ("%{size_download}", "12"),
        ("%{time_total}", "1.500000"),
        ("%{ok}", "true"),
        ("%{id}", '{"a": 1}'),
        ("%{errormsg}", ""),
        ("%{sha256}", ""),
        ("%{http_code}", "200"),
        ("%{urlnum}", "3"),
        ("%{filename_effective}", "out/x"),
        ("%{url} %{http_code}", "http://h/ 200"),
    ],
)
def test_a_variable_is_a_field_of_the_record(template, text):
    assert line(template) == f"{text}\n"


@pytest.mark.parametrize("name", [*FIELDS, *ALIASES])
def test_every_field_and_every_other_name_of_curl_is_a_variable(name):
    assert line(f"%{{{name}}}").endswith("\n")


def test_json_is_the_whole_record():
    assert line("%{json}") == json_line(RECORD)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (r"a\tb", "a\tb"),
        (r"a\nb", "a\nb"),
        (r"a\rb", "a\rb"),
        (r"a\\nb", r"a\nb"),
        (r"a\qb", r"a\qb"),
        ("a\\", "a\\"),
        ("100%%", "100%"),
        ("%%{url}", "%{url}"),
        ("100%", "100%"),
        ("%{url", "%{url"),
        ("", ""),
        ("ü", "ü"),
    ],
)
def test_escapes_are_those_of_curl(template, text):
    assert line(template) == f"{text}\n"


def test_a_template_with_its_own_newline_gets_no_second_one():
    assert line(r"%{url}\n") == "http://h/\n"


@pytest.mark.parametrize("name", ["http_cod", "", "URL", "header_json"])
def test_an_unknown_variable_is_an_error_that_names_it(name):
    with pytest.raises(ValueError, match=rf"%\{{{name}\}}"):
        parse_write_out(f"%{{{name}}}")


def test_a_peer_cannot_talk_to_the_terminal():
    assert line("%{content_type}", content_type="\x1b[2Jtext\nhtml") == "\\x1b[2Jtext\\nhtml\n"


def test_braces_and_backslashes_of_a_value_are_left_alone():
    assert line("%{url}", url=r"http://h/%{url}\n") == "http://h/%{url}\\n\n"
