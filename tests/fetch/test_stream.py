"""Bodies to stdout: in input order, byte for byte, whatever the order in which they come."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.errors import OutputClosed
from gtool.fetch.record import Headers
from gtool.fetch.stores import CannotRestart, ResumePoint
from gtool.fetch.stream import HIGH_BYTES, LOW_BYTES, BodyStream, Budget, StreamStore
from tests.conftest import TIMEOUT_S, environment, open_files
from tests.fetch.test_lines import SlowStdout

TAG = b'ETag: "tag"\r\n'
PIECE_BYTES = 1 << 16
DATE = b"Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n"

Make = Callable[..., BodyStream]


@pytest.fixture
def stdout() -> SlowStdout:
    return SlowStdout()


@pytest.fixture
def room() -> list[str]:
    """Says "room" for each call of on_room."""
    return []


@pytest.fixture
def stream(stdout: SlowStdout, room: list[str]) -> Iterator[Make]:
    """Make BodyStreams on `stdout` with so many bodies in line, nothing of them there; closed at the end."""
    made: list[BodyStream] = []

    def make(bodies: int, lookahead: int = 100, memory: int = 1000) -> BodyStream:
        one = BodyStream(stdout, lookahead, lambda: room.append("room"))
        one.budget = Budget(memory)
        for seq in range(bodies):
            one.expect(seq)
        made.append(one)
        return one

    yield make
    if stdout.error is None:
        stdout.let(math.inf)
        for one in made:
            for seq in list(one._stores):
                discard(one, seq)
            one.close()


def store(stream: BodyStream, seq: int) -> StreamStore:
    kept = stream.store(seq)
    assert isinstance(kept, StreamStore)
    return kept


def append(stream: BodyStream, seq: int, *pieces: bytes) -> None:
    """Have pieces of a body come."""
    for piece in pieces:
        store(stream, seq).append(piece)


def finish(stream: BodyStream, seq: int, on_written: Callable[[], None] | None = None) -> None:
    """Have a body end well."""
    store(stream, seq).finish(None)
    stream.report(seq, {}, on_written)


def discard(stream: BodyStream, seq: int, on_written: Callable[[], None] | None = None) -> None:
    """Have an input fail."""
    store(stream, seq).discard()
    stream.report(seq, {}, on_written)


def answered(*lines: bytes, status: bytes = b"200 OK") -> Headers:
    return Headers([b"HTTP/1.1 " + status + b"\r\n", *lines])


def fail_partly_out(stream: BodyStream, headers: Headers) -> StreamStore:
    """Have an attempt at the first body end when `012` is on stdout and `34` is not."""
    one = store(stream, 0)
    one.start()
    one.begin(headers)
    one.append(b"012")
    gevent.idle()
    one.append(b"34")
    return one


# Order


def test_the_head_flows_as_it_comes(stream, stdout):
    made = stream(2)
    append(made, 0, b"one ")
    gevent.idle()
    before = stdout.data
    append(made, 0, b"two")
    gevent.idle()
    assert (before, stdout.data) == (b"one ", b"one two")


def test_a_later_body_waits_for_the_head_to_end(stream, stdout):
    made = stream(2)
    append(made, 1, b"later")
    finish(made, 1)
    append(made, 0, b"head ")
    gevent.idle()
    before = stdout.data
    finish(made, 0)
    gevent.idle()
    assert (before, stdout.data) == (b"head ", b"head later")


def test_a_body_flows_on_when_it_becomes_the_head(stream, stdout):
    made = stream(2)
    append(made, 1, b"one ")
    finish(made, 0)
    gevent.idle()
    append(made, 1, b"two")
    gevent.idle()
    assert stdout.data == b"one two"


def test_a_discarded_body_of_which_nothing_is_out_writes_nothing(stream, stdout):
    made = stream(2)
    append(made, 1, b"lost")
    discard(made, 1)
    finish(made, 0)
    made.close()
    assert stdout.data == b""


def test_of_a_discarded_body_that_is_partly_out_all_that_has_come_is_written(stream, stdout):
    made = stream(1)
    append(made, 0, b"one ")
    gevent.idle()
    append(made, 0, b"two")
    discard(made, 0)
    made.close()
    assert stdout.data == b"one two"


def test_a_discarded_body_that_is_being_written_is_partly_out(stream, stdout):
    made = stream(1)
    stdout.block()
    append(made, 0, b"one ")
    gevent.idle()
    append(made, 0, b"two")
    discard(made, 0)
    stdout.let(math.inf)
    assert stdout.data == b"one two"


def test_a_body_that_went_elsewhere_holds_nothing_up(stream, stdout):
    made = stream(2)
    append(made, 1, b"data")
    finish(made, 1)
    made.report(0, {}, None)
    gevent.idle()
    assert stdout.data == b"data"


def test_bodies_expected_later_come_after_all_that_are_there(stream, stdout):
    made = stream(1)
    append(made, 0, b"one ")
    finish(made, 0)
    gevent.idle()
    made.expect(1)
    append(made, 1, b"two")
    finish(made, 1)
    gevent.idle()
    assert stdout.data == b"one two"


BODIES = 3
END, TURN, ROOM = -1, -2, -3  #: of a body; of the loop; for a write of a slow stdout


@st.composite
def interleavings(draw: st.DrawFn) -> list[tuple[int, int]]:
    """For some bodies their pieces and their ends, shuffled, with turns of the loop between: (body, what)."""
    steps = [(body, piece) for body in range(BODIES) for piece in range(draw(st.integers(0, 4)))]
    steps = draw(
        st.permutations(
            [*steps, *((body, END) for body in range(BODIES)), *[(BODIES, TURN)] * 5, *[(BODIES, ROOM)] * 3]
        )
    )
    over: set[int] = set()
    kept = []
    for body, what in steps:
        if body not in over:
            kept.append((body, what))
        if what == END:
            over.add(body)
    return kept


@settings(deadline=None, derandomize=True, max_examples=300)
@given(interleavings(), st.sets(st.integers(0, BODIES - 1)), st.sampled_from([0, 20, 60, 10_000]), st.booleans())
def test_output_is_the_bodies_in_order_whatever_the_order_in_which_they_come(steps, failing, memory, is_slow):
    stdout, noted = SlowStdout(), []
    made = BodyStream(stdout, 100, lambda: None)
    made.budget = Budget(memory)
    if is_slow:
        stdout.block()
    bodies = [b""] * BODIES
    for seq in range(BODIES):
        made.expect(seq)
    for seq, what in steps:
        if seq == BODIES:
            stdout.let(1 if what == ROOM else 0)
        elif what == END:
            (discard if seq in failing else finish)(made, seq, lambda seq=seq: noted.append(seq))
        else:
            piece = b"<%d:%d>" % (seq, what) * (what + 1)
            bodies[seq] += piece
            append(made, seq, piece)
    stdout.let(math.inf)
    made.close()
    # Of a failing one, all that has come is out, or nothing.
    kept = [body for seq, body in enumerate(bodies) if seq not in failing or (body and body in stdout.data)]
    assert stdout.data == b"".join(kept)
    assert noted == list(range(BODIES))


# Memory


def test_what_does_not_fit_into_memory_waits_in_a_file(stream, stdout, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = stream(2, memory=10)
    append(made, 1, b"fits ")
    before = len(open_files())
    append(made, 1, b"does not fit ", b"and more")
    during = len(open_files())
    finish(made, 1)
    finish(made, 0)
    made.close()
    assert (during - before, stdout.data) == (1, b"fits does not fit and more")
    assert len(open_files()) == before


def test_the_head_needs_no_file(stream):
    made = stream(1, memory=0)
    before = open_files()
    append(made, 0, b"data")
    assert open_files() == before


def test_memory_is_shared_by_all_that_wait(stream):
    made = stream(3, memory=10)
    before = len(open_files())
    append(made, 1, b"123456")
    one = len(open_files())
    append(made, 2, b"123456")
    assert (one - before, len(open_files()) - before) == (0, 1)


@pytest.mark.parametrize("end", [finish, discard])
def test_memory_is_given_back(stream, end):
    made = stream(3, memory=10)
    append(made, 1, b"123456")
    end(made, 1)
    finish(made, 0)
    gevent.idle()
    before = open_files()
    made.expect(3)
    append(made, 3, b"1234567890")
    assert open_files() == before


def test_the_memory_of_one_that_goes_to_a_file_is_given_back(stream):
    made = stream(3, memory=10)
    append(made, 1, b"123456", b"123456")
    before = open_files()
    append(made, 2, b"1234567890")
    assert open_files() == before


def test_a_body_in_a_file_flows_on_when_it_becomes_the_head(stream, stdout):
    made = stream(2, memory=0)
    append(made, 1, b"one ")
    finish(made, 0)
    gevent.idle()
    append(made, 1, b"two ")
    gevent.idle()
    append(made, 1, b"three")
    gevent.idle()
    assert stdout.data == b"one two three"


def test_a_failed_body_has_its_file_closed(stream):
    made = stream(2, memory=0)
    before = open_files()
    append(made, 1, b"data")
    discard(made, 1)
    assert open_files() == before


FULL_DISK = """
import resource
from types import SimpleNamespace
from gtool.fetch.stream import BodyStream, Budget

