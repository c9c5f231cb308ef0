"""Bodies to files: written under a temporary name, renamed when complete, never outside the directory."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Any

from gtool.fetch.naming import NameTemplate, explicit_path, values_of
from gtool.fetch.record import Headers
from gtool.fetch.request import Request
from gtool.fetch.stores import BadName, Exists, ResumePoint, Store, validator_of
from gtool.runtime.stdio import write_all

PART = ".part"
NOTE = ".part.json"  #: beside a part that may be resumed: its URL and validator
BLOCK_BYTES = 1 << 20
MODE = 0o666  # less the umask, as for any file that a program makes


class Files:
    """Hands out a FileStore per input, and sees to it that no two inputs write to one name."""

    def __init__(self, template: str, *, no_clobber: bool = False, resume: bool = False) -> None:
        """Parse the template; ValueError if it can't be used."""
        self._template = NameTemplate(template)
        if resume and self._template.needs_sha256:
            raise ValueError("--resume needs names that are known before the body: not {sha256}")
        self.no_clobber = no_clobber
        self.resume = resume
        self._taken: set[int] = set()  # hashes: the names of a million inputs would take 150 MB
        self._safe_parents: set[str] = set()

    @property
    def needs_sha256(self) -> bool:
        return self._template.needs_sha256

    def store_for(self, seq: int, request: Request) -> Store:
        """Find the name of an input's file. BadName if it can have none, Exists if it is there and must stay."""
        try:
            values = values_of(request.url, seq, request.id)
            if request.output is not None:
                return self._store_at(explicit_path(request.output), request.url)
            if self._template.needs_sha256:
                self._template.name({**values, "sha256": ""})  # fails now, not after the transfer
                return FileStore(self, request.url, None, values)
            name = self._template.name(values)
        except ValueError as error:
            raise BadName(str(error)) from error
        return self._store_at(name, request.url)

    def _store_at(self, name: str, url: str) -> Store:
        path = self._path(name)
        try:
            mode = os.stat(path).st_mode
        except OSError:
            mode = stat.S_IFREG  # not there, or not to be looked at: whoever opens it will say why
        if stat.S_ISCHR(mode):
            return DeviceStore(path)
        is_device_name = os.path.dirname(os.path.abspath(path)) in ("/dev", "/proc/self/fd")  # as /dev/stdout
        if is_device_name or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise BadName(f"{path} is no file that could be replaced: it is left alone")
        return FileStore(self, url, self._claim(name))

    def path_of_content(self, values: dict[str, str], sha256: str) -> str:
        """The path of a body that is named after its content."""
        return self._path(self._template.name({**values, "sha256": sha256}))

    def temporary(self, path: str | None) -> str:
        """A name for the file while it is being written, in the directory that it will be in."""
        parent, name = os.path.split(path) if path else (self._template.directory, "body")
        return os.path.join(parent, f".{name}.{os.urandom(4).hex()}{PART}")

    def make_parent(self, path: str) -> None:
        """Make the directories above a path; OSError if a symbolic link leads out of the output directory."""
        parent = os.path.dirname(path) or "."
        if parent in self._safe_parents:
            return
        root = os.path.realpath(self._template.directory)
        if os.path.commonpath([root, os.path.realpath(parent)]) != root:
            raise OSError(0, "a symbolic link leads out of the output directory", parent)
        os.makedirs(parent, exist_ok=True)
        self._safe_parents.add(parent)

    def _path(self, name: str) -> str:
        directory = self._template.directory
        return name if directory == "." else os.path.join(directory, name)

    def _claim(self, name: str) -> str:
        """Take a name for one input, and with --resume those of its part. BadName if one is taken, Exists if kept."""
        keys = {hash(name + ending) for ending in (("", PART, NOTE) if self.resume else ("",))}
        if keys & self._taken:
            raise BadName(f"another input goes to the file {name!r} too (put {{seq}} into --output)")
        self._taken |= keys
        path = self._path(name)
        if self.no_clobber and os.path.lexists(path):
            raise Exists(path)
        return path


class DeviceStore(Store):
    """One body on its way to what is no file to be replaced, such as /dev/null."""

    skips_failures = True

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def begin(self, headers: Headers) -> None:
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)

    def append(self, data: bytes) -> None:
        write_all(self._descriptor, data)

    def finish(self, sha256: str | None) -> dict[str, Any]:
        self.discard()
        return {"body_path": self._path}

    def discard(self) -> dict[str, Any]:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        return {}


class FileStore(Store):
    """One body on its way to a file. Nothing is created before its first byte, or its end."""

    skips_failures = True

    def __init__(self, files: Files, url: str, path: str | None, values: dict[str, str] | None = None) -> None:
        """`path` is None for a file that is named after its content; `values` fill in the rest of its name."""
        self._files = files
        self._url = url
        self._path = path
        self._values = values or {}
        self._descriptor = -1
        self._has_part = False  #: there is a file to be removed, if this fails
        self._is_resuming = False
        self._part = path + PART if path and files.resume else files.temporary(path)
        self._note = f"{path}{NOTE}" if path and files.resume else None

    def start(self) -> ResumePoint | None:
        point = self._resume_point() if self._note else None
        self._is_resuming = point is not None
        if point is None and self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
        return point

    def rewind(self) -> None:
        self._is_resuming = False
        if self._note:
            _remove(self._note)
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)

    def begin(self, headers: Headers) -> None:
        if self._descriptor < 0:
            self._open(0 if self._is_resuming else os.O_TRUNC if self._note else os.O_EXCL)
        if self._note and not self._is_resuming:  # an answer with the rest need not tell the validator again
            self._write_note(validator_of(headers))

    def append(self, data: bytes) -> None:
        write_all(self._descriptor, data)

    def prefix(self) -> Iterator[bytes]:
        with open(self._part, "rb") as part:
            while block := part.read(BLOCK_BYTES):
                yield block

    def finish(self, sha256: str | None) -> dict[str, Any]:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        if self._path is None:
            assert sha256 is not None, "a name made of the digest has the digest computed"
            self._path = self._files.path_of_content(self._values, sha256)
            self._files.make_parent(self._path)
        self._publish(self._path)
        return {"body_path": self._path}

    def discard(self) -> dict[str, Any]:
        """Remove what is there of a failed body; with --resume it stays, for the next run."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._has_part and not self._note:
            _remove(self._part)
        return {}

    def _publish(self, path: str) -> None:
        if self._files.no_clobber:
            with contextlib.suppress(FileExistsError):  # somebody was faster: theirs stays
                os.link(self._part, path)
            _remove(self._part)
        else:
            os.replace(self._part, path)
        self._has_part = False
        if self._note:
            _remove(self._note)

    def _open(self, flags: int) -> None:
        self._files.make_parent(self._part)
        flags |= os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._part, flags, MODE)
        self._has_part = True

    def _resume_point(self) -> ResumePoint | None:
        """Where the rest of a part begins, if its note can vouch for it.

        One byte before its end: a part that is complete has a rest too then, where a server would answer 416 else.
        """
        import simplejson  # for those who resume

        assert self._note is not None
        try:
            with open(self._note) as file:
                note = simplejson.load(file)
            offset = os.stat(self._part).st_size - 1
            if offset < 1 or note["url"] != self._url:
                return None
            os.truncate(self._part, offset)
            return ResumePoint(offset, note["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write_note(self, validator: str | None) -> None:
        assert self._note is not None
        if validator is None:
            _remove(self._note)
            return
        import simplejson

        with open(self._note, "w") as file:
            simplejson.dump({"url": self._url, "validator": validator}, file)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
