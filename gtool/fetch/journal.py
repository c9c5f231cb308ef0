"""What has succeeded, noted in a file as it happens, so that a run that was killed goes on where it was.

One JSON line per finished input: `{"request": digest, "ok": true, ...}`. A request is known by what it asks for, not
by its place in the list, and as often as it stands there. A line is written when the input's output is out; the file
is synced in batches, after the bodies' files. So a kill costs at most the doing again of what was not noted, never a
loss.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import simplejson
from gevent.event import Event
from gevent.hub import get_hub

from gtool.errors import ReadError, WriteError
from gtool.fetch.record import Record
from gtool.fetch.record_json import encode_json
from gtool.fetch.request import Request
from gtool.runtime.stdio import write_all

BATCH_S = 0.2
BACKLOG_LINES = 10_000  #: that wait to be written, at which no further transfer starts


class Journal:
    """An open journal: what earlier runs have done, and what this one does."""

    def __init__(self, path: str) -> None:
        """Read what is there and open it for more. ReadError or WriteError if that can't be done."""
        self._path = path
        self._done: Counter[bytes] = Counter()
        try:
            is_torn = self._load()
        except OSError as error:
            raise ReadError(f"cannot read the journal {path}: {error.strerror}") from error
        with self._wrapped():
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        if is_torn:
            self._append("\n")  # end the torn line, or the next one would be lost with it
        self.on_room: Callable[[], None] = _nothing  #: called when there is room again after `is_behind` has said yes
        self._lines: list[str] = []
        self._bodies: list[str] = []
        self._noted = Event()
        self._closing = Event()
        self._writer = gevent.spawn(self._write)

    @property
    def is_behind(self) -> bool:
        """Whether the disk is so far behind that no further transfer is to start."""
        return len(self._lines) >= BACKLOG_LINES

    def skips(self, request: Request) -> bool:
        """Whether an earlier run has done this request; each time that it has is good for one."""
        if not self._done:
            return False
        digest = fingerprint(request)
        if not self._done.get(digest):
            return False
        self._done[digest] -= 1
        return True

    def note(self, request: Request, record: Record) -> None:
        """Note an input whose output is out."""
        line = {
            "request": fingerprint(request).hex(),
            "ok": record["ok"],
            "exitcode": record["exitcode"],
            "url": record["url"],
            "started_at": record["started_at"],
        }
        if path := record.get("body_path"):
            self._bodies.append(path)
        self._lines.append(encode_json(line) + "\n")
        self._noted.set()

    def close(self) -> None:
        """Write and sync what is left. WriteError if that can't be done."""
        self._closing.set()
        self._noted.set()
        try:
            self._writer.get()
        finally:
            os.close(self._descriptor)

    def _load(self) -> bool:
        """Count what has succeeded; whether the last line is torn."""
        line = "\n"
        try:
            with open(self._path, errors="replace") as file:
                for line in file:
                    if digest := _succeeded(line):
                        self._done[digest] += 1
        except FileNotFoundError:
            return False
        return not line.endswith("\n")

    def _write(self) -> None:
        """Batch after batch: note at once what has no file, the rest when its file is safe on the disk."""
        while True:
            self._noted.wait()
            self._noted.clear()
            lines, bodies = self._take()
            if not bodies:
                self._append("".join(lines))
            if lines:
                self._in_thread(_sync_files, bodies)
                if bodies:
                    self._append("".join(lines))
                self._in_thread(_sync, self._descriptor)
            if self._closing.is_set() and not self._lines:
                return
            self._closing.wait(BATCH_S)

    def _take(self) -> tuple[list[str], list[str]]:
        was_behind = self.is_behind
        lines, self._lines = self._lines, []
        bodies, self._bodies = self._bodies, []
        if was_behind:
            self.on_room()
        return lines, bodies

    def _append(self, text: str) -> None:
        with self._wrapped():
            write_all(self._descriptor, text.encode())

    def _in_thread(self, sync: Callable[[Any], None], what: Any) -> None:
        with self._wrapped():
            get_hub().threadpool.apply(sync, (what,))

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = f"{error.filename}: " if error.filename not in (None, self._path) else ""
            raise WriteError(f"cannot write the journal {self._path}: {where}{error.strerror}") from error


def fingerprint(request: Request) -> bytes:
    """A short digest of what a request asks for and where it puts it."""
    asked = (request.url, request.method, request.headers, request.data, request.id, request.output)
    return hashlib.blake2b(repr(asked).encode(errors="surrogatepass"), digest_size=8).digest()


def _succeeded(line: str) -> bytes | None:
    """The fingerprint in a line that tells of a success; None for a failure, or a line that was torn."""
    try:
        noted = simplejson.loads(line)
        return bytes.fromhex(noted["request"]) if noted["ok"] is True else None
    except (ValueError, KeyError, TypeError):
        return None


def _sync_files(paths: list[str]) -> None:
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would have us wait for its writer
        except FileNotFoundError:
            continue  # whoever took it away has it
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)


def _sync(descriptor: int) -> None:
    """Have a file's bytes on the disk; a device takes no fsync(2)."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fsync(descriptor)


def _nothing() -> None:
    pass
