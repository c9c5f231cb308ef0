"""Who has which name: a name is claimed with a secret, and stays whose it is for as long as that is used. No I/O."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NamedTuple

KEPT_S = 24 * 3600.0  #: that a claim lasts after its last use
TOUCHED_S = 60.0  #: that a use may be noted late


class Claim(NamedTuple):
    """`key` is that of the name; `digest` of the secret, which nobody but its owner has; times since 1970."""

    key: str
    name: str
    digest: str
    used_at: float

    def is_over(self, now: float) -> bool:
        return now - self.used_at > KEPT_S

    def is_by(self, secret: str) -> bool:
        return hmac.compare_digest(self.digest, digest_of(secret))


def new_secret() -> str:
    return secrets.token_urlsafe(24)


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
