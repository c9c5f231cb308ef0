"""Faults: what they do to bytes, and when; the same for the same seed, however the stream is cut."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.echo.faults import After, Faults, Transit, transit_for

fixed = settings(derandomize=True, deadline=None, max_examples=200)

SEEDS = st.integers(0, 1000)
RATES = st.sampled_from([0.0, 0.001, 0.1, 0.5, 1.0])
#: sizes of what is said, and the seconds after the one before
SAYINGS = st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 2)), max_size=10)
FAULTS = st.builds(
    Faults,
    latency=st.floats(0, 1),
    jitter=st.floats(0, 1),
    bandwidth=st.none() | st.integers(1, 100_000),
    slice=st.none() | st.integers(1, 500),
    corrupt_rate=RATES,
)
ROUNDING = 1e-6


def transit(seed: int = 0, **faults: object) -> Transit:
    return Transit(Faults(**faults), random.Random(seed))


def said(faults: Faults, sayings: list[tuple[int, float]], seed: int) -> list[tuple[float, float, bytes]]:
    """Each piece, with the time at which it was said and at which it leaves."""
    one, now, found = Transit(faults, random.Random(seed)), 100.0, []
    for size, seconds in sayings:
        now += seconds
        found += [(now, due, piece) for due, piece in one.pieces(bytes(size), now)]
    return found


def carried(one: Transit, data: bytes, cuts: list[int] | None = None) -> bytes:
    """What arrives of data that is said in parts, cut there."""
    ends = [0, *sorted(cuts or []), len(data)]
    return b"".join(piece for start, end in pairwise(ends) for _, piece in one.pieces(data[start:end], 0.0))


# Bytes


@fixed
@given(data=st.binary(max_size=2000), faults=FAULTS, seed=SEEDS)
def test_pieces_put_together_are_what_was_said(data, faults, seed):
    assert carried(Transit(faults._replace(corrupt_rate=0.0), random.Random(seed)), data) == data


@fixed
@given(size=st.integers(0, 2000), rate=RATES, cuts=st.lists(st.integers(0, 2000), max_size=10), seed=SEEDS)
def test_the_same_seed_changes_the_same_bytes_in_any_chunks(size, rate, cuts, seed):
    data, cuts = bytes(size), [min(cut, size) for cut in cuts]
    whole = carried(transit(seed, corrupt_rate=rate, latency=0.1, jitter=0.1), data)
    assert carried(transit(seed, corrupt_rate=rate, latency=0.1, jitter=0.1), data, cuts) == whole


@fixed
@given(first=st.integers(1, 700), other=st.integers(1, 700), seed=SEEDS)
def test_the_same_bytes_are_changed_whatever_the_size_of_pieces(first, other, seed):
    one, two = (transit(seed, corrupt_rate=0.05, slice=size) for size in (first, other))
    assert carried(one, bytes(1000)) == carried(two, bytes(1000))


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
def test_the_share_of_bytes_that_is_changed_is_the_one_asked_for(rate):
    size = 200_000
    changed = sum(map(bool, carried(transit(corrupt_rate=rate), bytes(size))))
    assert changed == pytest.approx(size * rate, rel=0.2)


def test_at_a_rate_of_1_every_byte_is_changed():
    assert 0 not in carried(transit(corrupt_rate=1.0), bytes(1000), cuts=[1, 10, 500])


def test_at_a_rate_that_is_next_to_nothing_none_is():
    assert carried(transit(corrupt_rate=1e-17), bytes(1000)) == bytes(1000)


def test_at_a_rate_of_0_none_is():
    assert carried(transit(), bytes(1000)) == bytes(1000)


def test_other_seeds_change_other_bytes():
    assert carried(transit(1, corrupt_rate=0.1), bytes(1000)) != carried(transit(2, corrupt_rate=0.1), bytes(1000))


def test_what_was_said_is_not_changed_in_place():
    data = bytes(100)
    carried(transit(corrupt_rate=1.0), data)
    assert data == bytes(100)


# Pieces


@fixed
@given(faults=FAULTS, sayings=SAYINGS, seed=SEEDS)
def test_no_piece_is_empty_or_larger_than_a_slice(faults, sayings, seed):
    sizes = [len(piece) for _, _, piece in said(faults, sayings, seed)]
    assert all(1 <= size <= (faults.slice or 3000) for size in sizes)


def test_without_a_slice_it_is_one_piece():
    assert list(transit(latency=1).pieces(b"abcdef", 10.0)) == [(11.0, b"abcdef")]


def test_slices_leave_together():
    assert list(transit(slice=4).pieces(b"abcdef", 10.0)) == [(10.0, b"abcd"), (10.0, b"ef")]


# Times


@fixed
@given(faults=FAULTS, sayings=SAYINGS, seed=SEEDS)
def test_due_times_never_decrease(faults, sayings, seed):
    dues = [due for _, due, _ in said(faults, sayings, seed)]
    assert dues == sorted(dues)


@fixed
@given(faults=FAULTS, sayings=SAYINGS, seed=SEEDS)
def test_nothing_leaves_before_its_latency_less_the_jitter(faults, sayings, seed):
    least = max(0.0, faults.latency - faults.jitter)
    assert all(due >= at + least - ROUNDING for at, due, _ in said(faults, sayings, seed))


@fixed
@given(faults=FAULTS, sayings=SAYINGS, seed=SEEDS)
def test_without_a_bandwidth_nothing_waits_longer_than_latency_and_jitter(faults, sayings, seed):
    most = faults.latency + faults.jitter
    pieces = said(faults._replace(bandwidth=None), sayings, seed)
    assert all(due <= at + most + ROUNDING for at, due, _ in pieces)


@fixed
@given(faults=FAULTS, bandwidth=st.integers(1, 20_000), sayings=SAYINGS, seed=SEEDS)
def test_the_bandwidth_is_never_exceeded(faults, bandwidth, sayings, seed):
    pieces = said(faults._replace(bandwidth=bandwidth), sayings, seed)
    backlog, last = 0.0, 0.0  # of bytes that have left and that the bandwidth has not carried yet
    for _, due, piece in pieces:
        backlog = max(0.0, backlog - (due - last) * bandwidth)
        assert backlog <= bandwidth * ROUNDING
        backlog, last = backlog + len(piece), due


def test_all_of_the_bandwidth_is_used():
    dues = [due for due, _ in transit(bandwidth=1000).pieces(bytes(3000), 10.0)]
    assert dues[-1] - dues[0] == pytest.approx(3.0, abs=0.2)


def test_bytes_under_a_bandwidth_leave_ten_times_a_second():
    dues = [due for due, _ in transit(bandwidth=1000).pieces(bytes(500), 10.0)]
    assert dues == pytest.approx([10.0, 10.1, 10.2, 10.3, 10.4])


@pytest.mark.parametrize("bandwidth", [1, 9])
def test_a_bandwidth_of_few_bytes_sends_them_one_by_one(bandwidth):
    pieces = list(transit(bandwidth=bandwidth).pieces(b"ab", 0.0))
    assert pieces == [(0.0, b"a"), (pytest.approx(1 / bandwidth), b"b")]


def test_jitter_goes_both_ways():
    one = transit(latency=1.0, jitter=0.5)
    dues = [one.due(0.0) for _ in range(200)]
    assert 0.5 <= min(dues) < 0.6 < 1.4 < max(dues) <= 1.5


def test_jitter_makes_nothing_leave_before_it_came():
    one = transit(latency=0.1, jitter=1.0)
    assert min(one.due(5.0) for _ in range(200)) == 5.0


# Datagrams


def test_a_datagram_stays_whole():
    assert transit(slice=1, latency=1.0).datagram(b"abc", 10.0) == (11.0, b"abc")


def test_datagrams_may_overtake_each_other():
    one = transit(latency=1.0, jitter=1.0)
    dues = [one.datagram(b"x", at / 100)[0] for at in range(100)]
    assert dues != sorted(dues)


def test_datagrams_have_a_bandwidth_together():
    one = transit(bandwidth=100)
    assert [one.datagram(bytes(50), 10.0)[0] for _ in range(3)] == pytest.approx([10.0, 10.5, 11.0])


@pytest.mark.parametrize(("rate", "least", "most"), [(0.0, 0, 0), (0.3, 200, 400), (1.0, 1000, 1000)])
def test_the_share_of_datagrams_that_is_lost_is_the_one_asked_for(rate, least, most):
    one = transit(drop_rate=rate)
    assert least <= [one.datagram(b"x", 0.0) for _ in range(1000)].count(None) <= most


def test_a_lost_datagram_takes_no_bandwidth():
    one = transit(bandwidth=1, drop_rate=0.5)
    dues = [fate[0] for fate in (one.datagram(b"x", 0.0) for _ in range(20)) if fate]
    assert dues == [float(number) for number in range(len(dues))]


def test_datagrams_are_changed_as_bytes_are():
    one = transit(corrupt_rate=1.0)
    assert 0 not in one.datagram(bytes(100), 0.0)[1]


def test_toxicity_is_drawn_for_each_datagram():
    one = transit(drop_rate=1.0, toxicity=0.5)
    assert 400 < [one.datagram(b"x", 0.0) for _ in range(1000)].count(None) < 600


def test_a_datagram_that_is_spared_leaves_at_once_as_it_is():
    one = transit(toxicity=0.0, latency=5.0, corrupt_rate=1.0, drop_rate=1.0, bandwidth=1)
    assert [one.datagram(b"abc", at) for at in (1.0, 2.0)] == [(1.0, b"abc"), (2.0, b"abc")]


def test_the_same_seed_has_the_same_datagrams():
    faults = {"latency": 1.0, "jitter": 0.5, "corrupt_rate": 0.1, "drop_rate": 0.3, "toxicity": 0.7}
    fates = [[one.datagram(bytes(20), 0.0) for _ in range(100)] for one in (transit(3, **faults), transit(3, **faults))]
    assert fates[0] == fates[1]


# Which connections


HARMFUL = Faults(latency=1.0, corrupt_rate=0.3)


def hit(toxicity: float, seed: int = 0) -> list[bool]:
    faults = HARMFUL._replace(toxicity=toxicity)
    return [transit_for(faults, seed, number) is not None for number in range(1, 1001)]


@pytest.mark.parametrize(("toxicity", "least", "most"), [(0.0, 0, 0), (0.3, 250, 350), (1.0, 1000, 1000)])
def test_the_share_of_connections_that_are_hit_is_the_one_asked_for(toxicity, least, most):
    assert least <= sum(hit(toxicity)) <= most


def test_the_same_seed_hits_the_same_connections():
    assert hit(0.3, seed=7) == hit(0.3, seed=7) != hit(0.3, seed=8)


def test_a_connection_meets_the_same_whenever_it_comes():
    one, again, other = (carried(transit_for(HARMFUL, 7, number), bytes(100)) for number in (5, 5, 6))
    assert one == again != other


def test_without_faults_nobody_is_hit():
    assert transit_for(Faults(toxicity=1.0), 0, 1) is None


@pytest.mark.parametrize(
    "faults",
    [
        {"latency": 0.1},
        {"jitter": 0.1},
        {"bandwidth": 1},
        {"slice": 1},
        {"corrupt_rate": 0.1},
        {"drop_rate": 0.1},
        {"reset_after": After(size=0)},
        {"close_after": After(seconds=0.0)},
    ],
)
def test_any_fault_is_one(faults):
    assert Faults(**faults, toxicity=0.5).are_any()


@pytest.mark.parametrize("toxicity", [0.0, 0.5, 1.0])
def test_toxicity_alone_is_none(toxicity):
    assert not Faults(toxicity=toxicity).are_any()
