"""What becomes of a connection, as libzmq's monitor tells it, in words. Pure."""

from __future__ import annotations

import zmq

from gtool.errors import PeerGone

MECHANISM_MISMATCH = 0x11000002  # ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH, which pyzmq has no name for
BREAKS = 5  #: in a row: some may be a server that stops or starts, or a refusal whose reason is overtaken by its end

Event = zmq.Event


class Handshake:
    """Follows one socket's connection to `endpoint`."""

    def __init__(self, endpoint: str, has_keys: bool) -> None:
        self._endpoint = endpoint
        self._has_keys = has_keys
        self._has_tried = self._is_connected = False
        self._was_made = False
        self._breaks = 0
        self._has_failed = False  # this one, and said so
        self.is_made = False
        self.failure: PeerGone | None = None  #: why it will not come to anything

    def take(self, event: int, value: int) -> None:
        """Take in an event of zmq_socket_monitor(3)."""
        self._has_tried |= event != Event.CONNECT_RETRIED  # where there is no address to try, it is all that comes
        if event == Event.CONNECTED:
            self._is_connected, self._has_failed = True, False
        elif event == Event.HANDSHAKE_SUCCEEDED:
            self.is_made = self._was_made = True
            self._breaks = 0
        elif event == Event.HANDSHAKE_FAILED_AUTH:
            self._fail("refuses this client's key", "its --curve-client has to name the public one")
        elif event == Event.HANDSHAKE_FAILED_PROTOCOL:
            self._fail_by_protocol(value)
        elif event == Event.HANDSHAKE_FAILED_NO_DETAIL:
            self._break_off()
        elif event == Event.DISCONNECTED:
            if not self.is_made and not self._has_failed:
                self._fail("is a socket of another pattern", "--pattern has to fit it")
            self._is_connected = self.is_made = False

    def silence(self, timeout_s: float) -> PeerGone:
        """Tell why nothing has come."""
        within = f"within {timeout_s:g} s"
        if self.failure:
            return self.failure
        if self.is_made:
            return PeerGone(f"no answer from {self._endpoint} {within}", "it is connected, but does not answer")
        if self._was_made:
            return PeerGone(f"{self._endpoint} has gone, and not come back {within}", "the connection was lost")
        if self._is_connected:
            return PeerGone(f"no handshake with {self._endpoint} {within}", "something listens there; is it ZeroMQ?")
        if not self._has_tried:
            return PeerGone(f"{self._endpoint} can't be found {within}", "is the name of the host right?")
        return PeerGone(f"nobody at {self._endpoint} {within}", "is the server there, and the endpoint right?")

    def _fail_by_protocol(self, value: int) -> None:
        if value != MECHANISM_MISMATCH:
            self._fail("does not speak ZMTP as it should", f"libzmq's code {value:#x}")
        elif self._has_keys:
            self._fail("does not use CURVE", "leave out the --curve options, or start it with --curve-secret")
        else:
            self._fail("wants CURVE", "give --curve-server-key and --curve-secret")

    def _break_off(self) -> None:
        self._has_failed = True
        self._breaks += 1
        if self._breaks >= BREAKS:
            hint = (
                "is --curve-server-key its key, and does it use CURVE?"
                if self._has_keys
                else "is it ZeroMQ? does it want CURVE, or another --pattern?"
            )
            self._fail("breaks off the handshake", hint)

    def _fail(self, what: str, hint: str) -> None:
        self._has_failed = True
        self.failure = self.failure or PeerGone(f"{self._endpoint} {what}", hint)