stream = BodyStream(SimpleNamespace(is_blocked=False), 100, lambda: None)
stream.budget = Budget(0)
stream.expect(0)
stream.expect(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    for size in {sizes}:
        stream.store(1).append(b"x" * size)
    print("taken")
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("sizes", [[1000, 1], [1001]], ids=["at a piece", "within a piece"])
def test_a_body_for_which_the_disk_has_no_room_is_an_error(sizes):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK.format(sizes=sizes)],
        capture_output=True,
        timeout=TIMEOUT_S,
        env=environment(),
        text=True,
    )
    assert done.stdout == "File too large\n", done.stderr


# A slow reader


def block_with(stream: BodyStream, stdout: SlowStdout, size: int) -> None:
    """Have stdout take nothing while so many bytes of the head have come: a first one, and then pieces."""
    stdout.block()
    append(stream, 0, b"x")
    gevent.idle()
    whole, rest = divmod(size - 1, PIECE_BYTES)
    append(stream, 0, *[b"x" * PIECE_BYTES] * whole, b"x" * rest)


def test_transfers_pause_while_stdout_is_far_behind(stream, stdout):
    made = stream(1)
    block_with(made, stdout, HIGH_BYTES)
    almost = made.valve.is_closed
    append(made, 0, b"x")
    assert (almost, made.valve.is_closed, made.is_behind) == (False, True, True)


