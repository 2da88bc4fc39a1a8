"""Imports that wait, tried with packages that say when they are imported."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from heat_config_kubelet.late_imports import late_imports

PACKAGES = {
    "early_program/__init__.py": "",
    "early_program/main.py": """
from late_one.sub import part
from late_one import other as renamed
from late_one.sub.part import deeper
import late_two

def uses(one=part, two=late_two):
    return one.VALUE + two.VALUE
""",
    "late_one/__init__.py": "VALUE = 'one'",
    "late_one/other.py": "VALUE = 'other'",
    "late_one/unnamed.py": "VALUE = 'unnamed'",
    "late_one/sub/__init__.py": "from late_one.sub.part import VALUE",
    "late_one/sub/part/__init__.py": "import late_two\nVALUE = late_two.VALUE + 'part'",
    "late_one/sub/part/deeper.py": "VALUE = 'deeper'",
    "late_two.py": "VALUE = 'two'",
}
NAMES = ("late_one.sub.part.deeper", "late_one.other", "late_two")


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, content in PACKAGES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [each for each in sys.modules if each.startswith(("late_one", "late_two", "early_program"))]:
        del sys.modules[name]


def imported() -> set[str]:
    """The modules that are there with what is in them."""
    return {
        name
        for name, module in sys.modules.items()
        if name.startswith(("late_one", "late_two")) and "VALUE" in vars(module)
    }


def test_they_wait_until_they_are_used() -> None:
    with late_imports(*NAMES):
        main = importlib.import_module("early_program.main")
    assert imported() == set()
    assert main.renamed.VALUE == "other"
    assert imported() == {"late_one", "late_one.other"}
    assert main.uses() == "twoparttwo"
    assert main.deeper.VALUE == "deeper"
    assert imported() == {"late_two", "late_one", "late_one.other", "late_one.sub", *PARTS}


PARTS = ("late_one.sub.part", "late_one.sub.part.deeper")


def test_what_is_imported_later_is_the_real_one() -> None:
    with late_imports(*NAMES):
        main = importlib.import_module("early_program.main")
    assert main.late_two.VALUE == "two"
    assert importlib.import_module("late_two") is not main.late_two
    assert importlib.import_module("late_one.sub").VALUE == "twopart"
    assert vars(sys.modules["late_one"])["VALUE"] == "one"


def test_a_use_within_the_block_is_an_import_at_once() -> None:
    with late_imports(*NAMES):
        import late_two  # type: ignore[import-not-found]

        assert late_two.VALUE == "two"
        main = importlib.import_module("early_program.main")
        assert main.late_two is sys.modules["late_two"], "not another stand-in"
        assert imported() == {"late_two"}
    assert main.uses() == "twoparttwo"


def test_a_part_that_was_not_named_is_imported_at_once_with_its_package() -> None:
    with late_imports("late_one", "late_two"):
        import late_one  # type: ignore[import-not-found]  # noqa: F401
        from late_one.unnamed import VALUE  # type: ignore[import-not-found]

        assert VALUE == "unnamed"
    assert imported() == {"late_one", "late_one.unnamed"}


def test_nobody_imports_them_by_looking_around() -> None:
    """`inspect` and `warnings` look at every module there is."""
    with late_imports(*NAMES):
        importlib.import_module("early_program.main")
    for module in list(sys.modules.values()):
        hasattr(module, "__file__")
    assert inspect.getmodule(test_nobody_imports_them_by_looking_around) is not None
    assert imported() == set()


def test_one_that_is_missing_is_missed_where_it_is_used(packages: Path) -> None:
    (packages / "late_two.py").unlink()
    with late_imports(*NAMES):
        main = importlib.import_module("early_program.main")
    assert main.renamed.VALUE == "other"
    with pytest.raises(ModuleNotFoundError, match="late_two"):
        main.uses()


def test_what_is_there_already_stays() -> None:
    there = importlib.import_module("late_two")
    with late_imports(*NAMES):
        assert importlib.import_module("early_program.main").late_two is there


def test_nothing_is_left_behind() -> None:
    before = list(sys.meta_path)
    with pytest.raises(ModuleNotFoundError), late_imports(*NAMES):
        importlib.import_module("none_of_this_name")
    assert sys.meta_path == before
