"""The hub is made without what it does not need."""

from __future__ import annotations

import pytest

from tests.runtime.scripts import output_of


@pytest.mark.parametrize(
    "script",
    [
        "from gtool.runtime import lifecycle; lifecycle.run(lambda: None)",
        "from gtool.runtime.stdio import Stdout; Stdout().close()",
    ],
    ids=["lifecycle", "stdio"],
)
def test_making_it_imports_nothing_for_showing_what_is_not_shown(script):
    assert output_of(f"{script}\nimport sys; print({{'pprint', 'dataclasses'}} & set(sys.modules))") == ["set()"]
