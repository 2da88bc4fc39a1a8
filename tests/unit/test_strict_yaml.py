from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import yaml

from heat_config_kubelet import strict_yaml
from heat_config_kubelet.errors import PodError
from heat_config_kubelet.strict_yaml import check_value, documents


def read(text: str) -> Any:
    (found,) = documents(text)
    return found


def fault_of(text: str) -> str:
    with pytest.raises(PodError) as caught:
        documents(text)
    (fault,) = caught.value.faults
    return fault


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # Each value is what sigs.k8s.io/yaml v1.6.0 gave for it.
        *((word, True) for word in ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")),
        *((word, False) for word in ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")),
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        *((word, word) for word in ("tRue", "oN", "nUll", "yEs", "None")),
        ("017", 15),
        ("0o17", 15),
        ("0O17", 15),
        ("0o7_1", 57),
        ("0_7", 7),
        ("08", 8),
        ("019", 19),
        ("08.5", 8.5),
        ("0o8", "0o8"),
        ("0x1F", 31),
        ("0X1f", 31),
        ("-0x1f", -31),
        ("0xg", "0xg"),
        ("0b11", 3),
        ("-0b11", -3),
        ("+1", 1),
        ("-0", 0),
        ("00", 0),
        ("1_000", 1000),
        ("1__0", 10),
        ("_1", "_1"),
        ("1:30", "1:30"),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1_e3", 1000),
        ("1.", 1),
        ("1.0", 1),
        ("-0.0", 0),
        (".5", 0.5),
        ("+.5", 0.5),
        (".1_2", 0.12),
        ("._5", "._5"),
        ("1_000.5", 1000.5),
        ("0x1p-2", "0x1p-2"),
        ("1e400", "1e400"),
        ("-1e400", "-1e400"),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551615", 2**64 - 1),
        ("2001-01-01", "2001-01-01"),
        ("2001-1-1T1:1:1Z", "2001-1-1T1:1:1Z"),
        ("2001-12-14 21:59:43.10", "2001-12-14 21:59:43.10"),
        ("=", "="),
        ("12e", "12e"),
        ("1.2.3", "1.2.3"),
        ("!!str 1", "1"),
        ("! 12", "12"),
        ('!!int "3"', 3),
        ("!!float 1", 1),
        ("!!bool yes", True),
        ("'yes'", "yes"),
        ('"1"', "1"),
        ("|\n  017\n", "017\n"),
    ],
)
def test_scalar_is_read_as_the_kubelet_reads_it(text: str, value: Any) -> None:
    found = read(f"a: {text}\n")["a"]
    assert found == value
    assert type(found) is type(value)


def test_whole_floats_beyond_64_bits_stay_numbers() -> None:
    assert read("a: 123456789012345678901234567890\n")["a"] == 1.2345678901234568e29
    assert read("a: 18446744073709551616\n")["a"] == 2**64


@pytest.mark.parametrize("word", [".inf", "-.Inf", "+.INF", ".nan", ".NaN"])
def test_what_json_cannot_say_is_refused(word: str) -> None:
    assert fault_of(f"a:\n  b: {word}\n").startswith("config, line 2, column 6: ")


def test_number_keys_become_text() -> None:
    assert read("1: a\n-5: b\n2001-01-01: c\n") == {"1": "a", "-5": "b", "2001-01-01": "c"}


@pytest.mark.parametrize(
    ("key", "read_as"),
    [("on", "true"), ("y", "true"), ("n", "false"), ("~", "null"), ("1.5", "1.5"), ("0x10", "16"), ("1_000", "1000")],
)
def test_key_that_is_read_as_something_else_is_refused(key: str, read_as: str) -> None:
    assert (
        fault_of(f"a: 1\n{key}: b\n")
        == f"config, line 2, column 1: the key {key} is read as {read_as}, no text: put it in quotes"
    )
    assert read(f"'{key}': b\n") == {key: "b"}


@pytest.mark.parametrize("key", ["[a]", "{a: b}", "&x [a]"])
def test_key_that_is_no_scalar_is_refused(key: str) -> None:
    assert "a map's key must be text" in fault_of(f"? {key}\n: b\n")
    assert "a map's key must be text" in fault_of("a: &k [1]\n*k : b\n")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3\n", 'config, line 3, column 1: the key "a" is there twice, first in line 1'),
        ("a:\n- x: 1\n  'x': 2\n", "config, line 3, column 3: "),
        ('1: a\n"1": b\n', "is there twice"),
        ('{"a": 1,\n "a": 2}', 'config, line 2, column 2: the key "a" is there twice, first in line 1'),
        ("<<: {a: 1}\n<<: {b: 1}\n", 'the key "<<" is there twice'),
        ("a: *b\n", "config, line 1, column 4: there is no anchor &b"),
        ("a: &b [*b]\n", "config, line 1, column 8: the value of the anchor &b contains itself"),
        ("a: &b\n  c: *b\n", "contains itself"),
        ("a: !foo b\n", "config, line 1, column 4: the tag !foo has no place here"),
        ("a: !!python/object:os.system b\n", "the tag !!python/object:os.system has no place here"),
        ("a: !!binary aGk=\n", "the tag !!binary has no place here"),
        ("a: !!set {b}\n", "the tag !!set has no place here"),
        ("a: !!timestamp 2001-01-01\n", "the tag !!timestamp has no place here"),
        ("a: !!int x\n", 'config, line 1, column 4: "x" is no int'),
        ("a: !!int 1.5\n", "is no int"),
        ("a: !!int yes\n", "is no int"),
        ("a: !!null x\n", "is no null"),
        ("a: !!str {b: c}\n", "the tag !!str has no place here"),
        ("a: b: c\n", "config, line 1, column 5: "),
        ("a: [1\nb: 2\n", "line 2"),
        ("\ta: 1\n", "config, line 1, column 1: a tab; YAML is indented with spaces"),
        ("a: 1\n\tb: 1\n", "config, line 2, column 1: a tab; YAML is indented with spaces"),
        ("a: @b\n", "config, line 1, column 4: "),
        ("a: \x00\n", "no YAML: "),
        ("a: \ud800\n", "no UTF-8 file can hold"),
        ("a: {b: 1, <<: 2}\n", "<< takes a map"),
        ("a: {<<: [1]}\n", "<< takes a map"),
        ("<<: *x\n", "there is no anchor &x"),
        ("a: {b: 1, <<: {b: 2}}\n", 'put << first in its map: after the key "b"'),
        ("{a: NaN, b: 1", "config, line 2, column 1: "),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 1e400}', "too large"),
        ("[" * 200, "nested more than 100 deep"),
        ("[" * 100_000, "nested more than 100 deep"),
        ("- " * 200 + "a", "nested more than 100 deep"),
        ('{"a":' * 150 + "1" + "}" * 150, "nested more than 100 deep"),
        ("a: 1\n...\nb: @\n", "line 3"),
        ("%YAML 9.9\n---\na: 1\n", "line 1"),
    ],
)
def test_fault_says_what_and_where(text: str, fault: str) -> None:
    assert fault in fault_of(text)


