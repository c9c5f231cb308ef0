"""Input, options and outputs that are no good: each is told of in one line, and costs no other input anything."""

from __future__ import annotations

import json
import re
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TIMEOUT_S, Peer, Result, answer, command, environment

LONG = b"x" * (10 << 20)
MEMORY_KB = 80 << 10
FILE_LIMIT = 10_000

InShell = Callable[..., Result]


@pytest.fixture
def good(peer) -> Peer:
    """A server with nothing wrong."""
    return peer(lambda connection, head: connection.sendall(answer(b"good")))


@pytest.fixture
def in_shell(tmp_path) -> InShell:
    """Run gtool with its streams as a shell has them: `in_shell("<&-", "fetch", url)`."""

    def run(redirections: str, *args: str | Path) -> Result:
        line = ["sh", "-c", f'exec "$@" {redirections}', "sh", *command(*args)]
        done = subprocess.run(line, capture_output=True, timeout=TIMEOUT_S, cwd=tmp_path, env=environment())
        return Result(done.returncode, done.stdout, done.stderr.decode())

    return run


def in_order(result: Result) -> list[dict[str, Any]]:
    return sorted(result.records, key=lambda record: record["seq"])


def is_one_line(text: str) -> bool:
    return text.count("\n") == 1 and text.endswith("\n") and "Traceback" not in text


# Lines


def fetch_lines(gtool, good: Peer, line: bytes) -> dict[str, Any]:
    """Fetch a line between two good ones; give its record when theirs are as they should be."""
    url = good.url.encode()
    result = gtool("fetch", "--json", "-i", "-", stdin=b"\n".join([url, line, url]))
    before, bad, after = in_order(result)
    assert (before["body"], after["body"]) == ("good", "good")
    assert result.code == bad["exitcode"]
    assert result.err == ""
    return bad


@pytest.mark.parametrize("line", [b"http://127.0.0.1/\xff\xfe", b"\xff", b'{"url": "\xff"}', b"http://\xc3\x28/"])
def test_a_line_that_is_not_utf_8_has_code_3(gtool, good, line):
    record = fetch_lines(gtool, good, line)
    assert record["exitcode"] == 3
    assert "UTF-8" in record["errormsg"]


def test_an_argument_that_is_not_utf_8_has_code_3(gtool, good):
    result = gtool("fetch", "--json", "http://127.0.0.1/\udcff", good.url)
    assert [record["exitcode"] for record in in_order(result)] == [3, 0]


def test_a_line_of_10_mb_has_code_3_and_one_short_record(gtool, good):
    record = fetch_lines(gtool, good, b"http://127.0.0.1/" + LONG)
    assert record["exitcode"] == 3
    assert "longer than" in record["errormsg"]
    assert len(record["url"]) < 4096


def test_a_last_line_of_10_mb_has_its_record(gtool, good):
    result = gtool("fetch", "--json", "-i", "-", stdin=good.url.encode() + b"\n" + LONG)
    assert [record["exitcode"] for record in in_order(result)] == [0, 3]


def test_a_line_that_is_too_long_is_not_kept_in_memory(start_gtool, good):
    process = start_gtool("fetch", "--json", "-i", "-")
    for _ in range(10):
        process.stdin.write(LONG)
    process.stdin.write(b"\n" + good.url.encode() + b"\n")
    process.stdin.flush()
    assert [json.loads(process.stdout.readline())["exitcode"] for _ in range(2)] == [3, 0]
    assert peak_memory_kb(process.pid) < MEMORY_KB


def peak_memory_kb(pid: int) -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1])


def test_blank_lines_comments_and_carriage_returns_are_no_inputs(gtool, good):
    lines = f"# a list\r\n\r\n   \n  # more\n{good.url}\r\n\n".encode()
    assert [record["url"] for record in gtool("fetch", "--json", "-i", "-", stdin=lines).records] == [good.url]


def test_a_last_line_without_newline_is_an_input(gtool, good):
    assert gtool("fetch", "-i", "-", stdin=good.url.encode()).out == b"good"


def test_empty_input_is_no_failure(gtool):
    result = gtool("fetch", "--json", "-i", "-", stdin=b"")
    assert (result.code, result.out, result.err) == (0, b"", "")


# Request objects


