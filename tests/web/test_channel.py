"""A channel writes in order what its owner says, tells it what comes, and ends once; whatever the peer's manners."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent import socket as green_socket
from gevent.event import Event
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gtool.log import EventLog, SeldomLog
from gtool.runtime.connection import Connection
from gtool.runtime.greenlets import green
from gtool.runtime.poller import Poller
from gtool.web import channel as channel_module
from gtool.web.channel import Channel
from tests.servers.looped import (
    end_input,
    failures_raise,
    receive_all,
    receive_exactly,
    reset,
    secure,
    send_apart,
    server_tls,
    shrink,
)

TIMEOUT_S = 10
SMALL_BUFFER = 1 << 12
BIG = bytes(range(251)) * 5000
FEW = 6  #: calls of ready() that no busy loop needs

fixed = settings(derandomize=True, deadline=None, max_examples=40)
bursts = st.builds(bytes.__mul__, st.binary(min_size=1, max_size=20), st.sampled_from([1, 1, 1, 500, 10_000]))


class Talker:
    """An owner that notes what it is told, and does what the test has it do."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.data = bytearray()
        self.acts: dict[str, Callable[[], object]] = {}
        self.changed = Event()

    def received(self, data: bytes) -> None:
        self.data += data
        self._note("received")

    def received_all(self) -> None:
        self._note("received_all")

    def drained(self) -> None:
        self._note("drained")

    def asked_to_close(self, reason: str) -> None:
        self._note(f"asked_to_close: {reason}")

    def ended(self) -> None:
        self._note("ended")

    def wait(self, is_so: Callable[[], object]) -> None:
        """Wait until the test sees what it waits for."""
        with gevent.Timeout(TIMEOUT_S, AssertionError("it does not come")):
            while not is_so():
                self.changed.wait()
                self.changed.clear()

    def wait_for(self, call: str) -> None:
        self.wait(lambda: call in self.calls)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.acts.get(call.partition(":")[0], lambda: None)()
        self.changed.set()


class Counting(Poller):
    """A poller that counts how often it has called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def add(self, descriptor: int, events: int, handler: Any) -> None:
        counting = self

        class Counted:
            def ready(self, now: float) -> None:
                counting.calls += 1
                handler.ready(now)

        super().add(descriptor, events, Counted())


class Wired:
    """A channel, its owner, and the peer's socket."""

    def __init__(self, peer: Any, channel: Channel, poller: Counting, talker: Talker, reasons: list[str]) -> None:
        self.peer = peer
        self.channel = channel
        self.poller = poller
        self.talker = talker
        self.reasons = reasons

    def reason(self) -> str:
        """Wait for the end, and tell why; there must be one only."""
        self.talker.wait_for("ended")
        (reason,) = self.reasons
        return reason

    def pass_turns(self) -> int:
        """Let the loop turn a few times; give how often it has called the channel meanwhile."""
        before = self.poller.calls
        for _ in range(20):
            gevent.sleep(0.001)
        return self.poller.calls - before

    def fill(self) -> bytes:
        """Write until something waits; give what was written."""
        written = b""
        while not self.channel.waiting:
            self.channel.write(BIG)
            written += BIG
        return written


