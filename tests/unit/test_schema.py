from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from heat_config_kubelet import formats, schema
from heat_config_kubelet.schema import Findings, check

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "make-pod-schema"
SHIPPED = ROOT / "heat_config_kubelet" / "data" / "pod_schema.json"
TYPES: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))["types"]


def findings_of(pod: dict[str, Any], *, strict: bool = True) -> Findings:
    findings = Findings(strict=strict)
    check({"apiVersion": "v1", "kind": "Pod", **pod}, findings)
    return findings


def faults_of_container(**fields: Any) -> list[str]:
    pod = {"spec": {"containers": [{"name": "main", "image": "app", **fields}]}}
    return [fault.removeprefix("spec.containers[0].") for fault in findings_of(pod).faults]


def faults_of_spec(**fields: Any) -> list[str]:
    pod = {"spec": {"containers": [{"name": "main", "image": "app"}], **fields}}
    return [fault.removeprefix("spec.") for fault in findings_of(pod).faults]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("make_pod_schema", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_shipped_schema_is_what_the_tool_makes() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "-"], capture_output=True, text=True, check=True)
    assert done.stdout == SHIPPED.read_text(encoding="utf-8"), "run tools/make-pod-schema"


def test_tool_writes_where_it_is_told(tool: ModuleType, tmp_path: Path) -> None:
    assert tool.main([str(tmp_path / "made.json")]) == 0
    assert (tmp_path / "made.json").read_text() == SHIPPED.read_text()


@pytest.mark.parametrize(
    ("supplement", "fault"),
    [
        ("Pod: {required: [nonsense]}", "Pod: the models have no field nonsense"),
        ("Pod: {fields: {kind: {colour: red}}}", "Pod.kind: nobody knows colour"),
        ("Pod: {nonsense: 1}", "Pod: nobody knows nonsense"),
        ("Pod: {instead: {spec: x}}", "Pod: 'instead' names a field that is there"),
        ("Service: {}", "no pod has a Service"),
    ],
)
def test_tool_refuses_a_supplement_that_does_not_fit(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    supplement: str,
    fault: str,
) -> None:
    path = tmp_path / "supplement.yaml"
    path.write_text(supplement)
    monkeypatch.setattr(tool, "SUPPLEMENT", path)
    assert tool.main(["-"]) == 1
    assert fault in capsys.readouterr().err


def test_schema_is_small() -> None:
    assert SHIPPED.stat().st_size < 40_000


def test_every_form_and_type_in_the_schema_is_known() -> None:
    for definition in TYPES.values():
        for spec in definition["fields"].values():
            kind, limits = (spec, {}) if isinstance(spec, str) else spec
            assert kind.lstrip("[{") in {*TYPES, *schema._SCALARS}
            assert {limits[name] for name in ("format", "key") if name in limits} <= formats.CHECKS.keys()
        assert {*definition.get("required", []), *definition.get("one", [[]])[0]} <= definition["fields"].keys()


def test_each_type_is_checked_field_by_field() -> None:
    """A field of a type that nobody could mean gives a fault at its own path, for every field of a container."""
    for name, spec in TYPES["Container"]["fields"].items():
        wrong: object = "text" if not isinstance(spec, str) or spec != "str" else ["a list"]
        if isinstance(spec, list) and spec[0] == "str":
            wrong = ["a list"]
        assert any(fault.startswith(f"{name}: must be ") for fault in faults_of_container(**{name: wrong})), name


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"imagee": "a"}, 'imagee: unknown field; did you mean "image"?'),
        ({"Image": "a"}, 'Image: unknown field; did you mean "image"? (upper and lower case count)'),
        (
            {"image_pull_policy": "a"},
            'image_pull_policy: unknown field; did you mean "imagePullPolicy"? (upper and lower case count)',
        ),
        (
            {"volume-mounts": []},
            'volume-mounts: unknown field; did you mean "volumeMounts"? (upper and lower case count)',
        ),
        ({"environment": []}, 'environment: unknown field; write "env", a list of name and value'),
        ({"ressources": {}}, 'ressources: unknown field; did you mean "resources"?'),
        ({"envfrom": []}, 'envfrom: unknown field; did you mean "envFrom"?'),
        ({"cpu": 1}, "cpu: unknown field; write resources.limits.cpu"),
        ({"hostNetwork": True}, "hostNetwork: unknown field; a field of this name belongs into spec"),
        ({"annotations": {}}, "annotations: unknown field; a field of this name belongs into metadata"),
        (
            {"runAsGroup": 1},
            "runAsGroup: unknown field; a field of this name belongs into spec.containers[].securityContext",
        ),
        ({"xyzzy": 1}, "xyzzy: unknown field"),
        ({"xyzzy": None}, "xyzzy: unknown field"),
    ],
)
def test_unknown_field_comes_with_a_guess(fields: dict[str, Any], fault: str) -> None:
    assert faults_of_container(**fields) == [fault]


