"""Who may connect: never more than the limits say, never fewer, and of all rules the closest counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, nullcontext
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.runtime.gate import Gate, Limits, is_allowed
from gtool.runtime.shared import REFUSALS, Tickets

fixed = settings(derandomize=True, deadline=None, max_examples=200)

A, B, V6 = ip_address("10.0.0.1"), ip_address("10.0.0.2"), ip_address("2001:db8::1")
ALL_OF_A = (ip_network("10.0.0.1"),)
ROUNDING = 1e-6

#: seconds that pass, from where a connection comes, and how many of the open ones leave before
ARRIVALS = st.lists(
    st.tuples(st.floats(0, 2), st.sampled_from([A, B, V6, None]), st.integers(0, 2)), min_size=1, max_size=60
)
MAYBE_FEW = st.none() | st.integers(1, 5)


@pytest.fixture
def two_places() -> Iterator[Tickets]:
    with closing(Tickets(2)) as tickets:
        yield tickets


def admitted(gate: Gate, times: list[float]) -> list[bool]:
    return [gate.admit(A, now) is None for now in times]


# All limits together


@fixed
@given(most=MAYBE_FEW, most_per_ip=MAYBE_FEW, rate=st.none() | st.floats(0.1, 20), arrivals=ARRIVALS)
def test_never_more_are_in_than_the_limits_say_and_none_is_refused_without_need(most, most_per_ip, rate, arrivals):
    now, inside, times = 1000.0, [], []
    with nullcontext() if most is None else closing(Tickets(most)) as free:
        gate = Gate(Limits(most, most_per_ip, rate), free)
        for seconds, ip, leaving in arrivals:
            now += seconds
            for _ in range(min(leaving, len(inside))):
                gate.leave(inside.pop(0))
            is_full = most is not None and len(inside) == most
            is_full_for_ip = ip is not None and most_per_ip is not None and inside.count(ip) == most_per_ip
            reason = gate.admit(ip, now)
            if reason is None:
                assert not is_full
                assert not is_full_for_ip
                inside.append(ip)
                times.append(now)
            else:
                assert {"full": is_full, "full_for_ip": is_full_for_ip, "rate": rate is not None}[reason]
    assert_rate(times, rate)


def assert_rate(times: list[float], rate: float | None) -> None:
    """Assert that in no stretch of time there were more than one second's burst and what the rate allows in it."""
    for first, since in enumerate(times):
        for last, until in enumerate(times[first:], start=first):
            assert rate is None or last - first + 1 <= max(1.0, rate) + (until - since) * rate + ROUNDING


# Places


def test_who_leaves_makes_room(two_places):
    gate = Gate(Limits(), two_places)
    assert [gate.admit(ip, 0) for ip in (A, B, A)] == [None, None, "full"]
    gate.leave(A)
    assert gate.admit(B, 0) is None


def test_workers_share_the_places(two_places):
    gates = [Gate(Limits(), two_places, workers=3) for _ in range(3)]
    assert [gate.admit(A, 0) for gate in gates] == [None, None, "full"]


def test_a_unix_socket_takes_a_place_too(two_places):
    gate = Gate(Limits(), two_places)
    assert [gate.admit(None, 0) for _ in range(3)] == [None, None, "full"]


@pytest.mark.parametrize("limits", [Limits(deny=ALL_OF_A), Limits(max_accept_rate=1), Limits(max_connections_per_ip=1)])
def test_who_is_refused_takes_no_place(two_places, limits):
    gate = Gate(limits, two_places)
    refused = [gate.admit(A, 0) for _ in range(5)][1:]
    assert None not in refused
    assert two_places.take()


# Places of an address


def test_each_address_has_its_own_limit():
    gate = Gate(Limits(max_connections_per_ip=1))
    assert [gate.admit(ip, 0) for ip in (A, B, V6, A)] == [None, None, None, "full_for_ip"]


def test_an_address_that_left_may_come_back():
    gate = Gate(Limits(max_connections_per_ip=1))
    gate.admit(A, 0)
    gate.leave(A)
    assert [gate.admit(A, 0), gate.admit(A, 0)] == [None, "full_for_ip"]


def test_addresses_that_have_left_are_forgotten():
    gate = Gate(Limits(max_connections_per_ip=1))
    for number in range(100):
        gate.admit(ip_address(number), 0)
        gate.leave(ip_address(number))
    assert len(gate._by_ip) == 0


def test_no_address_limit_is_on_unix_sockets():
    gate = Gate(Limits(max_connections_per_ip=1, allow=ALL_OF_A))
    assert [gate.admit(None, 0), gate.admit(None, 0)] == [None, None]


# Rates


def test_a_rate_allows_a_burst_of_one_second():
    gate = Gate(Limits(max_accept_rate=3))
    assert [gate.admit(A, 10) for _ in range(4)] == [None, None, None, "rate"]


def test_one_connection_is_always_a_burst():
    gate = Gate(Limits(max_accept_rate=0.5))
    assert admitted(gate, [10, 10, 11, 12, 13, 14]) == [True, False, False, True, False, True]


