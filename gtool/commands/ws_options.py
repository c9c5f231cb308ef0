"""What the options of ws-feed and ws-tail have in common."""

from __future__ import annotations

from gtool.errors import UsageError


def secret(text: str | None) -> str | None:
    """Give a secret, or what stands in the file named by @FILE. UsageError if that can't be read, or is empty."""
    if text is None or not text.startswith("@"):
        found = text
    else:
        try:
            with open(text[1:], encoding="utf-8") as file:
                found = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise UsageError(f"cannot read the token from {text[1:]}: {why}") from error
    if found == "":
        raise UsageError("the token is empty")
    return found
