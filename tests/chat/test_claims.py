"""Whose a name is, and for how long."""

from __future__ import annotations

import pytest

from gtool.chat.claims import KEPT_S, Claim, digest_of, new_secret

SECRET = "s3cret"
CLAIM = Claim("bob", "Bob", digest_of(SECRET), 1000.0)


def test_a_claim_is_by_whoever_has_its_secret():
    assert CLAIM.is_by(SECRET)


@pytest.mark.parametrize("secret", ["", "s3cre", "s3cret ", "S3cret", "ä", "\udcff", digest_of(SECRET), "x" * 100_000])
def test_a_claim_is_by_nobody_else(secret):
    assert not CLAIM.is_by(secret)


def test_a_secret_is_not_kept():
    assert SECRET not in repr(CLAIM)


@pytest.mark.parametrize(("after_s", "is_over"), [(-10, False), (0, False), (KEPT_S, False), (KEPT_S + 1, True)])
def test_a_claim_is_over_so_long_after_its_last_use(after_s, is_over):
    assert CLAIM.is_over(CLAIM.used_at + after_s) is is_over


def test_secrets_are_long_and_none_is_like_another():
    found = {new_secret() for _ in range(1000)}
    assert (len(found), min(map(len, found)) >= 32) == (1000, True)


def test_a_secret_can_stand_in_a_cookie_and_behind_a_dot():
    assert all(character.isalnum() or character in "_-" for _ in range(100) for character in new_secret())
