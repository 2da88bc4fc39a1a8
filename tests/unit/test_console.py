"""How commands write: tables that fit, values for machines, nothing that a terminal would obey."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import pytest
import yaml

from heat_config_kubelet.commands.console import GREEN, Column, Console, duration, one_line


@dataclass(frozen=True)
class Fruit:
    name: str
    colour: str
    seeds: tuple[int, ...] = ()


FRUITS = [Fruit("apple", "red", (1, 2)), Fruit("a-very-long-name-of-a-fruit", "blue")]
COLUMNS = [
    Column[Fruit]("NAME", lambda fruit: fruit.name, may_shrink=True),
    Column[Fruit]("COLOUR", lambda fruit: fruit.colour, colour=lambda fruit: GREEN if fruit.seeds else ""),
    Column[Fruit]("SEEDS", lambda fruit: str(len(fruit.seeds)), wide=True),
]


def written(form: str, width: int = 0) -> str:
    out = io.StringIO()
    Console(out, width=width).show(FRUITS, COLUMNS, form)
    return out.getvalue()


def test_a_table_has_a_line_for_each_row_and_wide_has_all_columns() -> None:
    assert written("table").splitlines() == [
        "NAME                         COLOUR",
        "apple                        red",
        "a-very-long-name-of-a-fruit  blue",
    ]
    assert written("wide").splitlines()[1] == "apple                        red     2"


def test_a_table_fits_the_terminal_where_a_column_may_shrink() -> None:
    assert written("table", width=24).splitlines()[2] == "a-very-long-nam…  blue"
    assert written("wide", width=24).splitlines()[2] == "a-very-long-name-of-a-fruit  blue    0"


def test_machines_get_every_field() -> None:
    expected = [{"name": fruit.name, "colour": fruit.colour, "seeds": list(fruit.seeds)} for fruit in FRUITS]
    assert json.loads(written("json")) == expected
    assert yaml.safe_load(written("yaml")) == expected


def test_colours_are_for_terminals() -> None:
    out = io.StringIO()
    Console(out, colour=True).show(FRUITS, COLUMNS, "table")
    assert "\x1b[32mred\x1b[0m" in out.getvalue()
    assert "\x1b" not in written("table")


def test_an_empty_table_says_why() -> None:
    out = io.StringIO()
    Console(out).show([], COLUMNS, "table", empty="no fruit")
    Console(out).show([], COLUMNS, "json", empty="no fruit")
    assert out.getvalue() == "no fruit\n[]\n"


def test_long_lists_go_through_the_pager(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "tr a-z A-Z")
    out = io.StringIO()
    console = Console(out, height=3)
    console.write("one\ntwo")
    console.write("one\ntwo\nthree")
    assert out.getvalue() == "one\ntwo\n"
    assert capfd.readouterr().out == "ONE\nTWO\nTHREE\n"


def test_without_a_pager_long_lists_are_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "there-is-no-such-pager")
    out = io.StringIO()
    Console(out, height=1).write("one\ntwo")
    assert out.getvalue() == "one\ntwo\n"


def test_a_reader_that_has_gone_is_no_fault() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    Console(Gone()).write("text")


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    assert one_line("a\x1b[2Jb\nc\td") == "a [2Jb c d"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0s"), (0.44, "0.4s"), (59.9, "59s"), (185, "3m05s"), (7620, "2h07m"), (5 * 86400 + 3 * 3600, "5d3h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
