"""Lines of JSON, as those who go on with a stream in the shell write them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

import simplejson


def json_line(fields: Mapping[str, object], is_for_terminal: bool = False) -> bytes:
    """Write an object as a line; for a terminal in ASCII, without what it could take for a command."""
    line = simplejson.dumps(fields, ensure_ascii=is_for_terminal)
    # Half a character (U+D800 to U+DFFF), which JSON may have and UTF-8 may not, becomes a question mark.
    return line.replace("\x7f", "\\u007f").encode(errors="replace") + b"\n"
