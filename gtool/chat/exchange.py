"""What pages and API ask of a request in Flask, and how they answer it: who asks, from where, JSON, sessions."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import simplejson
from flask import Response, request

from gtool.chat.claims import Claim
from gtool.chat.fields import json_object
from gtool.chat.messages import render
from gtool.chat.store import Store
from gtool.chat.visitor import Visitor, cookie_name
from gtool.streams.log import Entry
from gtool.web.respond import JSON, Refused

COOKIE_S = 30 * 24 * 3600


def visitor() -> Visitor:
    found: Visitor = request.environ["gtool.visitor"]
    return found


def address() -> str:
    """Give where a request comes from, for limits: of IPv6 the network, of which one host may have all."""
    found = request.environ.get("REMOTE_ADDR") or ""
    return ":".join(ip_address(found).exploded.split(":")[:4]) if ":" in found and "%" not in found else found


def fields_of_request() -> dict[str, Any]:
    """Give the JSON object that a request brings. Refused for anything else."""
    if request.mimetype != JSON:
        raise Refused("415 Unsupported Media Type", f"Content-Type: {JSON} is wanted")
    return json_object(request.get_data(cache=False))


def posted(epoch: str, entry: Entry, is_new: bool) -> Response:
    response = json_text_answer(render(epoch, entry), 201)
    if not is_new:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def json_answer(body: object, status: int = 200) -> Response:
    return json_text_answer(simplejson.dumps(body, ensure_ascii=False), status)


def json_text_answer(body: str, status: int = 200) -> Response:
    return Response(f"{body}\n", status, content_type=JSON, headers=[("Cache-Control", "no-store")])


def give_session(response: Response, epoch: str, claim: Claim, token: str | None) -> Response:
    """Give a browser its session, where there is a new token.

    Scripts in pages can't read it, and other sites' requests don't bring it.
    """
    if token is None:
        return response
    response.set_cookie(
        cookie_name(claim.key, epoch),
        token,
        max_age=COOKIE_S,  # of the browser's memory; for how long a name stays taken is the claim's to say
        path=_cookie_path(),
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response


def end_sessions(response: Response, store: Store, names: Iterable[str]) -> Response:
    """Let the visitor's claims of these names go. Refused for one that is not its own."""
    for name in names:
        claim = visitor().claim_of(name)
        store.drop_claim(claim)
        response.delete_cookie(cookie_name(claim.key, store.log.epoch), path=_cookie_path())
    return response


def _cookie_path() -> str:
    return request.environ["SCRIPT_NAME"] or "/"