@contextmanager
def wired(authority=None, directory=None, buffer_bytes: int | None = None, shake_hands=secure) -> Iterator[Wired]:
    """Connect a channel with a peer over TCP; over TLS if there is an authority."""
    reasons: list[str] = []

    class Server:
        seldom = SeldomLog(EventLog("test"))

        def ended(self, connection: Connection, reason: str) -> None:
            reasons.append(reason)

    with failures_raise(), ExitStack() as stack:
        poller = Counting()
        stack.callback(poller.close)
        listener = stack.enter_context(green_socket.socket())
        peer = stack.enter_context(green_socket.socket())
        for sock in (listener, peer):
            if buffer_bytes:
                shrink(sock, buffer_bytes)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        peer.settimeout(TIMEOUT_S)
        peer.connect(listener.getsockname())
        peer.setsockopt(green_socket.IPPROTO_TCP, green_socket.TCP_NODELAY, 1)
        ours, _ = listener.accept()
        served: Any = socket.socket(fileno=ours.detach())
        if authority:
            context = server_tls(authority, directory)
            shaking = gevent.spawn(context.wrap_socket, green(served), server_side=True)
            peer = stack.enter_context(shake_hands(peer, authority))
            served = shaking.get(timeout=TIMEOUT_S)
        served.setblocking(False)
        talker = Talker()
        connection = Connection(Server(), "peer", None, is_tls=bool(authority))
        made = Wired(peer, Channel(poller, connection, served, talker), poller, talker, reasons)
        stack.callback(made.channel.close, "the test is over")
        yield made


