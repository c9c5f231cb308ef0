"""`python -m gtool`, and the console script."""

from __future__ import annotations

import signal


def main() -> None:
    """Run gtool. A Ctrl-C while it is being loaded ends it as one that nobody catches, with no traceback."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from gtool import cli

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