def test_unknown_fields_deep_inside() -> None:
    faults = faults_of_spec(
        volumes=[{"name": "a", "hostpath": {}}, {"name": "b", "hostPath": {"path": "/a", "Type": "File"}}],
        securityContext={"privileged": True, "seLinuxOptions": {"usr": "a"}},
    )
    assert faults == [
        'volumes[0].hostpath: unknown field; did you mean "hostPath"? (upper and lower case count)',
        'volumes[1].hostPath.Type: unknown field; did you mean "type"? (upper and lower case count)',
        "securityContext.privileged: unknown field; it is set for each container, in spec.containers[].securityContext",
        'securityContext.seLinuxOptions.usr: unknown field; did you mean "user"?',
    ]


def test_unknown_fields_warn_where_it_is_not_strict() -> None:
    found = findings_of({"spec": {"containers": [{"name": "a", "image": "b"}], "x": 1, "y": None}}, strict=False)
    assert (found.faults, found.warnings) == ([], ["spec.x: unknown field"])


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"tty": "true"}, 'tty: must be true or false, without quotes, not the text "true"'),
        ({"tty": "perhaps"}, 'tty: must be true or false, not the text "perhaps"'),
        ({"tty": 1}, "tty: must be true or false, not the number 1"),
        ({"workingDir": 5}, "workingDir: must be text (put it in quotes), not the number 5"),
        ({"workingDir": True}, "workingDir: must be text (put it in quotes), not true"),
        ({"workingDir": {}}, "workingDir: must be text, not a map"),
        ({"command": "a b"}, 'command: must be a list, not the text "a b"'),
        ({"command": [1.5]}, "command[0]: must be text (put it in quotes), not the number 1.5"),
        ({"command": [None]}, 'command[0]: is empty; remove it, or write "" where an empty text is meant'),
        ({"resources": []}, "resources: must be a map, not a list"),
        ({"resources": {"limits": 5}}, "resources.limits: must be a map, not the number 5"),
        (
            {"resources": {"limits": {"cpu": "1 GB"}}},
            'resources.limits["cpu"]: must be a quantity such as 2, 0.5, 500m, 64Mi or 1Gi, not the text "1 GB"',
        ),
        (
            {"resources": {"limits": {"cpu": [1]}}},
            'resources.limits["cpu"]: must be a quantity such as 500m or 64Mi, not a list',
        ),
        (
            {"resources": {"limits": {"cpu": True}}},
            'resources.limits["cpu"]: must be a quantity such as 500m or 64Mi, not true',
        ),
        (
            {"resources": {"limits": {"cpu": -0.5}}},
            'resources.limits["cpu"]: must not be negative, as the number -0.5 is',
        ),
        ({"ports": [{"containerPort": 80.0}]}, "ports[0].containerPort: must be a whole number, not the number 80.0"),
        ({"ports": [{"containerPort": True}]}, "ports[0].containerPort: must be a whole number, not true"),
        (
            {"ports": [{"containerPort": "80"}]},
            'ports[0].containerPort: must be a whole number, without quotes, not the text "80"',
        ),
        ({"ports": [{"containerPort": 2**40}]}, "ports[0].containerPort: must be from 1 to 65535, not 1099511627776"),
        (
            {"imagePullPolicy": "always"},
            'imagePullPolicy: must be one of Always, IfNotPresent, Never, not the text "always"',
        ),
        ({"restartPolicy": ""}, 'restartPolicy: must be one of Always, OnFailure, Never, not the text ""'),
        ({"livenessProbe": {"tcpSocket": {"port": ""}}}, "livenessProbe.tcpSocket.port: is required"),
        ({"livenessProbe": {"tcpSocket": {"port": 0}}}, "livenessProbe.tcpSocket.port: must be from 1 to 65535, not 0"),
        (
            {"livenessProbe": {"tcpSocket": {"port": 1.5}}},
            "livenessProbe.tcpSocket.port: must be a port's number or name, not the number 1.5",
        ),
        ({"livenessProbe": None, "env": None, "resources": {"limits": {"cpu": None}}}, ""),
        ({"imagePullPolicy": "", "workingDir": "", "terminationMessagePolicy": ""}, ""),
    ],
)
def test_type_range_and_form(fields: dict[str, Any], fault: str) -> None:
    faults = [each for each in faults_of_container(**fields) if "port: must have" not in each]
    assert faults == ([fault] if fault else [])


