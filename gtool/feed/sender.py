"""ws-tail --send: the lines of stdin go to the server, over whatever connection there is."""

from __future__ import annotations

from gevent.event import Event

from gtool.log import EventLog
from gtool.runtime.lines import LineSplitter
from gtool.runtime.stdio import open_input
from gtool.web.client import Client
from gtool.web.frames import Message

log = EventLog("tail")

LONGEST_LINE = 16 << 20


class Sender:
    """Sends over the connection of the moment; while there is none, waits for one."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._is_connected = Event()

    def use(self, client: Client | None) -> None:
        """Take another connection, or none for now."""
        self._client = client
        if client:
            self._is_connected.set()
        else:
            self._is_connected.clear()

    def send(self, message: Message) -> None:
        """Wait until a connection has taken a message. What one took right before it broke may not have arrived."""
        while True:
            self._is_connected.wait()
            assert self._client
            try:
                self._client.send(message)
            except OSError:
                self._is_connected.clear()  # whoever reads from it finds out, and connects anew
            else:
                return


def send_lines(sender: Sender) -> None:
    """Send all lines of stdin; as binary messages where they are not UTF-8. ReadError if it can't be read."""
    source = open_input("-")
    splitter = LineSplitter(LONGEST_LINE)
    try:
        while data := source.wait_and_read():
            _send_all(splitter.feed(data), sender)
        _send_all(splitter.end(), sender)
    finally:
        source.close()


def _send_all(lines: list[bytes | None], sender: Sender) -> None:
    for line in lines:
        if line is None:
            log.warning("a line is too long: left out", most=LONGEST_LINE)
        else:
            sender.send(Message(line, _is_text(line)))


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
