"""Who asks, by what it brings; and in whose name it may do something."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.chat import visitor as module
from gtool.chat.claims import KEPT_S, TOUCHED_S, Claim
from gtool.chat.names import key_of
from gtool.chat.store import InMemory
from gtool.chat.visitor import COOKIE, MOST_SESSIONS, Visitor, cookie_name, find_session, valid_name
from gtool.streams.log import Unavailable
from gtool.web.guard import Guard
from gtool.web.respond import Refused

PRIVATE = Guard(token="s3cret")
BOB = key_of("bob")
CYRILLIC_BOB = "b\u043eb"
fixed = settings(derandomize=True, deadline=None, max_examples=200)


class Failing(InMemory):
    """A store that can't be written to just now."""

    is_failing = False

    def put_claim(self, claim: Claim) -> bool:
        if self.is_failing:
            raise Unavailable("disk full")
        return super().put_claim(claim)


class Door:
    """A store, and those who come to it."""

    def __init__(self) -> None:
        self.store = Failing(("a",), None, 100)

    def visit(self, *tokens: str, cookie: str | None = None, guard: Guard = Guard(), **headers: str) -> Visitor:  # noqa: B008
        """Come with sessions in cookies, as a browser does; or with what is given."""
        names = [cookie_name(_key(token), "e") for token in tokens]
        cookies = "; ".join(f"{name}={token}" for name, token in zip(names, tokens, strict=True))
        environ: dict[str, Any] = {
            "QUERY_STRING": "",
            **{f"HTTP_{name.upper()}": text for name, text in headers.items()},
        }
        if cookie or cookies:
            environ["HTTP_COOKIE"] = cookies if cookie is None else cookie
        return Visitor(self.store, guard, environ)

    def claim(self, name: str) -> str:
        """Have somebody claim a name; give its token."""
        return self.visit().claim(name)[1]


def _key(token: str) -> str:
    try:
        return urlsafe_b64decode(token.partition(".")[0] + "==").decode(errors="replace")
    except ValueError:
        return "x"


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def clock(monkeypatch) -> Any:
    class Clock:
        now = 1000.0

    found = Clock()
    monkeypatch.setattr(module, "time", lambda: found.now)
    return found


def status(call: Callable[[], object]) -> int:
    """How a call is refused."""
    with pytest.raises(Refused) as caught:
        call()
    return int(caught.value.status[:3])


# Who it is


def test_who_brings_nothing_has_no_name(door):
    assert door.visit().names == []


def test_who_brings_a_session_in_a_cookie_has_its_name(door):
    token = door.claim("Bob")
    assert door.visit(token).names == ["Bob"]


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {} "])
def test_who_brings_a_session_as_a_bearer_has_its_name(door, form):
    assert door.visit(authorization=form.format(door.claim("Bob"))).names == ["Bob"]


def test_who_brings_several_sessions_has_all_of_the_names(door):
    bob, anna, carl = map(door.claim, ("bob", "anna", "carl"))
    assert door.visit(bob, anna, authorization=f"Bearer {carl}").names == ["carl", "bob", "anna"]


@pytest.mark.parametrize("name", ["bob", "Jürgen", "Борис", "日本語", "a-b_c.d", "x" * 32, "日" * 32])
def test_a_session_can_be_of_any_name(door, name):
    token = door.claim(name)
    assert door.visit(token).names == [name]
    assert door.visit(authorization=f"Bearer {token}").names == [name]


def test_a_token_can_stand_in_a_cookie_as_it_is(door):
    assert set('; ,"\\=') & set(door.claim("日本語")) == set()


def test_no_more_sessions_are_looked_at_than_may_be(door):
    tokens = [door.claim(f"user{number}") for number in range(MOST_SESSIONS + 5)]
    assert len(door.visit(*tokens).names) == MOST_SESSIONS


@pytest.mark.parametrize(
    "others",
    ["a=b; {}", "{}; a=b", "a=b; {}; c=d", "a=b;{}", '{}; quoted="x y"', "theme=dark; lang=de; {}"],
)
def test_cookies_of_others_are_none_of_ours(door, others):
    token = door.claim("bob")
    assert door.visit(cookie=others.format(f"{cookie_name(BOB, 'e')}={token}")).names == ["bob"]


@pytest.mark.parametrize(
    "other", ['prefs={"a":1}', "text=a b", "path=/x", "version=1", "name=J\u00fcrgen", "a=b,c; d", "x[y]=z", "flag"]
)
def test_cookies_of_others_on_this_host_that_are_odd_do_no_harm(door, other):
    """Browsers send those of all ports: other programs' on localhost too."""
    token = door.claim("bob")
    assert door.visit(cookie=f"{other}; {cookie_name(BOB, 'e')}={token}").names == ["bob"]


def test_a_session_in_a_cookie_of_another_name_is_none(door):
    assert door.visit(cookie=f"other={door.claim('bob')}").names == []


