"""Where the feeder and the workers meet."""

from __future__ import annotations

import os
import stat
import tempfile

import pytest

from gtool.errors import BindError
from gtool.feed.link import ENTRY, HEAD, Link, say


def test_only_we_may_enter_where_they_meet():
    link = Link()
    mode = stat.S_IMODE(os.stat(os.path.dirname(link.path)).st_mode)
    link.close()
    assert mode == 0o700


def test_where_a_socket_can_not_be_made_it_says_what_can_be_done_and_leaves_nothing(tmp_path, monkeypatch):
    """The path of one may have about a hundred bytes."""
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(BindError, match=r"cannot make a socket at .*: .*too long") as caught:
        Link()
    assert caught.value.hint == "TMPDIR may be another"
    assert list(deep.iterdir()) == []


def test_nothing_is_left_of_where_they_met():
    link = Link()
    link.close()
    assert not os.path.exists(os.path.dirname(link.path))


@pytest.mark.parametrize("data", [b"", b"a", b"x" * 70_000])
def test_what_is_said_has_its_size_before_it(data):
    said = say(ENTRY, 10**20, 1.5, data)
    kind, offset, time_s, size = HEAD.unpack(said[: HEAD.size])
    assert (kind, int.from_bytes(offset), time_s, size, said[HEAD.size :]) == (ENTRY, 10**20, 1.5, len(data), data)
