"""A job travels as JSON, and is the same when it arrives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import simplejson
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.pingpong.job import ClientKeys, Job

fixed = settings(derandomize=True, deadline=None, max_examples=50)

seconds = st.floats(0, 1e6)
jobs = st.builds(
    Job,
    endpoint=st.text(),
    pattern=st.text(),
    size=st.integers(1, 1 << 26),
    count=st.none() | st.integers(1),
    duration=st.none() | seconds,
    warmup=st.integers(0),
    rate=st.none() | seconds,
    phase=seconds,
    pipeline=st.integers(1, 100_000),
    timeout=seconds,
    retries=st.integers(0),
    is_plain=st.booleans(),
    keys=st.none() | st.builds(ClientKeys, st.text(), st.text(), st.text()),
)


def travelled(document: object) -> dict[str, object]:
    return simplejson.loads(simplejson.dumps(document))


@fixed
@given(jobs)
def test_a_job_arrives_as_it_was_sent(job):
    assert Job.from_json(travelled(job.to_json())) == job


@pytest.mark.parametrize(
    ("changes", "is_strict"),
    [
        ({"pattern": "req-rep", "retries": 0, "is_plain": False}, True),
        ({"pattern": "req-rep", "retries": 1, "is_plain": False}, False),
        ({"pattern": "req-rep", "retries": 0, "is_plain": True}, False),
        ({"pattern": "dealer-router", "retries": 0, "is_plain": False}, False),
    ],
)
def test_answers_are_told_apart_where_one_may_be_late_or_the_server_anybody(changes, is_strict):
    job = Job("tcp://h:1", "req-rep", 8, 10, None, 0, None, 0.0, 1, 5.0, 0, False, None)
    assert replace(job, **changes).is_strict is is_strict