# Who it is not


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: "",
        lambda token: ".",
        lambda token: token[:-1],
        lambda token: token[: len(token) // 2],
        lambda token: token.partition(".")[0],
        lambda token: token.partition(".")[0] + ".",
        lambda token: "." + token.partition(".")[2],
        lambda token: token.partition(".")[2],
        lambda token: token + "x",
        lambda token: token.replace(".", ".."),
        lambda token: token.swapcase(),
        lambda token: token.partition(".")[0] + "." + "A" * 32,
        lambda token: "!!!" + "." + token.partition(".")[2],
        lambda token: "\xe4\xff." + token.partition(".")[2],
        lambda token: "_w." + token.partition(".")[2],  # which is no UTF-8
        lambda token: "A." + token.partition(".")[2],  # which is no base64
        lambda token: "x" * 100_000,
        lambda token: urlsafe_b64encode(b"anna").decode() + "." + token.partition(".")[2],
    ],
)
def test_a_forged_token_is_nobodys(door, forge):
    token, _ = door.claim("bob"), door.claim("anna")
    forged = forge(token)
    assert door.visit(authorization=f"Bearer {forged}").names == []
    assert door.visit(cookie=f"{cookie_name(BOB, 'e')}={forged}").names == []


@fixed
@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_whatever_is_brought_it_is_nobodys_and_no_error(text):
    door = Door()
    door.claim("bob")
    assert door.visit(cookie=text, authorization=text).names == []
    assert door.visit(cookie=f"{COOKIE}x={text}", authorization=f"Bearer {text}").names == []


def test_another_kind_of_authorization_is_none(door):
    assert door.visit(authorization=f"Basic {door.claim('bob')}").names == []


def test_a_session_that_was_ended_is_nobodys(door):
    token = door.claim("bob")
    door.store.drop_claim(door.store.find_claim(BOB))
    assert (find_session(door.store, token), door.visit(token).names) == (None, [])


def test_a_session_of_one_who_had_the_name_before_is_nobodys(door):
    token = door.claim("bob")
    door.store.drop_claim(door.store.find_claim(BOB))
    door.claim("bob")
    assert door.visit(token).names == []


def test_a_session_that_was_not_used_for_long_is_over(door, clock):
    token = door.claim("bob")
    clock.now += KEPT_S
    assert door.visit(token).names == ["bob"]
    clock.now += 1
    assert door.visit(token).names == []


# In whose name


@pytest.mark.parametrize("spelt", ["bob", "BOB", "Bob", CYRILLIC_BOB, "\uff42\uff4f\uff42"])
def test_a_name_of_ones_own_may_be_spelt_in_any_way_that_looks_like_it(door, spelt):
    visitor = door.visit(door.claim("bob"))
    assert (visitor.claim_of(spelt).name, visitor.name_for(spelt)) == ("bob", "bob")


@pytest.mark.parametrize("spelt", ["bob", "BOB", CYRILLIC_BOB, "\uff42\uff4f\uff42"])
def test_nobody_else_has_a_name_that_is_taken_or_one_that_looks_like_it(door, spelt):
    door.claim("bob")
    stranger = door.visit(door.claim("anna"))
    assert [status(lambda: stranger.claim_of(spelt)), status(lambda: stranger.name_for(spelt))] == [403, 403]
    assert status(lambda: stranger.claim(spelt)) == 409
    assert stranger.is_taken(spelt)


def test_that_somebody_else_has_a_name_is_said_with_what_to_do(door):
    door.claim("bob")
    with pytest.raises(Refused, match="bob is somebody else: it takes that one's session"):
        door.visit().claim_of("bob")


def test_there_is_nobody_of_a_name_that_was_not_chosen(door):
    assert status(lambda: door.visit(door.claim("anna")).claim_of("bob")) == 404


@pytest.mark.parametrize("name", ["", "/", "a b", "x" * 10_000, "\ud800"])
def test_there_is_nobody_of_a_name_that_is_none(door, name):
    assert status(lambda: door.visit().claim_of(name)) == 404


def test_who_has_one_name_posts_under_that(door):
    assert door.visit(door.claim("bob")).name_for(None) == "bob"


@pytest.mark.parametrize("names", [[], ["bob", "anna"]])
def test_who_has_none_or_several_has_to_say_which(door, names):
    visitor = door.visit(*map(door.claim, names))
    assert status(lambda: visitor.name_for(None)) == 401


def test_who_has_several_names_may_post_under_each(door):
    visitor = door.visit(door.claim("bob"), door.claim("anna"))
    assert [visitor.name_for(name) for name in ("bob", "anna")] == ["bob", "anna"]


def test_under_a_name_that_nobody_has_anybody_may_post(door):
    assert door.visit().name_for("bob") == "bob"


def test_to_post_under_a_name_does_not_claim_it(door):
    door.visit().name_for("bob")
    assert not door.visit().is_taken("bob")


@pytest.mark.parametrize("name", ["", " ", "a/b", "api", "\u0430pi", "x" * 33, "\0", "<b>", "\ud800"])
def test_under_what_is_no_name_nobody_may_post_and_nobody_can_have_it(door, name):
    visitor = door.visit()
    assert [status(lambda: visitor.name_for(name)), status(lambda: visitor.claim(name))] == [400, 400]


