"""Who is in a room: by readers, by polls, at other processes; for as long as that says so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.chat.presence import HEARD_S, MOST_TOLD, POLLED_S, Crowd, Presence

fixed = settings(derandomize=True, deadline=None, max_examples=200)
A, AB = frozenset("a"), frozenset("ab")


def users(presence: Presence, room: str) -> list[str]:
    return presence.crowd(room).users


def changes(presence: Presence, now: float) -> dict[str, list[str]]:
    return {room: crowd.users for room, crowd in presence.changes(now).items()}


@pytest.fixture
def presence() -> Presence:
    return Presence()


def test_who_reads_is_there_until_it_leaves(presence):
    presence.enter(AB, "bob")
    assert (users(presence, "a"), users(presence, "b")) == (["bob"], ["bob"])
    presence.leave(AB, "bob")
    assert (users(presence, "a"), users(presence, "b")) == ([], [])


def test_who_reads_twice_is_there_once_and_until_both_have_left(presence):
    presence.enter(A, "bob")
    presence.enter(AB, "bob")
    presence.leave(A, "bob")
    assert users(presence, "a") == ["bob"]
    presence.leave(AB, "bob")
    assert users(presence, "a") == []


def test_users_are_in_order(presence):
    for user in ("carl", "anna", "bob"):
        presence.enter(A, user)
    assert users(presence, "a") == ["anna", "bob", "carl"]


def test_in_a_room_that_nobody_has_entered_is_nobody(presence):
    assert (users(presence, "a"), presence.here(), changes(presence, 0.0)) == ([], {}, {})


def test_asking_for_a_room_does_not_make_it(presence):
    users(presence, "x")
    assert presence.here() == {}


@pytest.mark.parametrize(("after_s", "expected"), [(0, ["bob"]), (POLLED_S, ["bob"]), (POLLED_S + 0.1, [])])
def test_who_has_polled_is_there_for_some_time(presence, after_s, expected):
    presence.polled(A, "bob", 100.0)
    changes(presence, 100.0 + after_s)
    assert users(presence, "a") == expected


def test_who_polls_again_stays(presence):
    presence.polled(A, "bob", 0.0)
    presence.polled(A, "bob", POLLED_S)
    changes(presence, 2 * POLLED_S)
    assert users(presence, "a") == ["bob"]


def test_who_polls_and_reads_is_there_once(presence):
    presence.polled(A, "bob", 0.0)
    presence.enter(A, "bob")
    assert users(presence, "a") == ["bob"]


@pytest.mark.parametrize(("after_s", "expected"), [(0, ["carl"]), (HEARD_S, ["carl"]), (HEARD_S + 0.1, [])])
def test_who_is_at_another_process_is_there_until_that_is_silent(presence, after_s, expected):
    presence.heard("other", {"a": ["carl"]}, 100.0)
    changes(presence, 100.0 + after_s)
    assert users(presence, "a") == expected


def test_what_another_process_says_last_counts(presence):
    presence.heard("other", {"a": ["carl"]}, 0.0)
    presence.heard("other", {"b": ["carl"]}, 1.0)
    assert (users(presence, "a"), users(presence, "b")) == ([], ["carl"])


def test_who_is_at_several_processes_is_there_once(presence):
    presence.enter(A, "bob")
    presence.heard("one", {"a": ["bob", "anna"]}, 0.0)
    presence.heard("two", {"a": ["bob"]}, 0.0)
    assert users(presence, "a") == ["anna", "bob"]


def test_to_others_only_those_here_are_told(presence):
    presence.enter(AB, "bob")
    presence.polled(frozenset("c"), "anna", 0.0)
    presence.heard("other", {"a": ["carl"], "d": ["carl"]}, 0.0)
    assert presence.here() == {"a": ["bob"], "b": ["bob"], "c": ["anna"]}


def test_of_a_room_that_all_have_left_nothing_is_told(presence):
    presence.enter(A, "bob")
    presence.leave(A, "bob")
    assert presence.here() == {}


def test_of_a_crowd_no_more_are_told_than_may_be(presence):
    for number in range(MOST_TOLD + 10):
        presence.enter(A, f"user{number:04}")
    assert len(presence.here()["a"]) == MOST_TOLD
    assert presence.crowd("a") == Crowd(presence.here()["a"], MOST_TOLD + 10)
    assert len(presence.all_here()) == MOST_TOLD + 10


def test_who_is_one_more_in_a_crowd_is_a_change(presence):
    for number in range(MOST_TOLD):
        presence.enter(A, f"user{number:04}")
    presence.changes(0.0)
    presence.enter(A, "z")
    assert presence.changes(0.0)["a"].count == MOST_TOLD + 1


# What has changed


def test_who_comes_and_goes_is_a_change_once(presence):
    presence.enter(AB, "bob")
    assert changes(presence, 0.0) == {"a": ["bob"], "b": ["bob"]}
    assert changes(presence, 0.0) == {}
    presence.leave(AB, "bob")
    assert changes(presence, 0.0) == {"a": [], "b": []}
    assert changes(presence, 0.0) == {}


def test_who_comes_back_at_once_was_not_away(presence):
    presence.enter(A, "bob")
    changes(presence, 0.0)
    presence.leave(A, "bob")
    presence.enter(A, "bob")
    assert changes(presence, 0.0) == {}


def test_only_rooms_that_have_changed_are_told(presence):
    presence.enter(AB, "bob")
    changes(presence, 0.0)
    presence.enter(A, "anna")
    assert changes(presence, 0.0) == {"a": ["anna", "bob"]}


def test_that_time_is_up_is_a_change(presence):
    presence.polled(A, "bob", 0.0)
    presence.heard("other", {"b": ["carl"]}, 0.0)
    changes(presence, 0.0)
    assert changes(presence, HEARD_S + 1) == {"b": []}
    assert changes(presence, POLLED_S + 1) == {"a": []}


def test_who_comes_to_another_process_is_a_change(presence):
    presence.heard("other", {"a": ["carl"]}, 0.0)
    assert changes(presence, 0.0) == {"a": ["carl"]}


STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "poll", "heard", "wait"]), st.integers(0, 2), st.sampled_from("xyz")),
    max_size=40,
)


@fixed
@given(STEPS)
def test_who_is_told_all_changes_knows_who_is_there(steps):
    presence, known, entered, now = Presence(), {}, [], 0.0
    for step, number, user in steps:
        rooms = [A, AB, frozenset("b")][number]
        if step == "enter":
            presence.enter(rooms, user)
            entered.append((rooms, user))
        elif step == "leave" and entered:
            presence.leave(*entered.pop(number % len(entered)))
        elif step == "poll":
            presence.polled(rooms, user, now)
        elif step == "heard":
            presence.heard(user, {room: ["far", user] for room in rooms}, now)
        elif step == "wait":
            now += 10.0
        known.update(changes(presence, now))
        assert {room: known.get(room, []) for room in "ab"} == {room: users(presence, room) for room in "ab"}
        assert {user for rooms, user in entered if "a" in rooms} <= set(known.get("a", []))
