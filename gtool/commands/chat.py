"""`gtool chat`: its options, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from gtool.commands.options import Command, option, under
from gtool.commands.redis_options import redis_location
from gtool.commands.server_options import EXIT_STATUS, SIGNALS, plan, server_options
from gtool.commands.types import DURATION, RATE, SIZE
from gtool.commands.web_options import SITE, base_path, check_web, guard, secret
from gtool.errors import UsageError

if TYPE_CHECKING:
    from gtool.chat.store import Store

DEFAULT = "127.0.0.1:5000"
ROOMS = ("topic1", "topic2")
MOST_IN_MEMORY = 10_000
EXAMPLES = (
    "gtool chat",
    "gtool chat -l :5000 --allow-host chat.lan --room builds --room lunch",
    "gtool chat --store 'redis://localhost/0?stream=chat' --workers 2",
)


@click.command("chat", cls=Command, notes=SIGNALS, exit_status=EXIT_STATUS, examples=EXAMPLES)
@under(
    "Rooms",
    option("--room", "room", multiple=True, default=ROOMS, metavar="NAME",
           help="Have this room. Repeatable."),
    option("--allow-new-rooms", is_flag=True, help="Let users make further rooms."),
    option("--max-rooms", type=click.IntRange(1), default=100, metavar="N", help="Rooms at most."),
)  # fmt: skip
@under(
    "Messages",
    option("--store", metavar="URL",
           help="Keep them in sqlite:PATH, in memory:, or in redis://HOST/DB?stream=NAME, which several processes may "
                "share.  [default: a SQLite file in the user's state directory]"),
    option("--retain", type=DURATION, metavar="TIME", help="Keep a message so long.  [default: for ever]"),
    option("--max-messages", type=click.IntRange(1), metavar="N",
           help=f"Keep so many.  [default: in SQLite all, elsewhere {MOST_IN_MEMORY}]"),
    option("--max-message", type=SIZE, default="4k", metavar="SIZE", help="The longest message."),
    option("--post-rate", type=RATE, default="5/s", metavar="RATE",
           help="What a user may post in the long run; from one address ten times that."),
    option("--post-burst", type=click.IntRange(1), default=20, metavar="N", help="What a user may post at once."),
)  # fmt: skip
@under(
    "Who may come in",
    *SITE,
    option("--token", type=click.Path(dir_okay=False), metavar="FILE",
           help="Be private: ask for the secret in FILE, on the first page or as Authorization: Bearer."),
)  # fmt: skip
@server_options(DEFAULT)
def chat(**options: Any) -> int:
    """Serve chat rooms that lose nothing.

    A browser at http://HOST:PORT/ chooses a name and is in; chat-post and chat-tail are the same for scripts. Messages
    are on the disk before they are acknowledged, and who comes back misses none.
    """
    from gtool.chat.chat import Settings as ChatSettings
    from gtool.chat.run import Settings, run

    check_web(options)
    wanted = plan(options, DEFAULT, is_web=True)
    token = secret(f"@{options['token']}") if options["token"] is not None else None
    settings = Settings(
        guard=guard(options, wanted.listen, token),
        chat=ChatSettings(
            max_message=options["max_message"],
            rate=options["post_rate"],
            burst=options["post_burst"],
            allows_new_rooms=options["allow_new_rooms"],
            max_rooms=options["max_rooms"],
        ),
        base_path=base_path(options),
        head_timeout=options["handshake_timeout"] or None,
    )
    return run(wanted, settings, _store(options, wanted.workers))


def _store(options: dict[str, Any], workers: int) -> Callable[[], Store]:
    """Give what opens the store, in the process that is to have it. UsageError."""
    rooms = _rooms(options["room"])
    scheme, separator, rest = _store_url(options["store"]).partition(":")
    retain, most = options["retain"], options["max_messages"]
    if scheme in ("sqlite", "memory") and workers > 1:
        raise UsageError(f"--workers: a store in {scheme}: is for one process", "several share redis://")
    if scheme == "memory" and separator and not rest:
        from gtool.chat.store import InMemory

        return lambda: InMemory(rooms, retain, most or MOST_IN_MEMORY)
    if scheme == "sqlite" and rest:
        from gtool.chat.in_sqlite import InSqlite

        return lambda: InSqlite(rest.removeprefix("//"), rooms, retain, most)
    if scheme in ("redis", "rediss", "unix"):
        location = redis_location(options["store"], "gtool-chat")
        from gtool.chat.in_redis import InRedis

        return lambda: InRedis(location, rooms, retain, most or MOST_IN_MEMORY)
    raise UsageError(f"{options['store']!r} is no store: sqlite:PATH, memory: or redis://HOST/DB?stream=NAME")


def _store_url(text: str | None) -> str:
    return f"sqlite:{_default_path()}" if text is None else text


def _rooms(names: tuple[str, ...]) -> list[str]:
    from gtool.chat.names import check_name, key_of

    rooms: dict[str, str] = {}
    for name in names:
        try:
            room = check_name(name)
        except ValueError as error:
            raise UsageError(f"--room {name!r}: {error}") from error
        if rooms.setdefault(key_of(room), room) != room:
            raise UsageError(f"--room: {room} could be taken for {rooms[key_of(room)]}")
    return list(rooms.values())


def _default_path() -> str:
    folder = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(folder, "gtool", "chat.db")
