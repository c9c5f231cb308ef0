"""Structured logging: an event and its fields, as text or as JSON lines, on stderr.

Configured once, by the command line. Modules hold `log = EventLog("fetch")` and say
`log.warning("transfer failed", url=url, exitcode=7)`. Never pass a secret as a field.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import TextIO

ROOT = "gtool"
NOTICE = 25  #: what was asked for, or matters without being wrong: between INFO and WARNING, as in syslog
logging.addLevelName(NOTICE, "NOTICE")


class EventLog:
    """A logger that takes fields as keywords; greenlets may share it."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"{ROOT}.{name}")

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def notice(self, event: str, **fields: object) -> None:
        self._log(NOTICE, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Log an error with the traceback of the exception being handled."""
        self._logger.error(event, extra={"fields": fields}, exc_info=True)

    def _log(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": fields})


class SeldomLog:
    """Warnings that a flood of bad peers can cause: each once in `every_s` at most, with how many were left out."""

    def __init__(self, log: EventLog, every_s: float = 1.0) -> None:
        self._log = log
        self._every_s = every_s
        self._said_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, event: str, **fields: object) -> None:
        now = time.monotonic()
        if now - self._said_at.get(event, -self._every_s) < self._every_s:
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return
        self._said_at[event] = now
        self._log.warning(event, **fields, left_out=self._left_out.pop(event, None))


def configure(log_format: str, level: str) -> None:
    """Send events of `level` and above to stderr, as `text` or `json`."""
    handler = _StderrHandler()
    handler.setFormatter(_json_formatter() if log_format == "json" else _TextFormatter())
    root = logging.getLogger(ROOT)
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False


def escape_controls(text: str) -> str:
    r"""Make text of a peer harmless for a terminal: control characters become escapes such as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Write to whatever sys.stderr is at that time: a progress display may stand in front of it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr

    def handleError(self, record: logging.LogRecord) -> None:
        """Go on when the log itself cannot be written (a full disk): the work matters more."""


class _TextFormatter(logging.Formatter):
    """`2026-11-22T10:03:55.123Z WARNING transfer failed url=http://… exitcode=7`."""

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, object] = getattr(record, "fields", {})
        line = f"{_timestamp(record)} {record.levelname:<7} {escape_controls(record.getMessage())}"
        line += "".join(f" {name}={_quote(value)}" for name, value in fields.items() if value is not None)
        if record.exc_info:
            line += "".join(f"\n{escape_controls(text)}" for text in self.formatException(record.exc_info).splitlines())
        return line


def _timestamp(record: logging.LogRecord) -> str:
    """Spell the time of an event as RFC 3339, UTC, milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _quote(value: object) -> str:
    text = escape_controls(str(value))
    return '"' + text.replace('"', '\\"') + '"' if " " in text or '"' in text or not text else text


def _json_formatter() -> logging.Formatter:
    import simplejson  # only who asks for JSON pays for it
    from pythonjsonlogger.core import BaseJsonFormatter

    class Formatter(BaseJsonFormatter):
        def format(self, record: logging.LogRecord) -> str:
            document: dict[str, object] = {
                "time": _timestamp(record),
                "level": record.levelname.lower(),
                "logger": record.name,
                "event": record.getMessage(),
                **getattr(record, "fields", {}),
            }
            if record.exc_info:
                document["traceback"] = self.formatException(record.exc_info)
            return simplejson.dumps(document, ignore_nan=True, encoding=None, default=str)  # bytes as Python shows them

    return Formatter()