BAD_OBJECTS = {
    "no JSON": b'{"url": ',
    "text after it": b'{"url": "127.0.0.1"} {}',
    "unknown key": b'{"url": "127.0.0.1", "verb": "GET"}',
    "no url": b'{"id": 1}',
    "url of a wrong type": b'{"url": 7}',
    "method of a wrong type": b'{"url": "127.0.0.1", "method": 7}',
    "method that is no token": b'{"url": "127.0.0.1", "method": "GET / HTTP/1.1\\r\\nX:"}',
    "data of a wrong type": b'{"url": "127.0.0.1", "data": {}}',
    "data and json": b'{"url": "127.0.0.1", "data": "a", "json": 1}',
    "headers of a wrong type": b'{"url": "127.0.0.1", "headers": "A: b"}',
    "header that smuggles another": b'{"url": "127.0.0.1", "headers": {"A": "b\\r\\nC: d"}}',
    "header without colon": b'{"url": "127.0.0.1", "headers": ["A"]}',
    "sha256 that is none": b'{"url": "127.0.0.1", "sha256": "abc"}',
    "max_time of a wrong type": b'{"url": "127.0.0.1", "max_time": "1s"}',
    "max_time of zero": b'{"url": "127.0.0.1", "max_time": 0}',
    "max_time that is no number": b'{"url": "127.0.0.1", "max_time": NaN}',
    "lone surrogate": b'{"url": "http://127.0.0.1/\\ud800"}',
    "nested too deep": b'{"url": "127.0.0.1", "id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "huge number": b'{"url": "127.0.0.1", "id": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("line", BAD_OBJECTS.values(), ids=BAD_OBJECTS.keys())
def test_a_bad_request_object_has_code_3_and_a_reason(gtool, good, line):
    record = fetch_lines(gtool, good, line)
    assert record["exitcode"] == 3
    assert record["errormsg"]
    assert "\n" not in record["errormsg"]


@pytest.mark.parametrize("max_time", ["1e300", "1" + "0" * 400, "1e-300"])
def test_an_absurd_max_time_harms_no_other_input(gtool, good, max_time):
    line = f'{{"url": "{good.url}", "max_time": {max_time}}}'.encode()
    assert fetch_lines(gtool, good, line)["exitcode"] in (0, 3, 28)


@pytest.mark.parametrize("value", ["null", "true", '{"a": "b"}'])
def test_a_header_value_that_is_no_text_is_not_sent_as_python_spells_it(gtool, good, value):
    fetch_lines(gtool, good, f'{{"url": "{good.url}", "headers": {{"X-Odd": {value}}}}}'.encode())
    sent = b"".join(good.requests)
    assert not re.search(rb"X-Odd: (None|True|\{'a)", sent)


def test_a_bad_request_object_keeps_its_id(gtool, good):
    assert fetch_lines(gtool, good, b'{"url": "file:x", "id": [1, "two"]}')["id"] == [1, "two"]


# Input files


def test_a_missing_input_file_ends_with_26_and_names_it(gtool):
    result = gtool("fetch", "--json", "-i", "missing.txt")
    assert result.code == 26
    assert is_one_line(result.err)
    assert "missing.txt: No such file" in result.err


def test_a_directory_as_input_file_ends_with_26_and_names_it(gtool, good, tmp_path):
    (tmp_path / "dir").mkdir()
    result = gtool("fetch", "--json", "-i", "dir", good.url)
    assert result.code == 26
    assert is_one_line(result.err)
    assert "dir: Is a directory" in result.err


def test_an_input_file_that_breaks_off_costs_no_other_input(gtool, good, tmp_path):
    (tmp_path / "urls").write_text(good.url)
    # The memory of a process, which is read at 0, where there is none: opens well, and has an I/O error.
    result = gtool("fetch", "--json", "-i", "/proc/self/mem", "-i", "urls", good.url)
    assert [record["body"] for record in result.records] == ["good", "good"]
    assert result.code == 26
    assert "/proc/self/mem" in result.err


def test_a_missing_data_file_ends_with_26_and_names_it(gtool):
    result = gtool("fetch", "-d", "@missing.bin", "127.0.0.1")
    assert result.code == 26
    assert is_one_line(result.err)
    assert "missing.bin" in result.err


def test_closed_stdin_ends_with_26_when_it_is_the_input(in_shell):
    result = in_shell("<&-", "fetch", "--json", "-i", "-")
    assert result.code == 26
    assert is_one_line(result.err)
    assert "stdin" in result.err


def test_closed_stdin_does_not_matter_when_it_is_not_the_input(in_shell, good):
    result = in_shell("<&-", "fetch", good.url)
    assert (result.code, result.out, result.err) == (0, b"good", "")


# Standard output


@pytest.mark.parametrize("options", [[], ["--json"], ["-w", "%{url}"]], ids=["bodies", "json", "write-out"])
def test_closed_stdout_ends_with_23(in_shell, good, options):
    result = in_shell(">&-", "fetch", *options, good.url)
    assert result.code == 23
    assert is_one_line(result.err)
    assert "stdout" in result.err


def test_closed_stdout_does_not_matter_when_bodies_go_to_files(in_shell, good, tmp_path):
    result = in_shell(">&-", "fetch", "-o", "{seq}", good.url)
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "0").read_bytes() == b"good"


def test_closed_stderr_does_not_matter(in_shell, good):
    result = in_shell("2>&-", "fetch", "file:x", good.url)
    assert (result.code, result.out) == (1, b"good")


@pytest.mark.parametrize("options", [[], ["--json"], ["-w", "%{url}"]], ids=["bodies", "json", "write-out"])
def test_a_full_disk_under_stdout_ends_with_23(in_shell, good, options):
    result = in_shell(">/dev/full", "fetch", *options, good.url)
    assert result.code == 23
    assert is_one_line(result.err)
    assert "stdout: No space left" in result.err


# Files of bodies


def test_an_output_directory_that_cannot_be_made_has_code_23_for_each(gtool, good, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = gtool("fetch", "--json", "-o", "file/{seq}", good.url, good.url)
    assert [record["exitcode"] for record in result.records] == [23, 23]
    assert result.code == 23


def test_an_output_directory_that_cannot_be_made_is_named(gtool, good, tmp_path):
    (tmp_path / "file").write_text("in the way")
    [record] = gtool("fetch", "--json", "-o", "file/{seq}", good.url).records
    assert re.search(r"cannot write file\b.*(File exists|Not a directory)", record["errormsg"])


def test_an_output_directory_that_takes_no_files_has_code_23(gtool, good):
    result = gtool("fetch", "-o", "/proc/self/{seq}", good.url)
    assert result.code == 23
    assert is_one_line(result.err)
    assert "/proc/self/" in result.err


def test_one_name_that_cannot_be_written_costs_no_other_input(gtool, good, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "blocked").write_text("in the way")
    lines = "".join(f'{{"url": "{good.url}", "id": "{name}"}}\n' for name in ("a", "blocked", "b"))
    result = gtool("fetch", "--json", "-o", "out/{id}/{seq}", "-i", "-", stdin=lines.encode())
    assert {record["id"]: record["exitcode"] for record in result.records} == {"a": 0, "blocked": 23, "b": 0}


@pytest.fixture
def two_sizes(peer) -> Peer:
    """A server whose /big does not go into a file of FILE_LIMIT bytes, and whose other bodies do."""
    return peer(
        lambda connection, head: connection.sendall(answer(b"b" * FILE_LIMIT * 20 if b"/big" in head else b"small"))
    )


def test_a_full_disk_under_a_body_has_code_23_and_costs_no_other_input(start_gtool, two_sizes, tmp_path):
    process = start_gtool("fetch", "--json", "-o", "out/{name}", "-i", "-")
    # What a process may write of a file, less than the body: EFBIG comes at the place of ENOSPC.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
    out, _ = process.communicate(f"{two_sizes.url}/big\n{two_sizes.url}/small\n".encode(), timeout=TIMEOUT_S)
    codes = {record["url"].rpartition("/")[2]: record["exitcode"] for record in map(json.loads, out.splitlines())}
    assert codes == {"big": 23, "small": 0}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small"]


def test_a_journal_on_a_full_disk_ends_with_23(start_gtool, good):
    process = start_gtool("fetch", "--json", "--journal", "journal", "-i", "-")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (50, 50))  # half a line
    _, err = process.communicate(f"{good.url}\n".encode(), timeout=TIMEOUT_S)
    assert process.returncode == 23
    assert is_one_line(err.decode())
    assert b"journal" in err


def test_a_journal_that_cannot_be_opened_ends_with_23_before_anything_is_fetched(gtool, good):
    result = gtool("fetch", "--json", "--journal", "missing/journal", good.url)
    assert result.code == 23
    assert is_one_line(result.err)
    assert good.requests == []


def test_of_two_inputs_with_one_output_name_one_has_it_and_one_has_code_23(gtool, good, tmp_path):
    result = gtool("fetch", "--json", "-o", "out/{name}", f"{good.url}/a/same", f"{good.url}/b/same")
    assert [record["exitcode"] for record in in_order(result)] == [0, 23]
    assert (tmp_path / "out" / "same").read_bytes() == b"good"


def test_an_output_name_that_is_taken_says_whose_and_what_to_do(gtool, good):
    result = gtool("fetch", "-o", "{name}", f"{good.url}/a/same", f"{good.url}/b/same")
    assert is_one_line(result.err)
    assert "'same'" in result.err
    assert "{seq}" in result.err


@pytest.mark.parametrize("output", ["../out", "/tmp/out", "a/../../out", "", "dir/"])
def test_a_request_cannot_choose_a_file_outside_the_directory(gtool, good, output):
    line = json.dumps({"url": good.url, "output": output}).encode()
    assert fetch_lines(gtool, good, line)["exitcode"] == 23
    assert len(good.requests) == 2  # the good ones alone


@pytest.mark.parametrize("path", ["/../../etc/x", "/%2e%2e/%2e%2e/x", "/..%2f..%2fx", "//etc//x", "/%00%1b"])
def test_no_url_leads_out_of_the_directory(gtool, good, tmp_path, path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    result = gtool("fetch", "--json", "-o", "a/b/{host}/{path}", good.url + path)
    assert [record["exitcode"] for record in result.records] == [0]
    written = set(tmp_path.rglob("*")) - before
    assert all((tmp_path / "a" / "b") in made.parents for made in written)


def test_a_symbolic_link_does_not_lead_out_of_the_directory(gtool, good, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    result = gtool("fetch", "--json", "-o", "out/{path}", f"{good.url}/link/x", f"{good.url}/straight/x")
    assert [record["exitcode"] for record in in_order(result)] == [23, 0]
    assert list((tmp_path / "elsewhere").iterdir()) == []


# Options


CONTRADICTIONS = {
    "nothing to fetch": [],
    "json and write-out": ["--json", "-w", "%{url}", "x"],
    "two bodies": ["-d", "a", "--json-data", "1", "x"],
    "resume without files": ["--resume", "x"],
    "resume and names of digests": ["--resume", "-o", "{sha256}", "x"],
    "deny-private and proxy": ["--deny-private", "-x", "127.0.0.1:1", "x"],
    "deny-private and Unix socket": ["--deny-private", "--unix-socket", "s", "x"],
    "stdin twice": ["-i", "-", "-i", "-"],
}


@pytest.mark.parametrize("options", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_options_that_contradict_each_other_end_with_2_in_one_line(gtool, options):
    result = gtool("fetch", *options)
    assert result.code == 2
    assert is_one_line(result.err)
    assert result.out == b""


BAD_VALUES = {
    "--concurrency": "0",
    "--concurrency-per-host": "none",
    "--rate": "0/s",
    "--rate-per-host": "5/fortnight",
    "--lookahead": "0",
    "--retry": "-1",
    "--retry-max-time": "soon",
    "--connect-timeout": "5 parsecs",
    "--stall-timeout": "-1s",
    "--max-time": "",
    "--deadline": "1x",
    "--max-body": "1Q",
    "--max-size": "-5",
    "--max-redirs": "-1",
    "--header": "no colon",
    "--cacert": "missing.pem",
}


@pytest.mark.parametrize(("option", "value"), BAD_VALUES.items(), ids=BAD_VALUES.keys())
def test_a_bad_value_ends_with_2_in_one_line_that_names_it(gtool, option, value):
    result = gtool("fetch", f"{option}={value}", "x")
    assert result.code == 2
    assert is_one_line(result.err)
    assert value in result.err


@pytest.mark.parametrize("option", ["--connect-timeout", "--stall-timeout", "--max-time", "--deadline"])
def test_an_absurdly_long_time_is_no_time_out(gtool, good, option):
    result = gtool("fetch", option, "99999999999999d", good.url)
    assert (result.code, result.out) in ((0, b"good"), (2, b""))


def test_an_unknown_option_ends_with_2_in_one_line_that_names_it(gtool):
    result = gtool("fetch", "--sorted", "x")
    assert result.code == 2
    assert is_one_line(result.err)
    assert "--sorted" in result.err


@pytest.mark.parametrize("template", ["%{nonsense}", "%{url} %{}", "%{Url}"])
def test_write_out_with_an_unknown_variable_ends_with_2_and_names_those_there_are(gtool, template):
    result = gtool("fetch", "-w", template, "x")
    assert result.code == 2
    assert is_one_line(result.err)
    assert "time_total" in result.err


@pytest.mark.parametrize("template", ["{nonsense}", "{}", "out/", "{host}/", ""])
def test_a_bad_output_template_ends_with_2_in_one_line(gtool, template):
    result = gtool("fetch", "-o", template, "x")
    assert result.code == 2
    assert is_one_line(result.err)


def test_an_output_name_that_needs_an_id_has_code_23_where_there_is_none(gtool, good, tmp_path):
    lines = f'{{"url": "{good.url}", "id": "named"}}\n{good.url}\n'.encode()
    result = gtool("fetch", "--json", "-o", "out/{id}", "-i", "-", stdin=lines)
    assert [record["exitcode"] for record in in_order(result)] == [0, 23]
    assert "{id}" in in_order(result)[1]["errormsg"]