class HalfClosing:
    """A client of TLS that says goodbye, and reads on: the standard library's sockets can't."""

    def __init__(self, sock: Any, authority: Any) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(context)
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self._until_done(self._tls.do_handshake)

    def __enter__(self) -> HalfClosing:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def say_goodbye(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._sock.sendall(self._out.read())

    def read_all(self) -> tuple[bytes, bool]:
        """Read to the end, and tell whether it was a goodbye, not a bare end of TCP's stream."""
        received = bytearray()
        try:
            while True:
                received += self._until_done(lambda: self._tls.read(1 << 16))
        except ssl.SSLError as error:
            return bytes(received), isinstance(error, ssl.SSLZeroReturnError)

    def _until_done(self, act: Callable[[], Any]) -> Any:
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                self._sock.sendall(self._out.read())
                data = self._sock.recv(1 << 16)
                self._in.write(data) if data else self._in.write_eof()
            finally:
                self._sock.sendall(self._out.read())


@pytest.fixture
def plain() -> Iterator[Wired]:
    with wired() as made:
        yield made


@pytest.fixture
def narrow() -> Iterator[Wired]:
    """The kernel takes little of what is written."""
    with wired(buffer_bytes=SMALL_BUFFER) as made:
        yield made


@pytest.fixture
def tls(authority, tmp_path) -> Iterator[Wired]:
    with wired(authority, tmp_path, SMALL_BUFFER) as made:
        yield made


def test_what_comes_goes_to_the_owner(plain):
    plain.peer.sendall(BIG)
    plain.talker.wait(lambda: len(plain.talker.data) == len(BIG))
    assert plain.talker.data == BIG


@given(st.lists(bursts, max_size=12))
@fixed
def test_what_is_written_comes_in_that_order_and_nothing_is_lost(chunks):
    with wired(buffer_bytes=SMALL_BUFFER) as made:
        for chunk in chunks:
            made.channel.write(chunk)
        made.channel.finish("done")
        assert receive_all(made.peer) == b"".join(chunks)


@given(st.lists(bursts, min_size=1, max_size=12))
@fixed
def test_what_is_written_while_something_waits_comes_behind_it(chunks):
    with wired(buffer_bytes=SMALL_BUFFER) as made:
        whole = made.fill()
        reader = gevent.spawn(receive_exactly, made.peer, len(whole) + len(b"".join(chunks)))
        for chunk in chunks:
            made.channel.write(chunk)
            gevent.sleep(0)
        assert reader.get(timeout=TIMEOUT_S) == whole + b"".join(chunks)


def test_what_the_kernel_takes_at_once_does_not_wait(plain):
    plain.channel.write(b"hello")
    assert plain.channel.waiting == 0


def test_what_the_kernel_does_not_take_waits(narrow):
    narrow.channel.write(BIG)
    assert narrow.channel.waiting == len(BIG) - narrow.channel.connection.sent > 0


def test_the_owner_learns_that_all_is_written_of_what_had_to_wait(narrow):
    narrow.channel.write(BIG)
    receive_exactly(narrow.peer, len(BIG))
    narrow.talker.wait_for("drained")
    assert (narrow.channel.waiting, narrow.talker.calls) == (0, ["drained"])


def test_the_owner_does_not_hear_of_what_did_not_have_to_wait(plain):
    plain.channel.write(b"hello")
    receive_exactly(plain.peer, 5)
    plain.pass_turns()
    assert plain.talker.calls == []


def test_an_owner_that_writes_when_it_is_drained_goes_on(narrow):
    rest = [BIG, BIG]
    narrow.talker.acts["drained"] = lambda: rest and narrow.channel.write(rest.pop())
    narrow.channel.write(BIG)
    assert receive_exactly(narrow.peer, 3 * len(BIG)) == 3 * BIG


def test_it_calls_nothing_when_all_is_written(narrow):
    narrow.channel.write(BIG)
    receive_exactly(narrow.peer, len(BIG))
    narrow.talker.wait_for("drained")
    assert narrow.pass_turns() == 0


def test_it_calls_nothing_while_the_peer_does_not_read(narrow):
    narrow.fill()
    narrow.pass_turns()
    assert narrow.pass_turns() <= FEW


def test_it_counts_what_was_sent_and_not_what_waits(narrow):
    narrow.channel.write(BIG)
    sent = narrow.channel.connection.sent
    receive_exactly(narrow.peer, len(BIG))
    narrow.talker.wait_for("drained")
    assert sent < narrow.channel.connection.sent == len(BIG)


def test_it_counts_what_was_received(plain):
    send_apart(plain.peer, [b"abc", b"de"])
    plain.talker.wait(lambda: plain.talker.data == b"abcde")
    assert plain.channel.connection.received == 5


LONG_AGO = -1.0


def forget(made: Wired) -> None:
    made.channel.heard_at = made.channel.connection.active_at = LONG_AGO


def times(made: Wired) -> tuple[bool, bool]:
    """Whether the peer was heard, and whether the connection was active, since all that was forgotten."""
    return made.channel.heard_at > LONG_AGO, made.channel.connection.active_at > LONG_AGO


def test_a_peer_that_says_something_is_heard_and_its_connection_active(plain):
    forget(plain)
    plain.peer.sendall(b"x")
    plain.talker.wait_for("received")
    assert times(plain) == (True, True)


def test_a_peer_that_reads_what_waits_is_heard_and_its_connection_active(narrow):
    narrow.channel.write(BIG)
    forget(narrow)
    receive_exactly(narrow.peer, len(BIG))
    narrow.talker.wait_for("drained")
    assert times(narrow) == (True, True)


def test_what_is_written_makes_a_connection_active_and_is_no_sign_of_the_peer(plain):
    forget(plain)
    plain.channel.write(b"hello")
    plain.pass_turns()
    assert times(plain) == (False, True)


def test_a_peer_was_heard_when_it_came(plain):
    assert plain.channel.heard_at == pytest.approx(monotonic(), abs=TIMEOUT_S)


def test_nothing_is_read_while_it_is_paused(plain):
    plain.channel.pause()
    plain.peer.sendall(b"hello")
    assert (plain.pass_turns(), plain.talker.calls) == (0, [])


def test_what_came_while_it_was_paused_is_read_when_it_is_resumed(plain):
    plain.channel.pause()
    plain.peer.sendall(b"hello")
    plain.pass_turns()
    plain.channel.resume()
    plain.talker.wait_for("received")
    assert plain.talker.data == b"hello"


def test_what_waits_is_written_while_it_is_paused(narrow):
    narrow.channel.write(BIG)
    narrow.channel.pause()
    narrow.peer.sendall(b"hello")
    assert receive_exactly(narrow.peer, len(BIG)) == BIG
    narrow.talker.wait_for("drained")
    assert narrow.talker.data == b""


def test_a_peer_that_is_paused_is_stopped_by_tcp(narrow):
    narrow.channel.pause()
    narrow.peer.settimeout(0.1)
    with pytest.raises(TimeoutError):
        narrow.peer.sendall(bytes(1 << 24))


def test_a_paused_connection_that_breaks_is_no_busy_loop(plain):
    """epoll reports EPOLLHUP and EPOLLERR even of a socket from which nothing is wanted."""
    plain.channel.pause()
    reset(plain.peer)
    plain.pass_turns()
    assert plain.pass_turns() <= FEW
    assert plain.reason() == "reset"


def test_finishing_ends_the_peers_input(plain):
    plain.channel.write(b"goodbye")
    plain.channel.finish("done")
    assert receive_all(plain.peer) == b"goodbye"


def test_finishing_waits_for_the_peers_end_and_ends_for_the_reason_given(plain):
    plain.channel.finish("done")
    receive_all(plain.peer)
    plain.pass_turns()
    assert plain.reasons == []
    end_input(plain.peer)
    assert plain.reason() == "done"


def test_finishing_calls_nothing_while_it_waits_for_the_peers_end(plain):
    plain.channel.finish("done")
    receive_all(plain.peer)
    assert plain.pass_turns() == 0


def test_finishing_writes_first_what_waits(narrow):
    written = narrow.fill()
    narrow.channel.finish("done")
    assert receive_all(narrow.peer) == written


def test_finishing_does_not_tell_the_owner_that_it_is_drained(narrow):
    narrow.fill()
    narrow.channel.finish("done")
    receive_all(narrow.peer)
    end_input(narrow.peer)
    assert (narrow.reason(), narrow.talker.calls) == ("done", ["ended"])


def test_finishing_takes_only_so_long(monkeypatch, plain):
    monkeypatch.setattr(channel_module, "LINGER_S", 0.01)
    plain.channel.finish("done")
    assert plain.reason() == "done"


def test_finishing_a_peer_that_does_not_read_takes_only_so_long(monkeypatch, narrow):
    monkeypatch.setattr(channel_module, "SEND_S", 0.01)
    narrow.fill()
    narrow.channel.finish("done")
    assert narrow.reason() == "done"


def test_finishing_lingers_from_when_all_is_sent(monkeypatch, narrow):
    monkeypatch.setattr(channel_module, "LINGER_S", 0.01)
    written = narrow.fill()
    narrow.channel.finish("done")
    gevent.sleep(0.1)
    still = narrow.reasons == []
    assert (still, receive_all(narrow.peer), narrow.reason()) == (True, written, "done")


def test_a_peer_that_has_read_all_has_no_more_than_the_time_to_linger(monkeypatch, narrow):
    monkeypatch.setattr(channel_module, "LINGER_S", 60)
    monkeypatch.setattr(channel_module, "SEND_S", 0.2)
    narrow.fill()
    narrow.channel.finish("done")
    receive_all(narrow.peer)
    gevent.sleep(0.3)
    assert narrow.reasons == []


def test_a_peer_that_has_shut_down_its_side_and_does_not_read_has_only_so_long(monkeypatch, narrow):
    monkeypatch.setattr(channel_module, "SEND_S", 0.01)
    narrow.fill()
    end_input(narrow.peer)
    assert narrow.reason() == "closed"


def test_the_first_reason_to_finish_is_the_one(plain):
    plain.channel.finish("first")
    plain.channel.finish("second")
    end_input(plain.peer)
    assert plain.reason() == "first"


def test_what_comes_after_finishing_is_not_the_owners(plain):
    plain.channel.finish("done")
    plain.peer.sendall(b"too late")
    end_input(plain.peer)
    plain.reason()
    assert (plain.talker.calls, plain.channel.connection.received) == (["ended"], 8)


def test_a_peer_that_still_sends_loses_nothing_by_finishing(narrow):
    """Closing with unread input would make the kernel send RST, which takes from the peer what it has not read."""
    written = narrow.fill()
    narrow.channel.finish("done")
    sender = gevent.spawn(lambda: (narrow.peer.sendall(BIG), end_input(narrow.peer)))
    assert receive_all(narrow.peer) == written
    sender.get(timeout=TIMEOUT_S)
    assert narrow.reason() == "done"


def test_finishing_reads_on_when_it_was_paused(plain):
    plain.channel.pause()
    plain.channel.finish("done")
    plain.peer.sendall(b"too late")
    end_input(plain.peer)
    assert (plain.reason(), plain.channel.connection.received) == ("done", 8)


def test_finishing_calls_nothing_when_all_is_written_of_what_waited(narrow):
    narrow.fill()
    narrow.channel.finish("done")
    receive_all(narrow.peer)
    assert narrow.pass_turns() == 0


def test_a_channel_that_finishes_is_neither_open_nor_closed(plain):
    plain.channel.finish("done")
    assert (plain.channel.is_open, plain.channel.is_closed) == (False, False)


def test_a_channel_that_has_ended_is_closed(plain):
    end_input(plain.peer)
    plain.reason()
    assert (plain.channel.is_open, plain.channel.is_closed) == (False, True)


def test_a_peer_that_resets_while_it_finishes_ends_it(plain):
    plain.channel.finish("done")
    reset(plain.peer)
    assert plain.reason() == "reset"


def test_the_owner_learns_that_the_peer_has_shut_down_its_side(plain):
    plain.peer.sendall(b"hello")
    end_input(plain.peer)
    assert plain.reason() == "closed"
    assert plain.talker.calls == ["received", "received_all", "ended"]


def test_a_peer_that_has_shut_down_its_side_gets_what_waits(narrow):
    written = narrow.fill()
    end_input(narrow.peer)
    narrow.talker.wait_for("received_all")
    assert receive_all(narrow.peer) == written
    assert narrow.reason() == "closed"


def test_a_peer_that_has_shut_down_its_side_gets_what_is_said_to_that(narrow):
    narrow.talker.acts["received_all"] = lambda: narrow.channel.write(BIG)
    end_input(narrow.peer)
    assert receive_all(narrow.peer) == BIG


def test_a_peer_that_has_shut_down_its_side_and_does_not_read_is_no_busy_loop(narrow):
    narrow.fill()
    end_input(narrow.peer)
    narrow.talker.wait_for("received_all")
    narrow.pass_turns()
    assert narrow.pass_turns() <= FEW


def test_a_peer_that_has_shut_down_its_side_and_resets_ends_it(narrow):
    narrow.fill()
    end_input(narrow.peer)
    narrow.talker.wait_for("received_all")
    reset(narrow.peer)
    assert narrow.reason() == "reset"


def test_a_peer_that_resets_ends_it(plain):
    plain.peer.sendall(b"hello")
    plain.talker.wait_for("received")
    reset(plain.peer)
    assert plain.reason() == "reset"


def test_a_peer_that_resets_while_something_waits_ends_it(narrow):
    narrow.fill()
    reset(narrow.peer)
    assert narrow.reason() == "reset"


def test_a_peer_that_resets_while_it_is_paused_and_something_waits_ends_it(narrow):
    narrow.fill()
    narrow.channel.pause()
    reset(narrow.peer)
    assert narrow.reason() == "reset"


def test_writing_to_a_peer_that_has_gone_is_no_error_and_ends_it(plain):
    plain.peer.close()
    for _ in range(3):
        plain.channel.write(b"hello")
    assert plain.reason() in ("closed", "reset")


def test_closing_has_the_owner_say_a_last_word(plain):
    plain.talker.acts["asked_to_close"] = lambda: plain.channel.write(b"goodbye")
    plain.channel.close("idle")
    assert receive_all(plain.peer) == b"goodbye"
    assert (plain.reason(), plain.talker.calls) == ("idle", ["asked_to_close: idle", "ended"])


def test_closing_does_not_wait_for_a_peer_that_does_not_read(narrow):
    narrow.fill()
    narrow.channel.close("idle")
    assert (narrow.channel.is_closed, narrow.reasons) == (True, ["idle"])


def test_closing_what_finishes_asks_the_owner_nothing(plain):
    plain.channel.finish("done")
    plain.channel.close("drained")
    assert (plain.reasons, plain.talker.calls) == (["drained"], ["ended"])


def test_an_owner_that_finishes_when_it_is_asked_to_close_is_closed(plain):
    plain.talker.acts["asked_to_close"] = lambda: plain.channel.finish("done")
    plain.channel.close("idle")
    assert plain.reasons == ["idle"]


def test_nothing_can_go_wrong_after_the_end(plain):
    plain.channel.close("idle")
    plain.channel.close("again")
    plain.channel.finish("done")
    plain.channel.pause()
    plain.channel.resume()
    assert plain.reasons == ["idle"]


@pytest.mark.parametrize("call", ["received", "received_all", "drained"])
@pytest.mark.parametrize("end", ["finish", "close"])
def test_an_owner_may_end_the_channel_in_any_call(narrow, call, end):
    narrow.talker.acts[call] = lambda: getattr(narrow.channel, end)("enough")
    written = narrow.fill() if call == "drained" else b""
    narrow.peer.sendall(b"hello")
    if call != "drained":
        end_input(narrow.peer)
    with suppress(OSError):
        assert receive_all(narrow.peer) == written
    narrow.peer.close()
    assert narrow.reason() == "enough"


ACTS: dict[str, Callable[[Wired], object]] = {
    "write": lambda made: made.channel.is_closed or made.channel.write(b"hello"),
    "write much": lambda made: made.channel.is_closed or made.channel.write(BIG),
    "pause": lambda made: made.channel.pause(),
    "resume": lambda made: made.channel.resume(),
    "finish": lambda made: made.channel.finish("finished"),
    "close": lambda made: made.channel.close("closed by us"),
    "turn": lambda made: gevent.sleep(0),
    "peer writes": lambda made: made.peer.sendall(b"hello"),
    "peer reads": lambda made: made.peer.recv(1 << 16),
    "peer ends": lambda made: end_input(made.peer),
    "peer resets": lambda made: reset(made.peer),
    "peer closes": lambda made: made.peer.close(),
}


@given(st.lists(st.sampled_from(sorted(ACTS)), max_size=12))
@example(["write much", "peer ends", "turn", "peer reads", "finish", "close"])
@example(["write much", "pause", "peer ends", "turn", "resume", "turn", "peer reads"])
@settings(fixed, max_examples=150)
def test_it_ends_once_and_tells_the_owner_nothing_after_that(acts):
    with wired(buffer_bytes=SMALL_BUFFER) as made:
        for act in acts:
            made.peer.settimeout(0.001)
            with suppress(OSError):  # the peer's
                ACTS[act](made)
            gevent.sleep(0)
        made.channel.close("at last")
        assert len(made.reasons) == 1
        assert made.talker.calls.index("ended") == len(made.talker.calls) - 1


def test_over_tls_what_comes_goes_to_the_owner(tls):
    sender = gevent.spawn(tls.peer.sendall, BIG)
    tls.talker.wait(lambda: len(tls.talker.data) == len(BIG))
    sender.get(timeout=TIMEOUT_S)
    assert tls.talker.data == BIG


def test_over_tls_what_was_decrypted_already_is_not_left(monkeypatch, tls):
    """A record is decrypted as a whole: what is left of it wakes no poller."""
    monkeypatch.setattr(channel_module, "CHUNK_BYTES", 100)
    tls.peer.sendall(BIG[:1050])
    tls.talker.wait(lambda: len(tls.talker.data) == 1050)
    assert tls.talker.data == BIG[:1050]


def test_over_tls_an_owner_that_closes_has_no_more_of_a_record(monkeypatch, tls):
    monkeypatch.setattr(channel_module, "CHUNK_BYTES", 100)
    tls.talker.acts["received"] = lambda: tls.channel.close("enough")
    tls.peer.sendall(BIG[:1050])
    assert (tls.reason(), tls.talker.data) == ("enough", BIG[:100])


def test_over_tls_what_is_written_comes_in_that_order(tls):
    for _ in range(3):
        tls.channel.write(BIG)
        tls.channel.write(b"and")
    assert receive_exactly(tls.peer, 3 * len(BIG) + 9) == (BIG + b"and") * 3


def test_over_tls_it_counts_what_was_said_and_not_how_it_was_wrapped(tls):
    tls.channel.write(BIG)
    tls.peer.sendall(b"hello")
    receive_exactly(tls.peer, len(BIG))
    tls.talker.wait_for("drained")
    tls.talker.wait_for("received")
    assert (tls.channel.connection.sent, tls.channel.connection.received) == (len(BIG), 5)


def test_over_tls_finishing_says_so(tls):
    tls.channel.write(BIG)
    tls.channel.finish("done")
    assert receive_all(tls.peer) == BIG  # a bare end of TCP's stream would be an error
    tls.peer.unwrap()
    tls.peer.close()
    assert tls.reason() == "done"


def test_over_tls_a_peer_that_says_goodbye_has_shut_down_its_side(tls):
    tls.peer.sendall(b"hello")
    gevent.spawn(tls.peer.unwrap).get(timeout=TIMEOUT_S)  # waits for ours
    assert tls.reason() == "closed"
    assert tls.talker.calls == ["received", "received_all", "ended"]


def test_over_tls_a_peer_that_resets_ends_it(tls):
    tls.peer.sendall(b"hello")
    tls.talker.wait_for("received")
    reset(tls.peer)
    assert tls.reason() in ("closed", "reset")  # OpenSSL may make of it the end of the stream


def test_over_tls_a_peer_that_resets_while_something_waits_ends_it(tls):
    tls.fill()
    reset(tls.peer)
    assert tls.reason()


def test_over_tls_what_broke_it_is_said_in_words_for_a_log(tls):
    tls.fill()
    reset(tls.peer)
    assert "_ssl.c" not in tls.reason()


def test_over_tls_a_peer_that_does_not_read_is_no_busy_loop(tls):
    tls.fill()
    tls.pass_turns()
    assert tls.pass_turns() <= FEW


def test_over_tls_what_is_no_tls_ends_it_for_that(tls):
    raw = socket.socket(fileno=socket.dup(tls.peer.fileno()))
    raw.sendall(b"this is no record of TLS")
    raw.close()
    assert tls.reason() == "TLS: wrong version number"


def test_over_tls_nothing_is_read_while_it_is_paused(tls):
    tls.channel.pause()
    tls.peer.sendall(b"hello")
    assert (tls.pass_turns(), tls.talker.calls) == (0, [])


def half_close(made: Wired) -> tuple[bytes, bytes, bool]:
    """Say goodbye while something waits; give what was written, and what came."""
    written = made.fill()
    made.peer.say_goodbye()
    made.talker.wait_for("received_all")
    return written, *made.peer.read_all()


def test_over_tls_a_peer_that_has_said_goodbye_gets_what_waits(authority, tmp_path):
    with wired(authority, tmp_path, SMALL_BUFFER, HalfClosing) as made:
        written, received, _ = half_close(made)
        assert received == written


def test_over_tls_a_peer_that_has_said_goodbye_gets_ours_behind_what_waits(authority, tmp_path):
    with wired(authority, tmp_path, SMALL_BUFFER, HalfClosing) as made:
        *_, has_goodbye = half_close(made)
        assert has_goodbye