def test_what_is_not_used_is_not_saved_up_beyond_a_burst():
    gate = Gate(Limits(max_accept_rate=2))
    assert admitted(gate, [10, 1000, 1000, 1000]) == [True, True, True, False]


def test_workers_have_a_part_of_the_rate_each():
    gates = [Gate(Limits(max_accept_rate=4), workers=2) for _ in range(2)]
    assert [admitted(gate, [10, 10, 10]) for gate in gates] == [[True, True, False]] * 2


def test_who_is_refused_a_place_uses_up_no_rate(two_places):
    gate = Gate(Limits(max_accept_rate=3), two_places)
    assert [gate.admit(A, 10) for _ in range(4)] == [None, None, "full", "full"]
    gate.leave(A)
    assert gate.admit(A, 10) is None


def test_who_is_denied_uses_up_no_rate():
    gate = Gate(Limits(max_accept_rate=1, deny=ALL_OF_A))
    assert [gate.admit(A, 10), gate.admit(A, 10), gate.admit(B, 10)] == ["denied", "denied", None]


# Connections whose address is told late


def test_a_late_address_is_held_against_the_rules():
    gate = Gate(Limits(deny=ALL_OF_A))
    assert [gate.enter(0), gate.admit_late(A), gate.enter(0), gate.admit_late(B)] == [None, "denied", None, None]


def test_a_late_address_counts_against_its_limit():
    gate = Gate(Limits(max_connections_per_ip=1))
    assert [gate.admit_late(A), gate.admit_late(A)] == [None, "full_for_ip"]
    gate.leave(A)
    assert gate.admit_late(A) is None


def test_a_place_is_taken_before_the_address_is_known(two_places):
    gate = Gate(Limits(), two_places)
    assert [gate.enter(0), gate.enter(0), gate.enter(0)] == [None, None, "full"]


def test_a_place_is_given_back_by_who_never_told_an_address(two_places):
    gate = Gate(Limits(), two_places)
    gate.enter(0)
    gate.leave()
    assert [gate.enter(0), gate.enter(0), gate.enter(0)] == [None, None, "full"]


def test_the_rate_counts_before_the_address_is_known():
    gate = Gate(Limits(max_accept_rate=1))
    assert [gate.enter(10), gate.enter(10)] == [None, "rate"]


@pytest.mark.parametrize(
    ("limits", "wants"),
    [
        (Limits(), False),
        (Limits(max_connections=1, max_accept_rate=1), False),
        (Limits(max_connections_per_ip=1), True),
        (Limits(allow=ALL_OF_A), True),
        (Limits(deny=ALL_OF_A), True),
    ],
)
def test_an_address_is_wanted_where_a_limit_asks_for_it(limits, wants):
    assert Gate(limits).wants_ip is wants


def test_all_reasons_are_counted():
    with closing(Tickets(1)) as one_place:
        gates = [
            Gate(Limits(), one_place),
            Gate(Limits(max_connections_per_ip=1)),
            Gate(Limits(max_accept_rate=1)),
            Gate(Limits(deny=ALL_OF_A)),
        ]
        reasons = [[gate.admit(A, 10) for _ in range(2)][1] for gate in gates]
    assert reasons == ["full", "full_for_ip", "rate", "denied"]
    assert set(reasons) <= set(REFUSALS)


# Rules


@pytest.mark.parametrize(
    ("allow", "deny", "ip", "allowed"),
    [
        ([], [], "10.0.0.1", True),
        (["10.0.0.0/8"], [], "10.0.0.1", True),
        (["10.0.0.0/8"], [], "11.0.0.1", False),
        ([], ["10.0.0.0/8"], "10.0.0.1", False),
        ([], ["10.0.0.0/8"], "11.0.0.1", True),
        (["10.0.0.0/8"], ["10.1.0.0/16"], "10.1.0.1", False),
        (["10.0.0.0/8"], ["10.1.0.0/16"], "10.2.0.1", True),
        (["10.1.0.0/16"], ["10.0.0.0/8"], "10.1.0.1", True),
        (["10.1.0.0/16"], ["10.0.0.0/8"], "10.2.0.1", False),
        (["10.1.0.0/16"], ["10.0.0.0/8"], "11.0.0.1", False),
        (["10.0.0.0/8"], ["10.0.0.0/8"], "10.0.0.1", False),
        (["10.0.0.0/8", "10.1.1.0/24"], ["10.1.0.0/16"], "10.1.1.1", True),
        (["0.0.0.0/0"], [], "::1", False),
        ([], ["0.0.0.0/0"], "::1", True),
        (["::/0"], ["0.0.0.0/0"], "::1", True),
        (["2001:db8::/32"], [], "2001:db8::1", True),
        (["10.0.0.1"], [], "10.0.0.1", True),
    ],
)
def test_the_closest_rule_counts(allow, deny, ip, allowed):
    rules = (tuple(map(ip_network, networks)) for networks in (allow, deny))
    assert is_allowed(ip_address(ip), *rules) is allowed