@pytest.mark.parametrize("value", [None, 7, True, ["bob"], {"a": 1}, b"bob"])
def test_a_name_is_a_text(value):
    assert status(lambda: valid_name(value)) == 400


# Claiming


def test_who_claims_a_name_has_it_at_once(door):
    visitor = door.visit()
    claim, token = visitor.claim("Bob")
    assert (claim.name, claim.key, visitor.names, visitor.claim_of("bob")) == ("Bob", key_of("Bob"), ["Bob"], claim)
    assert door.visit(token).names == ["Bob"]


def test_a_name_is_claimed_in_its_one_spelling(door):
    assert door.visit().claim(" e\u0301va ")[0].name == "éva"


def test_the_secret_is_not_what_is_kept(door):
    claim, token = door.visit().claim("bob")
    assert token.partition(".")[2] not in repr(claim)


def test_a_name_that_was_not_used_for_long_may_be_claimed_by_another(door, clock):
    token = door.claim("bob")
    clock.now += KEPT_S + 1
    assert not door.visit().is_taken("bob")
    other = door.claim("BOB")
    assert (door.visit(token).names, door.visit(other).names) == ([], ["BOB"])


def test_a_name_that_is_used_stays_ones_own(door, clock):
    token = door.claim("bob")
    for _ in range(5):
        clock.now += KEPT_S - 1
        door.visit(token).claim_of("bob")
    assert status(lambda: door.visit().claim("bob")) == 409


@pytest.mark.parametrize(
    "use", [lambda one: one.claim_of("bob"), lambda one: one.name_for("bob"), lambda one: one.name_for(None)]
)
@pytest.mark.parametrize(("after_s", "is_noted"), [(TOUCHED_S, False), (TOUCHED_S + 1, True)])
def test_that_a_name_is_used_is_noted_now_and_then(door, clock, use, after_s, is_noted):
    token = door.claim("bob")
    clock.now += after_s
    use(door.visit(token))
    assert (door.store.find_claim(BOB).used_at == clock.now) is is_noted


def test_to_look_is_not_to_use(door, clock):
    token = door.claim("bob")
    clock.now += 1000
    assert door.visit(token).names == ["bob"]
    assert door.store.find_claim(BOB).used_at == 1000.0


def test_a_name_that_can_not_be_kept_just_now_is_nobodys(door):
    door.store.is_failing = True
    visitor = door.visit()
    with pytest.raises(Unavailable):
        visitor.claim("bob")
    assert visitor.names == []


def test_who_has_a_name_may_use_it_though_that_can_not_be_noted_just_now(door, clock):
    token = door.claim("bob")
    clock.now += TOUCHED_S + 1
    door.store.is_failing = True
    assert door.visit(token).claim_of("bob").name == "bob"


# Private servers


def test_to_an_open_server_all_may_come(door):
    door.visit().check()


def test_to_a_private_server_nobody_comes_without_its_token(door):
    with pytest.raises(Refused) as caught:
        door.visit(guard=PRIVATE).check()
    assert (caught.value.status, dict(caught.value.headers)) == ("401 Unauthorized", {"WWW-Authenticate": "Bearer"})


def test_to_a_private_server_one_comes_with_its_token(door):
    visitor = door.visit(guard=PRIVATE, authorization="Bearer s3cret")
    visitor.check()
    assert visitor.may_enter


def test_to_a_private_server_one_comes_with_a_session(door):
    token = door.claim("bob")
    for visitor in (door.visit(token, guard=PRIVATE), door.visit(guard=PRIVATE, authorization=f"Bearer {token}")):
        visitor.check()
        assert visitor.names == ["bob"]


@pytest.mark.parametrize("given_token", ["", "s3cre", "S3cret", "s3cret2", "\xff"])
def test_to_a_private_server_nobody_comes_with_another_token(door, given_token):
    door.claim("bob")
    assert status(door.visit(guard=PRIVATE, authorization=f"Bearer {given_token}").check) == 401


def test_to_a_private_server_nobody_comes_with_a_session_that_is_over(door, clock):
    token = door.claim("bob")
    clock.now += KEPT_S + 1
    assert status(door.visit(token, guard=PRIVATE).check) == 401


def test_the_token_of_a_private_server_is_no_name(door):
    visitor = door.visit(guard=PRIVATE, authorization="Bearer s3cret")
    assert (visitor.names, status(lambda: visitor.name_for(None))) == ([], 401)


# Cookies


def test_each_name_has_a_cookie_of_its_own_and_all_that_look_like_it_the_same():
    found = [cookie_name(key_of(name), "e") for name in ("bob", "BOB", CYRILLIC_BOB, "anna", "日本語")]
    assert len(set(found)) == 3
    assert all(name.isascii() and name.replace("_", "").isalnum() and name.startswith(COOKIE) for name in found)


def test_chats_on_two_ports_of_a_host_have_cookies_of_their_own():
    assert cookie_name(BOB, "one") != cookie_name(BOB, "other")
