"""Where each part of a text stands: lines and columns as an editor counts them."""

from __future__ import annotations

import pytest

from heat_config_kubelet.marks import FileMarks, Marks, Place, Text, steps_of
from heat_config_kubelet.strict_yaml import TextError, documents

YAML = """\
apiVersion: v1
spec:
  containers:
  - name: a
    ports:
    - {containerPort: 80}
    -   containerPort: 81
---
other: [x]
"""
JSON = """\
{
\t"spec": {
\t\t"containers": [ {"name": "a"},
\t\t\t{"name": "b", "url": "http:\\/\\/x"} ]
\t}
}
"""


def line_of(text: str, path: str, document: int = 0) -> tuple[int, int]:
    marks = Marks()
    found = marks.find(documents(text, FileMarks(marks, "f"))[document], steps_of(path))
    assert found and found.file == "f"
    return found.line, found.column


@pytest.mark.parametrize(
    ("path", "document", "place"),
    [
        ("apiVersion", 0, (1, 1)),
        ("spec.containers", 0, (3, 3)),
        ("spec.containers[0]", 0, (4, 5)),
        ("spec.containers[0].ports[0].containerPort", 0, (6, 8)),
        ("spec.containers[0].ports[1]", 0, (7, 9)),
        ("spec.containers[0].ports[7].name", 0, (5, 5)),
        ("spec.containers[0].image", 0, (4, 5)),
        ("other[0]", 1, (9, 9)),
    ],
)
def test_the_place_of_a_field_or_of_what_holds_it(path: str, document: int, place: tuple[int, int]) -> None:
    assert line_of(YAML, path, document) == place


def test_json_has_places_too_with_tabs_as_its_authors_indent() -> None:
    assert line_of(JSON, "spec.containers[1].name") == (4, 5)
    assert line_of(JSON, "spec.containers[0]") == (3, 19)


def test_what_an_alias_or_a_merge_brings_stands_where_it_was_written() -> None:
    text = "base: &base\n  image: i\na: {<<: *base, name: x}\nb: *base\n"
    assert line_of(text, "a.image") == (2, 3)
    assert line_of(text, "a.name") == (3, 16)
    assert line_of(text, "b.image") == (2, 3)


def test_what_is_not_there_at_all_has_no_place() -> None:
    marks = Marks()
    assert marks.find(documents("a: 1", FileMarks(marks))[0], ("b", 1)) is None


def test_an_error_has_its_place_as_numbers() -> None:
    with pytest.raises(TextError) as caught:
        documents("a: 1\n  b: 2\n")
    assert (caught.value.line, caught.value.column) == (2, 4)
    assert str(caught.value).startswith("config, line 2, column 4: ") and caught.value.what in str(caught.value)


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("spec.containers[0].env", ("spec", "containers", 0, "env")),
        ('metadata.labels["a.b/c"]', ("metadata", "labels", "a.b/c")),
        ('x["a]b"].c[12]', ("x", "a]b", "c", 12)),
        ("", ()),
    ],
)
def test_a_path_is_read_as_steps(path: str, steps: tuple[str | int, ...]) -> None:
    assert steps_of(path) == steps


def test_a_text_knows_where_its_lines_stand() -> None:
    text = Text("one\ntwo\n", (Place("f", 5, 7), Place("f", 6)))
    assert text == "one\ntwo\n"
    assert text.place(1, 2) == ("f", 5, 8)
    assert text.place(2, 2) == ("f", 6, 0)
    assert text.place(9, 1) is None
