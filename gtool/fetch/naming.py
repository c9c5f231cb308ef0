"""File names for bodies: the template of --output, and names made safe. Pure: touches no file.

What a URL says is not trusted: every value becomes path components that cannot leave the directory, hide an
absolute path, or carry control characters. Symbolic links are for the one who opens the file to look at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

PLACEHOLDERS = frozenset({"seq", "host", "path", "name", "ext", "id", "sha256"})
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\u2028\u2029\u202a-\u202e\u2066-\u2069]")
LONGEST_NAME_BYTES = 200  # of the 255 that file systems take: temporary names need some of their own
INDEX = "index.html"  # the name of a directory's page, as wget has it
NO_EXTENSION = "bin"


class NameTemplate:
    """The parsed --output: a directory that nothing leaves, and a pattern below it."""

    def __init__(self, template: str) -> None:
        """Parse a template; ValueError names a placeholder that is none."""
        unknown = set(PLACEHOLDER.findall(template)) - PLACEHOLDERS
        if unknown:
            known = " ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS))
            raise ValueError(f"unknown placeholder {{{unknown.pop()}}} in {template!r}; there are: {known}")
        if not template or template.endswith("/"):
            raise ValueError(f"{template!r} names a directory, not files; try {template}{{host}}/{{path}}")
        head, slash, _ = template.partition("{")[0].rpartition("/")
        self.directory = head or slash or "."  #: the part before the first placeholder
        self._pattern = template[len(head) + len(slash) :]
        self.needs_sha256 = "{sha256}" in template

    def name(self, values: Mapping[str, str]) -> str:
        """Fill in the values: a path relative to `directory`. ValueError if it needs an id and there is none."""
        filled = PLACEHOLDER.sub(lambda match: _value(values, match[1]), self._pattern)
        return relative_path(filled)


def values_of(url: str, seq: int, request_id: object) -> dict[str, str]:
    """What the placeholders stand for, but {sha256}, which only the body tells."""
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    if not path or path.endswith("/"):
        path += INDEX
    name = safe_name(path.rpartition("/")[2])
    host = (parts.netloc.rpartition("@")[2]).lower().translate({ord("["): None, ord("]"): None, ord(":"): "_"})
    values = {
        "seq": str(seq),
        "host": safe_name(host),
        "path": relative_path(path),
        "name": name,
        "ext": PurePosixPath(name).suffix[1:] or NO_EXTENSION,
    }
    if request_id is not None:
        values["id"] = safe_name(str(request_id))
    return values


def explicit_path(path: str) -> str:
    """Check a path that a request asks for by name; ValueError if it leads out of the directory."""
    if path.startswith("/") or ".." in path.split("/") or path.endswith("/") or not path:
        raise ValueError(f"output {path!r} is not a file below the output directory")
    return relative_path(path)


def relative_path(path: str) -> str:
    """Make a path that stays below where it is put: no `..`, no empty component, each one a safe name."""
    components = [safe_name(part) for part in path.split("/") if part not in ("", ".")]
    return "/".join(components) or INDEX


def safe_name(name: str) -> str:
    """Make one component of a path of any text: no separators or control characters, not too long."""
    encoded = UNSAFE.sub("_", name).encode(errors="replace")
    if not encoded.strip(b". "):
        return "_" * max(1, min(len(encoded), 8))
    if len(encoded) <= LONGEST_NAME_BYTES:
        return encoded.decode()
    import hashlib  # loads OpenSSL, for few names

    digest = hashlib.sha256(encoded).hexdigest()[:16]  # two long names stay two names
    return f"{encoded[: LONGEST_NAME_BYTES - 17].decode(errors='ignore')}~{digest}"


def _value(values: Mapping[str, str], placeholder: str) -> str:
    try:
        return values[placeholder]
    except KeyError:
        raise ValueError(f"the output name needs {{{placeholder}}}, which this input has not") from None
