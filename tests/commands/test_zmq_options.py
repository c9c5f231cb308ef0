"""The options for keys that both sides of zmq-pingpong have."""

from __future__ import annotations

import pytest

both_sides = pytest.mark.parametrize("side", ["ping", "serve"])


@both_sides
def test_generate_needs_nothing_else_and_ends_there(gtool, tmp_path, side):
    done = gtool("zmq-pingpong", side, "--curve-generate", "keys")
    assert (done.code, done.err) == (0, "")
    assert set(done.out.decode().split()) == {f"keys/{path.name}" for path in (tmp_path / "keys").iterdir()}


@both_sides
def test_help_generates_nothing(gtool, tmp_path, side):
    assert gtool("zmq-pingpong", side, "--help", "--curve-generate", "keys").code == 0
    assert list(tmp_path.iterdir()) == []


@both_sides
def test_the_help_names_the_options_for_keys(gtool, side):
    text = gtool("zmq-pingpong", side, "--help").out.decode()
    for name in ("--curve-secret FILE", "--curve-public FILE", "--curve-generate DIR"):
        assert name in text


@both_sides
def test_the_environment_sets_keys(gtool, side):
    """Which shows by the file that cannot be read."""
    gtool("zmq-pingpong", "serve", "--curve-generate", ".")
    name = f"GTOOL_ZMQ_PINGPONG_{side.upper()}_CURVE_SECRET"
    more = ("tcp://127.0.0.1:1", "--curve-server-key", "server.key") if side == "ping" else ()
    done = gtool("zmq-pingpong", side, *more, **{name: "/none/such"})
    assert done.code == 26
    assert "cannot read the key file /none/such" in done.err
