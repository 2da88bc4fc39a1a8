"""What `validate` makes of a template's values is what Heat makes of them: YAML, parameters, functions, conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heat_config_kubelet.marks import Marks, Place
from heat_config_kubelet.validation.functions import Evaluator
from heat_config_kubelet.validation.heat_yaml import read
from heat_config_kubelet.validation.unknowns import Unknowns

from .conftest import Site

VALUES = r"""
- [017, 0o17, 0x1f, 1_000, 1:30, 1.5, .5, 1e3, 1.0e+3, 2020-01-31, 08, '08', -3, +4]
- [yes, No, on, off, y, n, ~, null, Null, '', "\u00e9\t"]
- {1: a, 1.5: c, x: &anchor {a: 1, b: [2]}, y: *anchor}
- {<<: {a: 1, b: 2}, b: 3}
- {b: 3, <<: [{a: 1}, {a: 2, c: 4}]}
- {twice: 1, twice: 2}
- |
  literal
    indented

  end
- >-
  folded
  text
- {get_param: text}
- {get_param: number}
- {get_param: written_number}
- {get_param: truth}
- {get_param: list}
- {get_param: json}
- {get_param: [json, a, 0]}
- {get_param: [json, nowhere]}
- {get_param: [list, 1]}
- {str_replace: {template: "a A AA AAA\nb A", params: {A: 1, AA: "x\ny"}}}
- {str_replace: {template: v $x $y $z, params: {$x: {a: [1]}, $y: true, $z: null}}}
- {str_replace: {template: abc, params: {ab: "1", bc: "2", c: "3"}}}
- {list_join: [",", [a, b], [c]]}
- {list_join: ["", [a, null, {k: 1}]]}
- {str_split: [",", "a,b,c"]}
- {str_split: [",", "a,b,c", 1]}
- {map_merge: [{a: 1, b: {c: 1}}, {b: {d: 2}}, null]}
- {list_concat: [[1, 2], [2, 3], null]}
- {list_concat_unique: [[1, 2], [2, 3, {a: 1}, {a: 1}]]}
- {repeat: {template: {p: "%v%", q: "x%v%y"}, for_each: {"%v%": [a, b]}}}
- {repeat: {template: ["%a%", "%b%"], for_each: {"%a%": ["1", "2"], "%b%": [x, y]}}}
- {repeat: {template: ["%a%", "%b%"], for_each: {"%a%": ["1", "2"], "%b%": [x, y]}, permutations: false}}
- {repeat: {template: "%a%", for_each: {"%a%": {k1: v, k2: w}}}}
- {if: [is_seven, yes-it-is, no-it-is-not]}
- {if: [not_seven, 1, {list_join: ["-", [a, b]]}]}
- {if: [{and: [is_seven, {not: not_seven}]}, 1, 2]}
- [{if: [not_seven, left-out]}, stays]
- {left_out: {if: [not_seven, 1]}, stays: {if: [{or: [is_seven, not_seven]}, 1]}}
- {get_paramm: number}
"""
PARAMETERS = """
  text: {type: string, default: 5}
  number: {type: number, default: 7}
  written_number: {type: number, default: '8'}
  truth: {type: boolean, default: 'on'}
  list: {type: comma_delimited_list, default: 'a, b,c'}
  json: {type: json, default: '{"a": [1, {"b": null}]}'}
"""
CONDITIONS = """
  is_seven: {equals: [{get_param: number}, 7]}
  not_seven: {not: is_seven}
"""


def test_values_are_read_and_evaluated_as_by_heat(site: Site, tmp_path: Path) -> None:
    listed = "".join(f"      {line}\n" for line in VALUES.strip("\n").splitlines())
    text = (
        f"heat_template_version: 2021-04-16\nparameters:{PARAMETERS}conditions:{CONDITIONS}"
        f"resources:\n  none: {{type: OS::Heat::None}}\noutputs:\n  all:\n    value:\n{listed}"
    )
    file = tmp_path / "template.yaml"
    file.write_text(text, encoding="utf-8")
    stack = site.create(file)
    stack.wait_for("CREATE_COMPLETE")
    told = stack.outputs()["all"]

    problems: list[tuple[Place | None, str]] = []
    marks = Marks()
    template, doubled = read(text, marks, "template.yaml")
    evaluator = Evaluator(
        template,
        {},
        file="template.yaml",
        marks=marks,
        unknowns=Unknowns(),
        read_file=lambda name: name,
        problem=lambda place, what: problems.append((place, what)),
    )
    ours: list[Any] = evaluator.resolve(template["outputs"]["all"]["value"])
    assert problems == []
    ((place, what),) = doubled
    assert what.startswith('the key "twice" is there twice, first in line ')
    assert text.splitlines()[place.line - 1].index("twice: 2") == place.column - 1
    assert len(ours) == len(told)
    assert [(mine, heats) for mine, heats in zip(ours, told, strict=True) if mine != heats] == []
