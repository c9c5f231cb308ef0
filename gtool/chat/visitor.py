"""Who asks: by the sessions of a browser's cookies, or a bearer token; and what it may do in whose name."""

from __future__ import annotations

import binascii
import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from time import time
from typing import Any

from gtool.chat.claims import TOUCHED_S, Claim, digest_of, new_secret
from gtool.chat.names import check_name, key_of
from gtool.chat.store import Store
from gtool.streams.log import Unavailable
from gtool.web.guard import Guard
from gtool.web.respond import Refused

COOKIE = "gtool_chat_"  #: and a digest: a browser may have several names
MOST_SESSIONS = 20  #: that a request may bring
LONGEST_KEY = 400  #: letters of a name's key in a token


class Visitor:
    """One request's."""

    def __init__(self, store: Store, guard: Guard, environ: dict[str, Any]) -> None:
        self._store = store
        self._claims: dict[str, Claim] = {}
        for token in list(_tokens(environ))[:MOST_SESSIONS]:
            claim = find_session(store, token)
            if claim:
                self._claims[claim.key] = claim
        self._refusal = None if self._claims else guard.refuse_token(environ)

    @property
    def may_enter(self) -> bool:
        return self._refusal is None

    @property
    def names(self) -> list[str]:
        return [claim.name for claim in self._claims.values()]

    def check(self) -> None:
        """Refused where the server is private, and the visitor has neither its token nor a session."""
        if self._refusal:
            raise Refused(self._refusal.status, self._refusal.text, [("WWW-Authenticate", "Bearer")])

    def claim_of(self, user: str) -> Claim:
        """Give the visitor's claim of a name. Refused where it is somebody else's, or nobody's."""
        claim = self._claims.get(key_of(user))
        if claim:
            return self._touched(claim)
        if self.is_taken(user):
            raise Refused("403 Forbidden", f"{user} is somebody else: it takes that one's session to be it")
        raise Refused("404 Not Found", f"there is no user {user}: a name is chosen at /")

    def name_for(self, user: str | None) -> str:
        """Give the name to post under: one of the visitor's own, or one that nobody has. Refused."""
        if user is None:
            if len(self._claims) == 1:
                return self._touched(next(iter(self._claims.values()))).name
            raise Refused("401 Unauthorized", 'it is not said who posts: a session, or "user"')
        name = valid_name(user)
        if key_of(name) in self._claims or self.is_taken(name):
            return self.claim_of(name).name
        return name

    def is_taken(self, user: str) -> bool:
        found = self._store.find_claim(key_of(user))
        return found is not None and not found.is_over(time())

    def claim(self, user: str) -> tuple[Claim, str]:
        """Claim a name; give the claim and its token. Refused if it is none, or taken; Unavailable."""
        name = valid_name(user)
        secret = new_secret()
        claim = Claim(key_of(name), name, digest_of(secret), time())
        if not self._store.put_claim(claim):
            raise Refused("409 Conflict", f"{name} is taken: choose another name")
        self._claims[claim.key] = claim
        return claim, f"{urlsafe_b64encode(claim.key.encode()).decode().rstrip('=')}.{secret}"

    def _touched(self, claim: Claim) -> Claim:
        """Note that a claim is used."""
        now = time()
        if now - claim.used_at > TOUCHED_S:
            claim = claim._replace(used_at=now)
            with suppress(Unavailable):  # it is noted the next time: reading goes on
                self._store.put_claim(claim)
        return claim


def find_session(store: Store, token: str) -> Claim | None:
    """Give the claim that a token is for."""
    encoded, _, secret = token.partition(".")
    if len(encoded) > LONGEST_KEY:
        return None
    try:
        key = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    claim = store.find_claim(key)
    return claim if claim and claim.is_by(secret) and not claim.is_over(time()) else None


def cookie_name(key: str, epoch: str) -> str:
    """Name a session's cookie: browsers have one for each name, and for each chat on the ports of a host."""
    return COOKIE + hashlib.sha256(f"{epoch}\0{key}".encode()).hexdigest()[:12]


def valid_name(text: object) -> str:
    """Refused for what is no name."""
    try:
        if not isinstance(text, str):
            raise ValueError("a name is a text")
        return check_name(text)
    except ValueError as error:
        raise Refused("400 Bad Request", str(error)) from error


def _tokens(environ: dict[str, Any]) -> Iterator[str]:
    kind, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if kind.lower() == "bearer":
        yield credentials.strip()
    # Not by http.cookies, which reads none where one is odd: browsers send those of all ports of a host.
    for pair in environ.get("HTTP_COOKIE", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name.startswith(COOKIE):
            yield value