def test_no_transfer_pauses_for_a_body_that_waits_in_memory(stream, stdout):
    made = stream(2, memory=HIGH_BYTES * 2)
    block_with(made, stdout, 100)
    append(made, 1, b"x" * (HIGH_BYTES + 1))
    assert not made.valve.is_closed


def test_no_transfer_pauses_while_stdout_takes_all(stream):
    made = stream(1)
    append(made, 0, b"x" * (HIGH_BYTES + 1))
    assert not made.valve.is_closed


def test_transfers_go_on_when_stdout_has_nearly_caught_up(stream, stdout, room):
    made, resumed = stream(1), []
    block_with(made, stdout, HIGH_BYTES + 1)
    made.valve.hold(lambda: resumed.append(store(made, 0).unread))
    while made.valve.is_closed:
        assert (resumed, room) == ([], [])
        stdout.let(1)
    assert (room, resumed) == (["room"], [LOW_BYTES])


def test_nothing_is_lost_while_stdout_is_behind(stream, stdout):
    made = stream(1)
    block_with(made, stdout, HIGH_BYTES + 1)
    stdout.let(math.inf)
    append(made, 0, b"last")
    finish(made, 0)
    made.close()
    assert stdout.data == b"x" * (HIGH_BYTES + 1) + b"last"


def test_transfers_go_on_when_the_body_that_held_them_up_has_ended(stream, stdout):
    made = stream(2)
    block_with(made, stdout, HIGH_BYTES + 1)
    finish(made, 0)
    stdout.let(math.inf)
    assert not made.is_behind


# Room in the line


def test_no_further_input_is_read_beyond_the_lookahead(stream):
    made = stream(1, lookahead=2)
    one = made.has_room
    made.expect(1)
    assert (one, made.has_room) == (True, False)


def test_room_in_the_line_is_told_of(stream, room):
    made = stream(2, lookahead=2)
    finish(made, 1)
    gevent.idle()
    none_yet = list(room)
    finish(made, 0)
    gevent.idle()
    assert (none_yet, made.has_room, "room" in room) == ([], True, True)


# What is noted


def test_a_body_is_noted_when_it_is_out_and_not_before(stream, stdout):
    made, noted = stream(1), []
    stdout.block()
    append(made, 0, b"data")
    finish(made, 0, lambda: noted.append(stdout.data))
    gevent.idle()
    none_yet = list(noted)
    stdout.let(1)
    assert (none_yet, noted) == ([], [b"data"])