def test_merge_key() -> None:
    found = read("p: &x {a: 1, b: 2}\nq: {<<: *x, a: 3}\nr: {<<: [{a: 4}, {a: 5, c: 6}]}\ns: {'<<': 1}\n")
    assert found["q"] == {"a": 3, "b": 2}
    assert found["r"] == {"a": 4, "c": 6}
    assert found["s"] == {"<<": 1}


def test_anchor_may_be_set_again_and_be_a_key() -> None:
    assert read("a: &x 1\nb: &x two\nc: *x\n*x : d\n") == {"a": 1, "b": "two", "c": "two", "two": "d"}


def test_aliases_that_explode_are_refused_fast() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    assert "aliases expanded" in fault_of("\n".join(lines))
    assert "aliases expanded" in fault_of("\n".join([*lines[:5], f"b: [{', '.join(['*a4'] * 5)}]"]))


def test_many_values_without_aliases_are_refused() -> None:
    assert "more than 400000 values" in fault_of("[" + "1," * 400_001 + "!!str a]")


def test_too_long_a_text_is_refused() -> None:
    assert "a kubelet reads no longer manifest" in fault_of("a: b\n" + "#" * (10 * 1024 * 1024))


def test_documents() -> None:
    assert documents("") == []
    assert documents("# nothing\n") == []
    assert documents("---\n---\na: 1\n...\n---\n- b\n") == [None, {"a": 1}, ["b"]]
    assert documents("just text") == ["just text"]
    assert documents("a: &x 1\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
    assert "there is no anchor" in fault_of("a: &x 1\n---\nb: *x\n")


def test_json() -> None:
    assert read('\n\t{"a": "\\/\\ud83d\\ude00", "b": [1, 1.5, true, null]}\n') == {
        "a": "/😀",
        "b": [1, 1.5, True, None],
    }
    assert read('{"a": 1.0}') == {"a": 1.0}
    assert isinstance(read('{"a": 1.0}')["a"], float)
    assert read("{a: 1, b: yes,}") == {"a": 1, "b": True}
    assert read("[1, 2]") == [1, 2]


def test_python_parser_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &x [1, 0x1f, yes, '2', !!str 3]\nb: *x\nc: |\n  text\n---\n{d: ~}\n"
    with_c = documents(text)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert documents(text) == with_c
    assert fault_of("a: 1\na: 2\n").startswith("config, line 2, column 1: ")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"a": [{1: 2}]}, "a[0]: the key 1 is no text"),
        ({"a": {"b": float("nan")}}, "a.b: nan is no number"),
        ({"a": float("inf")}, "a: inf is no number"),
        ({"a": b"x"}, "a: a bytes is nothing"),
        ({"a": {1, 2}}, "a: a set is nothing"),
        ({None: 1}, "the map: the key None is no text"),
    ],
)
def test_value_that_json_cannot_hold(value: object, fault: str) -> None:
    with pytest.raises(PodError) as caught:
        check_value(value)
    assert fault in caught.value.message


def test_value_that_holds_itself() -> None:
    value: dict[str, Any] = {}
    value["a"] = [value]
    with pytest.raises(PodError, match="nested more than"):
        check_value(value)


def test_import_leaves_yaml_out() -> None:
    code = "import sys, heat_config_kubelet.pods; print([m for m in ('yaml', 'kubernetes') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_config_as_a_map_needs_no_yaml() -> None:
    code = (
        "import sys; from heat_config_kubelet.pods import pods_of; from heat_config_kubelet.values import Identity;"
        "c = {'apiVersion': 'v1', 'kind': 'Pod', 'spec': {'containers': [{'name': 'a', 'image': 'b'}]}};"
        "pods_of(c, identity=Identity('s', 'r')); print([m for m in ('yaml', 'kubernetes') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_there_is_a_c_parser_to_compare_with() -> None:
    assert hasattr(yaml, "CSafeLoader")
    assert strict_yaml.MAX_DEPTH == 100