def test_required_and_unions() -> None:
    assert findings_of({}).faults == []  # `spec` is for the rules: see test_checks.py
    assert faults_of_spec(containers=None) == [
        "containers: is required, and has no value here (a get_input that is not given?)"
    ]
    assert faults_of_container(name="") == ["name: is required"]
    assert faults_of_container(livenessProbe={}) == ["livenessProbe: needs one of exec, httpGet, tcpSocket, grpc"]
    assert faults_of_container(livenessProbe={"exec": None}) == [
        "livenessProbe: needs one of exec, httpGet, tcpSocket, grpc"
    ]
    assert faults_of_container(livenessProbe={"exec": {"command": ["a"]}, "grpc": {"port": 1}, "tcpSocket": None}) == [
        "livenessProbe: has exec and grpc: only one of them can be"
    ]
    assert faults_of_spec(volumes=[{"name": "a"}]) == []
    assert faults_of_container(env=[{"name": "A", "valueFrom": {}}]) == [
        "env[0].valueFrom: needs one of fieldRef, resourceFieldRef, fileKeyRef"
    ]


def test_refused_fields_say_what_to_do_and_hide_nothing_else() -> None:
    assert faults_of_container(env=[{"name": "A", "valueFrom": {"secretKeyRef": {}}}]) == [
        "env[0].valueFrom.secretKeyRef: static pods may not refer to secrets; mount a file by hostPath, "
        "or write the value into env"
    ]
    assert faults_of_spec(imagePullSecrets=[], serviceAccountName="", resourceClaims=None, readinessGates=[]) == []
    for name, (why, _) in TYPES["PodSpec"]["refused"].items():
        assert faults_of_spec(**{name: "x"}) == [f"{name}: {why}"]
        assert why.count(";") or "remove" in why
    for name, (why, is_map) in TYPES["Volume"]["refused"].items():
        assert is_map
        assert faults_of_spec(volumes=[{"name": "a", name: {}}]) == [f"volumes[0].{name}: {why}"]


def test_copy_is_clean_and_keeps_indexes() -> None:
    findings = Findings()
    container: dict[str, Any] = {"name": "a", "image": "b", "x": 1, "env": None, "args": ["a", 5], "tty": "yes"}
    clean = check({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [5, container]}}, findings)
    assert clean["spec"]["containers"] == [{}, {"name": "a", "image": "b", "args": ["a", ""]}]
    assert len(findings.faults) == 4
    assert container["x"] == 1


def test_label_and_annotation_forms() -> None:
    pod = {
        "metadata": {"labels": {"a": "b", "-a": "b", "c": "-", "e": None}, "annotations": {"A.B/C": "", "a/b/c": "x"}}
    }
    assert findings_of(pod).faults == [
        "metadata.labels[\"-a\"]: the key must have only letters, digits, '-', '_' and '.', and begin and end with a "
        "letter or digit",
        "metadata.labels[\"c\"]: must have only letters, digits, '-', '_' and '.', and begin and end with a letter or "
        'digit, not the text "-"',
        "metadata.annotations[\"a/b/c\"]: the key must have a domain of a-z, 0-9, '-' and '.' before the '/'",
    ]


def test_text_that_is_shown_is_cut() -> None:
    (fault,) = faults_of_container(tty="x" * 5000)
    assert len(fault) < 150


def test_import_leaves_the_client_out() -> None:
    modules = "schema", "checks", "pods", "containermanifest", "formats"
    code = f"import sys; from heat_config_kubelet import {', '.join(modules)}; schema._schema();"
    code += "print(sorted(m for m in ('kubernetes', 'yaml', 'difflib') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
