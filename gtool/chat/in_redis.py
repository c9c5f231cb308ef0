"""The store in Redis: many processes, on many machines, serve the same rooms in one order.

Messages are a stream, that each process mirrors; claims and rooms are keys beside it; who is where, and who types, goes
over a channel. Of what Redis has taken as much survives its end as it is told to write down (appendonly, appendfsync).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from time import monotonic, time
from typing import Any, TypeVar

import gevent
import simplejson
from gevent.event import Event
from redis.exceptions import RedisError

from gtool.chat.claims import KEPT_S, Claim
from gtool.chat.messages import is_message
from gtool.chat.names import check_name
from gtool.chat.store import TRIM_S, InMemory, Note, OnNote
from gtool.log import EventLog, SeldomLog
from gtool.runtime.pauses import doubling
from gtool.streams.log import Entry, Unavailable
from gtool.streams.redis.entries import offset_of, payload, topic_of
from gtool.streams.redis.follower import Follower
from gtool.streams.redis.location import FIRST_PAUSE_S, LONGEST_PAUSE_S, Location, event, green_client, one_line

log = EventLog("chat")

KEY_S = 24 * 3600  #: that the key of a post is remembered
TRIES = 3  #: of a post: the first may find a connection that Redis has closed
AGAIN_S = 0.1
MIRRORED_S = 1.0  #: that a post waits for its own message to come back
CLAIM_S = 2.0  #: that a claim may be let go elsewhere before we know
ROOMS_S = 5.0  #: between looks at which rooms there are
CLAIMS = 10_000  #: that are remembered

#: Add a message, unless its key has one. Gives the id, whether it is new, and what stands under the key.
POST = """
local found = redis.call('GET', KEYS[2])
if found then return {found, 0, redis.call('XRANGE', KEYS[1], found, found)} end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'data', ARGV[1], 'topic', ARGV[2])
redis.call('SET', KEYS[2], id, 'EX', ARGV[4])
return {id, 1, {}}
"""

Result = TypeVar("Result")


class InRedis(InMemory):
    """Reads from a mirror in memory, as the store in memory does; writes to Redis."""

    def __init__(self, location: Location, rooms: Iterable[str], retain_s: float | None, most: int) -> None:
        super().__init__(rooms, retain_s, most, location.epoch)
        self._location = location
        self._most = most
        self._client = green_client(location)
        self._follower = Follower(location, most, accepts=is_message)
        self._found: dict[str, tuple[float, Claim]] = {}  # claims, and when they were looked up
        self._has_come = Event()
        self._seldom = SeldomLog(log)
        self._greenlets: list[Any] = []
        self._trouble = ""
        self.memory.listen(lambda _: self._has_come.set())

    @property
    def trouble(self) -> str:  # type: ignore[override]
        return self._trouble or self._follower.trouble

    @property
    def is_loaded(self) -> bool:  # type: ignore[override]
        return self._follower.is_loaded

    def run(self, on_note: OnNote) -> None:
        self._greenlets = [
            gevent.spawn(self._keep_rooms),
            gevent.spawn(self._listen, on_note),
            gevent.spawn(self._trim),
        ]
        self._follower.load(self.memory)
        self._follower.run(self.memory)

    def post(self, room: str, data: bytes, key: str | None) -> tuple[Entry, bool]:
        keys = [self._location.stream, self._name("post", key or secrets.token_urlsafe(12))]
        script = self._client.register_script(POST)
        entry_id, is_new, rows = self._insist(lambda: script(keys, [data, room, self._most, KEY_S]))
        offset, time_s = offset_of(entry_id), int(entry_id.partition(b"-")[0]) / 1000
        if rows:
            fields = dict(zip(rows[0][1][::2], rows[0][1][1::2], strict=True))
            room, data = topic_of(fields), payload(fields)
        with gevent.Timeout(MIRRORED_S, False):  # type: ignore[arg-type]  # whoever asks for it now is to find it
            while self.memory.newest_offset < offset:
                self._has_come.clear()
                self._has_come.wait()
        return Entry(0, offset, time_s, data, 0, room), bool(is_new)

    def add_room(self, name: str) -> None:
        self._insist(lambda: self._client.sadd(self._name("rooms"), name))
        super().add_room(name)
        self.tell({"new_room": name})

    def find_claim(self, key: str) -> Claim | None:
        at, known = self._found.get(key, (0.0, None))
        if known and monotonic() - at <= CLAIM_S:
            return known
        try:
            return self._look_up(key)
        except (RedisError, OSError) as error:
            if known:
                return known
            raise Unavailable(one_line(error)) from error

    def put_claim(self, claim: Claim) -> bool:
        value = simplejson.dumps([claim.name, claim.digest])
        name = self._name("claim", claim.key)
        if not self._insist(lambda: self._client.set(name, value, nx=True, ex=int(KEPT_S))):
            found = self._insist(lambda: self._look_up(claim.key))
            if found is None or found.digest != claim.digest:
                return False
            self._insist(lambda: self._client.expire(name, int(KEPT_S)))
        self._remember(claim.key, claim)
        return True

    def drop_claim(self, claim: Claim) -> None:
        self._insist(lambda: self._client.delete(self._name("claim", claim.key)))
        self._remember(claim.key, None)

    def tell(self, note: Note) -> None:
        try:
            self._client.publish(self._name("notes"), simplejson.dumps(note))
        except (RedisError, OSError) as error:
            self._seldom.warning(event(error), to=self._location.name, reason=one_line(error))

    def close(self) -> None:
        gevent.killall(self._greenlets)
        self._follower.close()
        self._client.close()

    def _name(self, *parts: str) -> str:
        return ":".join([self._location.stream, *parts])

    def _insist(self, ask: Callable[[], Result]) -> Result:
        """Ask Redis, and once more where a connection has broken: all that is asked may be asked twice. Unavailable."""
        for attempt in range(TRIES):
            try:
                found = ask()
            except (RedisError, OSError) as error:
                self._trouble = f"cannot write to {self._location.name}: {one_line(error)}"
                self._seldom.warning(event(error), to=self._location.name, reason=one_line(error))
                if attempt == TRIES - 1:
                    raise Unavailable(one_line(error)) from error
                gevent.sleep(AGAIN_S)
            else:
                self._trouble = ""
                return found
        raise AssertionError("the last attempt has returned or raised")

    def _look_up(self, key: str) -> Claim | None:
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.get(self._name("claim", key))
            pipeline.pttl(self._name("claim", key))
            value, rest_ms = pipeline.execute()
        claim = None
        if value:
            user, digest = simplejson.loads(value)
            claim = Claim(key, user, digest, time() - (KEPT_S - rest_ms / 1000))
        self._remember(key, claim)
        return claim

    def _remember(self, key: str, claim: Claim | None) -> None:
        """Remember a claim for a while; that a name is nobody's may be otherwise in the next moment."""
        self._found.pop(key, None)
        if claim:
            self._found[key] = (monotonic(), claim)
            if len(self._found) > CLAIMS:
                del self._found[next(iter(self._found))]

    def _keep_rooms(self) -> None:
        """Have the rooms that others have, and they ours."""
        unwritten = self.rooms()
        while True:
            unwritten = [name for name in unwritten if not self._has_written(name)]
            try:
                for name in sorted(self._client.smembers(self._name("rooms"))):
                    self._take_room(name.decode(errors="replace"))
            except (RedisError, OSError) as error:
                self._seldom.warning(event(error), source=self._location.name, reason=one_line(error))
            gevent.sleep(ROOMS_S)

    def _has_written(self, room: str) -> bool:
        """Have a room of ours stand in Redis, if that is there."""
        try:
            self.add_room(room)
        except Unavailable:
            return False
        return True

    def _listen(self, on_note: OnNote) -> None:
        """Hand on what others tell; what they tell while Redis is away is lost, and of no use later."""
        pauses = doubling(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(self._name("notes"))
                    while True:
                        told = channel.get_message(timeout=1.0)
                        if told and (note := _note(told["data"])):
                            self._hand_on(note, on_note)
                            pauses = doubling(FIRST_PAUSE_S, LONGEST_PAUSE_S)
            except (RedisError, OSError):  # the follower says so
                gevent.sleep(next(pauses))

    def _hand_on(self, note: dict[str, Any], on_note: OnNote) -> None:
        if "new_room" in note:
            self._take_room(note["new_room"])
        else:
            on_note(note)

    def _take_room(self, name: object) -> None:
        """Have a room that stands in Redis, whoever has written it there."""
        try:
            super().add_room(check_name(str(name)))
        except ValueError:
            self._seldom.warning("a room is none of ours: left out", source=self._location.name)

    def _trim(self) -> None:
        while True:
            gevent.sleep(TRIM_S)
            self._forget_old()
            if self._retain_s is not None:
                oldest = f"{int((time() - self._retain_s) * 1000)}-0"
                try:
                    self._client.xtrim(self._location.stream, minid=oldest, approximate=True)
                except (RedisError, OSError) as error:
                    self._seldom.warning(event(error), source=self._location.name, reason=one_line(error))


def _note(data: bytes) -> dict[str, Any] | None:
    """Read what another process tells; None for what is none of ours."""
    try:
        found = simplejson.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