def test_a_body_that_waits_is_not_noted(stream):
    made, noted = stream(2), []
    finish(made, 1, lambda: noted.append(1))
    gevent.idle()
    assert noted == []


# Attempts


def test_an_attempt_of_which_nothing_is_out_starts_anew(stream, stdout):
    made = stream(2)
    append(made, 1, b"lost")
    store(made, 1).take_back()
    assert store(made, 1).start() is None
    append(made, 1, b"data")
    finish(made, 1)
    finish(made, 0)
    made.close()
    assert stdout.data == b"data"


def test_an_attempt_in_a_file_starts_anew(stream, stdout):
    made = stream(2, memory=0)
    append(made, 1, b"lost")
    store(made, 1).take_back()
    append(made, 1, b"data")
    finish(made, 1)
    finish(made, 0)
    made.close()
    assert stdout.data == b"data"


@pytest.mark.parametrize(("line", "validator"), [(TAG, '"tag"'), (DATE, "Sat, 01 Jan 2000 00:00:00 GMT")])
def test_an_attempt_that_is_partly_out_is_gone_on_with_after_all_that_has_come(stream, line, validator):
    assert fail_partly_out(stream(1), answered(line)).start() == ResumePoint(5, validator)


def test_of_an_attempt_that_is_taken_back_nothing_goes_out_meanwhile(stream, stdout):
    made = stream(2)
    append(made, 1, b"lost")
    store(made, 1).take_back()
    finish(made, 0)
    gevent.idle()
    assert stdout.data == b""


def test_an_attempt_that_is_being_written_is_partly_out(stream, stdout):
    """Else the next attempt would write a second time what stdout is about to take."""
    made = stream(1)
    stdout.block()
    one = fail_partly_out(made, answered(TAG))
    assert one.start() == ResumePoint(5, '"tag"')


@pytest.mark.parametrize("lines", [[], [b'ETag: W/"weak"\r\n'], [TAG, b"Content-Encoding: gzip\r\n"]])
def test_an_attempt_that_is_partly_out_cannot_start_anew(stream, lines):
    one = fail_partly_out(stream(1), answered(*lines))
    with pytest.raises(CannotRestart, match="nothing tells whether a second one is the same"):
        one.take_back()


def test_the_rest_follows_what_is_out(stream, stdout):
    made = stream(1)
    one = fail_partly_out(made, answered(TAG))
    one.start()
    one.begin(answered(TAG, status=b"206 Partial Content"))
    one.append(b"5678")
    finish(made, 0)
    made.close()
    assert stdout.data == b"012345678"


def test_a_server_that_sends_all_again_is_too_late(stream):
    one = fail_partly_out(stream(1), answered(TAG))
    one.start()
    with pytest.raises(CannotRestart, match="does not give the rest alone"):
        one.rewind()


def test_a_rest_whose_answer_does_not_repeat_the_date_can_be_gone_on_with(stream):
    """A 206 need not have the Last-Modified of its 200 (RFC 9110 section 15.3.7): that of the request stands."""
    one = fail_partly_out(stream(1), answered(DATE))
    first = one.start()
    one.begin(answered(status=b"206 Partial Content"))
    one.append(b"56")
    assert one.start() == first._replace(offset=7)


# The end


def test_closing_it_writes_what_has_come_of_the_head_and_nothing_after_it(stream, stdout):
    made = stream(2)
    append(made, 0, b"half")
    append(made, 1, b"whole")
    finish(made, 1)
    made.close()
    assert stdout.data == b"half"


def test_closing_it_waits_for_stdout(stream, stdout):
    made = stream(1)
    stdout.block()
    append(made, 0, b"data")
    finish(made, 0)
    closing = gevent.spawn(made.close)
    gevent.idle()
    early = closing.ready()
    stdout.let(math.inf)
    closing.get()
    assert (early, stdout.data) == (False, b"data")


def test_closing_it_closes_stdout(stream, stdout):
    stream(0).close()
    assert stdout.is_closed


def test_a_failure_of_stdout_is_raised_by_close(stream, stdout):
    made = stream(1)
    stdout.error = OutputClosed()
    append(made, 0, b"data")
    with pytest.raises(OutputClosed):
        made.close()
