"""What one client is to do. It travels as JSON to a process of its own. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """CURVE keys of a client, in Z85 (RFC 32 of ZeroMQ): the server's public one, and its own pair."""

    server: str
    public: str
    secret: str


@dataclass(frozen=True, slots=True)
class Job:
    """Times are seconds, sizes bytes, rates messages a second."""

    endpoint: str
    pattern: str
    size: int
    count: int | None
    duration: float | None
    warmup: int
    rate: float | None
    phase: float  #: that the first message is later than the start: the clients of a rate take turns
    pipeline: int
    timeout: float
    retries: int
    is_plain: bool
    keys: ClientKeys | None

    @property
    def is_strict(self) -> bool:
        """Whether a REQ socket takes the first answer for the one that it waits for.

        Else it waits for no lost answer, and takes no late or second one for the next (REQ_RELAXED, REQ_CORRELATE).
        That costs a frame each way: not where the first lost answer is the end, and the server is ours.
        """
        return self.pattern == "req-rep" and not self.retries and not self.is_plain

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Job:
        keys = document["keys"]
        return cls(**{**document, "keys": keys and ClientKeys(**keys)})
