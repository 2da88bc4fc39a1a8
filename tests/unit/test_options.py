"""What a deployment's options and the node's defaults may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heat_config_kubelet.errors import PodError, SettingsError
from heat_config_kubelet.options import NAMES, Options, check_defaults, options_of


def test_without_options_the_built_in_ones_hold() -> None:
    assert options_of({}, {}) == Options()


def test_a_deployments_option_goes_before_the_nodes_default() -> None:
    found = options_of({"images_timeout": 5}, {"images_timeout": "900", "containers_timeout": "30"})
    assert (found.images_timeout, found.containers_timeout) == (5.0, 30.0)


def test_an_option_without_a_value_is_not_given() -> None:
    assert options_of({"images_timeout": None}, {"images_timeout": "900"}).images_timeout == 900.0


def test_texts_are_read_as_heat_sends_parameters() -> None:
    found = options_of({"images_timeout": " 1.5 ", "log_lines": "7", "fail_fast": "False", "strict": "no"}, {})
    assert found == Options(images_timeout=1.5, log_lines=7, fail_fast=False, strict=False)


def test_options_of_other_tools_are_left_alone() -> None:
    assert options_of({"tags": "a,b", "modulepath": ["x"]}, {}) == Options()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("images_timeout", "soon", "a number of seconds, 0 or more"),
        ("images_timeout", -1, "a number of seconds"),
        ("containers_timeout", True, "a number of seconds"),
        ("containers_timeout", "nan", "a number of seconds"),
        ("containers_timeout", "inf", "a number of seconds"),
        pytest.param("containers_timeout", 10**400, "a number of seconds", id="huge"),
        ("min_ready_seconds", [1], "a number of seconds"),
        ("poll_period", 0.01, "0.05 or more"),
        ("log_lines", 1.5, "a number of lines"),
        ("fail_fast", "perhaps", "true or false"),
        ("strict", 2, "true or false"),
    ],
)
def test_a_bad_value_is_a_fault_that_names_the_option(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(PodError, match=f"options.{name}: .*{wanted}"):
        options_of({name: value}, {})


def test_every_fault_is_told_and_long_values_are_cut() -> None:
    with pytest.raises(PodError) as caught:
        options_of({"images_timeout": "x" * 1000, "log_lines": {}}, {})
    first, second = caught.value.faults
    assert first.startswith("options.images_timeout: ") and len(first) < 160 and "…" in first
    assert second.startswith("options.log_lines: {}")


def test_the_nodes_defaults_are_checked_with_their_file_named() -> None:
    file = Path("/etc/agent.conf")
    check_defaults({"poll_period": "0.5", "strict": "off"}, file)
    with pytest.raises(
        SettingsError, match=r"/etc/agent.conf: \[defaults\] image_timeout is no option; .*images_timeo"
    ):
        check_defaults({"image_timeout": "5"}, file)
    with pytest.raises(SettingsError, match=r"\[defaults\] strict = 'maybe': must be true or false"):
        check_defaults({"strict": "maybe"}, file)


def test_every_option_can_be_a_nodes_default() -> None:
    check_defaults(dict.fromkeys(NAMES, "1"), "file")
