"""chat-tail's messages: how they are read, and how they look as lines. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import simplejson

from gtool.chat.messages import SUBPROTOCOL, Message
from gtool.errors import PeerGone
from gtool.log import escape_controls
from gtool.streams.log import parse_cursor

LAST_S = 253402300800  #: of the calendar: the end of the year 9999


class ChatLanguage:
    """What a chat server speaks under its subprotocol."""

    subprotocol = SUBPROTOCOL

    def open(self, data: bytes) -> tuple[Message | None, Mapping[str, Any]]:
        """Read a message, or a note. ValueError if it is neither."""
        try:
            fields = simplejson.loads(data)
            if not isinstance(fields, dict):
                raise ValueError("no object")
            if "id" not in fields:
                return None, fields
            time_s = float(fields["time"])
            texts = [fields[name] for name in ("room", "user", "text")]
            if not 0 <= time_s < LAST_S or not all(isinstance(text, str) for text in texts):
                raise ValueError("no message")
            whole = [text.encode(errors="replace").decode() for text in texts]  # half a character is none
            return Message(str(parse_cursor(fields["id"])), time_s, *whole), {}
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise ValueError("no message of a chat's") from error

    def bare(self, message: object) -> Message:
        raise PeerGone("the server is no chat server of gtool")


def text_line(told: Message) -> bytes:
    """Write a message as a line for people; what would be another line, or a terminal's command, is escaped."""
    at = datetime.fromtimestamp(told.time).strftime("%Y-%m-%d %H:%M:%S")
    line = f"[{at}] {escape_controls(told.room)} {escape_controls(told.user)}: {escape_controls(told.text)}\n"
    return line.encode(errors="backslashreplace")


def environment_of(told: Message) -> dict[str, str]:
    """Give what a command that is run for a message finds in its environment, which has no NUL in it."""
    fields = {f"GTOOL_CHAT_{name.upper()}": str(value) for name, value in told._asdict().items()}
    return {name: value.replace("\0", "") for name, value in fields.items()}
