"""Where chat-tail's messages go: lines on stdout, a word that is waited for, and a command for each."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import gevent
import pytest

from gtool.chat.output import Messages, stream_url
from gtool.chat.received import Message, text_line
from gtool.chat.remote import Remote
from gtool.errors import UsageError, WriteError
from tests.conftest import TIMEOUT_S

TOLD = Message("e:1", 1.5, "room", "bob", "hello")
#: writes each of its variables into a file in the folder that is its argument
RECORD = """
import os, sys
from pathlib import Path
number = len(list(Path(sys.argv[1]).iterdir()))
names = [name for name in sorted(os.environb) if name.startswith(b"GTOOL_CHAT_")]
Path(sys.argv[1], str(number)).write_bytes(b"\\0".join(name + b"=" + os.environb[name] for name in names))
"""


@pytest.fixture
def messages(capfd) -> Iterator[Callable[..., Messages]]:
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(closing(Messages(**settings)))


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "recorded"
    made.mkdir()
    return made


@pytest.fixture
def record(folder) -> list[str]:
    """A command that writes down what it is told."""
    return [sys.executable, "-c", RECORD, str(folder)]


def recorded(folder: Path) -> list[dict[str, str]]:
    """What each command has been told, in order."""
    found = [(folder / str(number)).read_text() for number in range(len(os.listdir(folder)))]
    return [dict(pair.split("=", 1) for pair in text.split("\0")) for text in found]


# --- stdout


def test_a_message_is_out_when_write_returns(messages, capfd):
    messages().write(TOLD)
    assert capfd.readouterr().out.encode() == text_line(TOLD)


def test_json_is_written_if_asked_for(messages, capfd):
    messages(is_json=True).write(TOLD)
    expected = '{"id": "e:1", "time": 1.5, "room": "room", "user": "bob", "text": "hello"}\n'
    assert capfd.readouterr().out == expected


def test_messages_come_out_in_their_order(messages, capfd):
    output = messages()
    for number in range(3):
        output.write(TOLD._replace(text=f"m{number}"))
    assert re.findall(r"m\d", capfd.readouterr().out) == ["m0", "m1", "m2"]


# --- a word that is waited for


def test_without_a_word_there_is_never_enough(messages):
    assert not messages().write(TOLD)


@pytest.mark.parametrize(
    ("pattern", "text", "is_enough"),
    [
        ("hello", "well, hello there", True),
        ("^hello$", "hello", True),
        ("^hello$", "hello there", False),
        ("Hello", "hello", False),
        ("(?i)Hello", "hello", True),
        ("ä+", "ää", True),
        ("^second", "first\nsecond", False),
        ("(?m)^second", "first\nsecond", True),
        ("", "anything", True),
    ],
)
def test_a_message_whose_text_matches_is_enough(messages, pattern, text, is_enough):
    assert messages(until=re.compile(pattern)).write(TOLD._replace(text=text)) is is_enough


@pytest.mark.parametrize("word", ["room", "bob", "e:1", "1970"])
def test_only_the_text_is_searched(messages, word):
    assert not messages(until=re.compile(word)).write(TOLD)


def test_the_message_that_matches_is_shown(messages, capfd):
    messages(until=re.compile("hello")).write(TOLD)
    assert "hello" in capfd.readouterr().out


# --- a command


def test_the_command_is_run_for_each_message_and_told_of_it(messages, record, folder):
    output = messages(command=record)
    for number in (1, 2):
        output.write(Message(f"e:{number}", 1.5, "room", "bob", f"m{number}"))
    assert recorded(folder) == [
        {
            "GTOOL_CHAT_ID": f"e:{number}",
            "GTOOL_CHAT_ROOM": "room",
            "GTOOL_CHAT_TEXT": f"m{number}",
            "GTOOL_CHAT_TIME": "1.5",
            "GTOOL_CHAT_USER": "bob",
        }
        for number in (1, 2)
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("$(touch x)", "`touch x`", "; touch x", "a\nb", "'", '"', "\\", "ä 日本 😀", "%s", "-n", "$HOME", "a=b", ""),
        "x" * 4096,
    ],
)
def test_the_command_is_told_the_text_as_it_is(messages, record, folder, text):
    messages(command=record).write(TOLD._replace(text=text))
    assert recorded(folder)[0]["GTOOL_CHAT_TEXT"] == text


def test_what_is_said_is_no_part_of_the_command_line(messages, record, folder):
    messages(command=[*record, "$GTOOL_CHAT_TEXT", "{}"]).write(TOLD)
    assert len(recorded(folder)) == 1


def test_the_command_has_our_environment_too(messages, folder, monkeypatch):
    monkeypatch.setenv("OF_OURS", "kept")
    messages(command=["sh", "-c", f'printf %s "$OF_OURS" > {folder}/x']).write(TOLD)
    assert (folder / "x").read_text() == "kept"


def test_the_message_is_out_before_the_command_runs(messages, capfd):
    messages(command=["echo", "after"]).write(TOLD)
    assert capfd.readouterr().out.splitlines()[1:] == ["after"]


def test_the_command_is_waited_for(messages, folder):
    messages(command=["sh", "-c", f"sleep 0.05; touch {folder}/done"]).write(TOLD)
    assert (folder / "done").exists()


def test_the_loop_goes_on_while_a_command_runs(messages, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    output = messages(command=["cat", str(tmp_path / "fifo")])
    running = gevent.spawn(output.write, TOLD)
    gevent.idle()
    with gevent.Timeout(TIMEOUT_S):
        while True:
            try:
                os.close(os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK))  # ENXIO until cat reads
                break
            except OSError:
                gevent.sleep(0.01)
        running.get()


def test_the_command_has_no_stdin_of_ours(messages, folder):
    messages(command=["sh", "-c", f"cat > {folder}/in"]).write(TOLD)
    assert (folder / "in").read_bytes() == b""


def test_a_command_that_fails_is_no_end(messages, folder):
    output = messages(command=["sh", "-c", f"echo x >> {folder}/runs; exit 3"])
    assert [output.write(TOLD), output.write(TOLD)] == [False, False]
    assert (folder / "runs").read_text() == "x\nx\n"


@pytest.mark.parametrize(("name", "why"), [("none", "No such file or directory"), ("plain", "Permission denied")])
def test_a_command_that_can_not_be_run_is_an_error_that_names_it(messages, tmp_path, name, why):
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match=f"--exec: cannot run {tmp_path}/{name}: {why}"):
        messages(command=[str(tmp_path / name)]).write(TOLD)


def test_the_command_is_ended_with_us(messages, tmp_path):
    pid = tmp_path / "pid"
    output = messages(command=["sh", "-c", f"echo $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 600"])
    running = gevent.spawn(output.write, TOLD)
    with gevent.Timeout(TIMEOUT_S):
        while not pid.exists():
            gevent.sleep(0.01)
        running.kill()
        while Path(f"/proc/{pid.read_text().strip()}/stat").exists() and not _is_over(pid.read_text().strip()):
            gevent.sleep(0.01)


def _is_over(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


# --- where to go on


def test_the_last_id_is_kept_in_a_file(messages, tmp_path):
    output = messages(state=str(tmp_path / "id"))
    output.keep("e:1")
    output.keep("e:2", is_last=True)
    assert (tmp_path / "id").read_text() == "e:2\n"


def test_without_a_file_nothing_is_kept(messages, tmp_path):
    messages().keep("e:1", is_last=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_can_not_be_written_is_an_error(messages, tmp_path):
    with pytest.raises(WriteError, match=r"cannot write .*/none/id: No such file"):
        messages(state=str(tmp_path / "none" / "id")).keep("e:1", is_last=True)


# --- the URL of rooms


@pytest.mark.parametrize("rooms", [["a"], ["a", "b"], ["a&b=c", "ä", "x y", "#", "+"]])
def test_the_url_names_the_rooms(rooms):
    parts = urlsplit(stream_url(Remote("http://host:1/below"), rooms))
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("http", "host:1", "/below/api/ws", "")
    assert parse_qsl(parts.query) == [("room", room) for room in rooms]
