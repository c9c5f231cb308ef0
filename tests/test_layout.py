"""The tests mirror the source: each module of gtool has a test file of its own."""

from __future__ import annotations

from tests.conftest import ROOT

#: what says nothing that could be wrong, and what only starts others
WITHOUT_LOGIC = {"gtool/__main__.py", "gtool/live/terms.py"}


def test_each_module_has_its_test_file():
    modules = [path.relative_to(ROOT) for path in (ROOT / "gtool").rglob("*.py") if path.name != "__init__.py"]
    expected = {
        str(module): ROOT / "tests" / module.relative_to("gtool").parent / f"test_{module.name}"
        for module in modules
        if str(module) not in WITHOUT_LOGIC
    }
    assert [module for module, test in sorted(expected.items()) if not test.exists()] == []
