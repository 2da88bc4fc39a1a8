"""What the documents promise is so: the first template works, and every test that is named proves what is said."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import identity

from heat_config_kubelet.options import options_of
from heat_config_kubelet.pods import pods_of

ROOT = Path(__file__).parents[2]
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:::(\w+))?`")


def named_tests() -> list[tuple[str, str]]:
    text = (ROOT / "docs" / "lessons.md").read_text(encoding="utf-8")
    return [(file, method or name) for file, name, method in NAMED_TEST.findall(text)]


@pytest.fixture(scope="module")
def template() -> Any:
    """The README's first template."""
    (text,) = re.findall(r"```yaml\n(heat_template_version.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    return yaml.safe_load(text)


def test_the_first_template_can_be_deployed(template: Any) -> None:
    config = template["resources"]["web"]["properties"]
    (pod,) = pods_of(config["config"], identity=identity())
    assert pod.key.name == "web" and config["group"] == "kubelet"
    assert options_of(config["options"], {}).images_timeout == 300


def test_the_first_template_polls_as_heats_policy_allows(template: Any) -> None:
    """Heat's own default, POLL_SERVER_CFN, is refused by its default policy since 2024.1."""
    server = template["resources"]["server"]["properties"]
    assert server["software_config_transport"] in ("POLL_TEMP_URL", "POLL_SERVER_HEAT", "ZAQAR_MESSAGE")


def test_every_lesson_names_tests_that_there_are() -> None:
    named = named_tests()
    assert len(named) > 30
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}, f"{file}::{name}"
