"""`validate`: the node's own verdict on every kind of file, with the line to mend, and never a traceback."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from corpus import FOLDER, Case, cases
from lab import expected
from support import pod_map, raw_entry

from heat_config_kubelet import cli, settings
from heat_config_kubelet.errors import PodError, SettingsError
from heat_config_kubelet.pods import pods_of
from heat_config_kubelet.values import Identity

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HEATS_OWN = ROOT / "tests" / "heat" / "templates" / "example-kubelet-template.yaml"
PODS_MD = ROOT / "docs" / "pods.md"
FAULTY = Path(__file__).parent / "data" / "validate" / "faulty.yaml"
PARSER = cli.parser()
TOP = "heat_template_version: 2021-04-16\n"
USED = """
  web_on_server:
    type: OS::Heat::{kind}Deployment
    properties:
      config: {{get_resource: web}}
      server: {{get_resource: server}}
      signal_transport: TEMP_URL_SIGNAL
"""


class Checker:
    """Runs the command in a folder of its own, as on a machine that has no agent."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.status = 0
        monkeypatch.chdir(folder)
        monkeypatch.delenv(settings.SETTINGS_VARIABLE, raising=False)
        monkeypatch.setattr(settings, "SETTINGS_FILE", folder / "etc" / "none.conf")
        monkeypatch.setattr(cli, "parser", lambda: PARSER)  # to make it costs more than to use it

    def write(self, name: str, content: Any) -> str:
        """Write a file: a text as it is, anything else as JSON."""
        text = content if isinstance(content, str) else json.dumps(content, indent=2)
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """Run it: exit status, output, errors."""
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self._capsys.readouterr()
        status = cli.main(["validate", *arguments])
        shown = self._capsys.readouterr()
        return status, shown.out, shown.err

    def findings(self, *arguments: str, severity: str = "error") -> list[str]:
        """Give what is found in files, each as `line:column message`; `status` is then the exit status."""
        self.status, out, err = self.run(*arguments, "-o", "json")
        assert not err
        return [
            f"{found['line']}:{found['column']} {found['message']}"
            for report in json.loads(out)
            for found in report["findings"]
            if found["severity"] == severity
        ]


@pytest.fixture
def checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Checker:
    return Checker(tmp_path, monkeypatch, capsys)


def template(config: str, *, kind: str = "Structured", parameters: str = "", used: bool = True) -> str:
    """A template with one config, whose lines begin with those of `config`, indented by eight."""
    return (
        f"{TOP}{parameters}resources:\n  web:\n    type: OS::Heat::{kind}Config\n    properties:\n"
        f"      group: kubelet\n      outputs: [{{name: why, error_output: true}}]\n      config:\n"
        + "".join(f"        {line}\n" for line in config.splitlines())
        + (USED.format(kind=kind) if used else "")
    )


# --- what the project itself has


def test_all_examples_are_good(checker: Checker) -> None:
    files = [str(path) for path in sorted(EXAMPLES.glob("*.yaml"))]
    assert len(files) > 7
    status, out, _ = checker.run(*files, "-o", "json")
    severities = [found["severity"] for report in json.loads(out) for found in report["findings"]]
    assert status == 0 and set(severities) <= {"note"}
    assert checker.run("--strict", *files)[0] == 0


def test_each_example_is_good_by_itself_and_in_its_cloud(checker: Checker) -> None:
    for path in EXAMPLES.glob("*.yaml"):
        if path.name not in ("web-pod.yaml", "my-cloud.yaml"):
            assert checker.run("--strict", "-e", str(EXAMPLES / "my-cloud.yaml"), str(path))[0] == 0


def test_the_first_template_of_the_readme_is_good(checker: Checker) -> None:
    (text,) = re.findall(r"```yaml\n(heat_template_version.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert checker.run("--strict", checker.write("first.yaml", text))[0] == 0


def test_heats_own_example_is_good_but_not_without_warnings(checker: Checker) -> None:
    shutil.copy(HEATS_OWN, "example.yaml")
    status, out, _ = checker.run("example.yaml")
    assert status == 0
    expected.check("validate/heats-own-example", out)
    assert checker.run("--strict", "example.yaml")[0] == 1


def test_the_documentation_shows_what_is_said(checker: Checker) -> None:
    (shown,) = re.findall(r"\$ heat-config-kubelet validate web.yaml\n(.*?)```", PODS_MD.read_text("utf-8"), re.DOTALL)
    shutil.copy(FAULTY.with_name("web.yaml"), "web.yaml")
    assert checker.run("web.yaml")[:2] == (1, shown)


# --- the corpus


@pytest.mark.parametrize("kind", ["good", "bad"])
def test_the_whole_corpus_is_judged_as_by_the_node(checker: Checker, kind: str) -> None:
    for case in cases(kind):
        name = checker.write("pod.yaml", case.text)
        assert checker.run(name)[0] == (kind == "bad"), case.name
        found = checker.findings(name)
        if kind == "bad":
            (fault,) = found
            (line, column), message = _numbers(fault)
            assert case.fault in f"config, line {line}, column {column}: {message}", (case.name, fault)
            assert not fault.startswith("0:") or case.name == "empty", (case.name, fault)
        else:
            assert found == [], case.name


def test_a_fault_in_a_template_has_the_line_of_the_template(checker: Checker) -> None:
    """Every bad file as the text of a SoftwareConfig: the same fault, as many lines below as the text begins."""
    for case in cases("bad"):
        alone = checker.findings(checker.write("pod.yaml", case.text))
        whole = checker.write("whole.yaml", template(case.text, kind="Software").replace("config:\n", "config: |\n", 1))
        (here,) = checker.findings(whole)
        (line, column), message = _numbers(here)
        (line_alone, column_alone), message_alone = _numbers(alone[0])
        assert message == message_alone, case.name
        if column_alone:
            assert (line, column) == (line_alone + 8, column_alone + 8), (case.name, here, alone)


def test_a_config_in_a_map_has_the_line_of_its_field(checker: Checker) -> None:
    """Every bad file that is plain YAML, as the map of a StructuredConfig."""
    judged = 0
    for case in cases("bad"):
        (alone,) = checker.findings(checker.write("pod.yaml", case.text))
        if not _is_plain(case):
            continue
        (here,) = checker.findings(checker.write("whole.yaml", template(case.text)))
        (line, column), message = _numbers(here)
        (line_alone, column_alone), message_alone = _numbers(alone)
        assert message == message_alone, case.name
        if column_alone > 1:
            assert (line, column) == (line_alone + 8, column_alone + 8), (case.name, here, alone)
            judged += 1
    assert judged > 100


def _numbers(finding: str) -> tuple[tuple[int, int], str]:
    place, message = finding.split(" ", 1)
    line, column = place.split(":")
    return (int(line), int(column)), message


def _is_plain(case: Case) -> bool:
    """Whether Heat's YAML and the kubelet's read the same in it, as one map."""
    try:
        values = list(yaml.safe_load_all(case.text))
    except yaml.YAMLError:
        return False
    special = ("boolean-key", "key-twice", "merge-after-keys", "infinity", "recursive-anchor", "foreign-tag")
    return len(values) == 1 and isinstance(values[0], dict) and case.name not in special


def test_the_corpus_as_metadata_is_judged_as_by_the_node(checker: Checker) -> None:
    for number, case in enumerate([*cases("good"), *cases("bad")]):
        entry = raw_entry(f"id-{number}", resource=f"r{number}", config=case.text)
        name = checker.write("heat.json", {"deployments": [entry]})
        found = checker.findings(name)
        assert len(found) == (case.path.parent.name == "bad"), case.name
        assert all(not each.startswith("0:") for each in found)
        if found:
            with pytest.raises(PodError) as caught:
                pods_of(case.text, identity=Identity("shop/5f1c", f"r{number}"))
            assert caught.value.faults[0] in found[0], case.name


# --- what is said of a template


def test_a_template_with_every_sort_of_fault(checker: Checker) -> None:
    shutil.copy(FAULTY, "faulty.yaml")
    status, out, err = checker.run("faulty.yaml")
    assert (status, err) == (1, "")
    expected.check("validate/faulty", out)
    status, out, _ = checker.run("faulty.yaml", "-o", "json")
    expected.check("validate/faulty-json", out)
    assert status == 1


def test_parameters_come_from_defaults_and_environments(checker: Checker) -> None:
    text = template(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"
        "spec: {containers: [{name: c, image: {get_param: image}, env: {get_param: env}}]}",
        parameters="parameters:\n  image: {type: string}\n  env: {type: json, default: {a: 1}}\n",
    )
    name = checker.write("t.yaml", text)
    assert checker.findings(name) == [
        "15:66 spec.containers[0].env: must be a list, not a map",
    ]
    environment = checker.write("e.yaml", "parameters: {image: nginx}\nparameter_defaults: {image: no, env: []}\n")
    assert checker.findings("-e", environment, name) == []
    assert "nginx is pulled at every start" in checker.findings("-e", environment, name, severity="warning")[0]
    bad = checker.write("b.yaml", "parameter_defaults: {image: 'Not An Image'}\n")
    (fault,) = checker.findings("-e", bad, name)[:1]
    assert 'not the text "Not An Image"' in fault


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("image", "{get_param: unknown}", ""),
        ("image", "{list_join: ['/', [registry.example, {get_param: unknown}]]}", ""),
        ("image", "{list_join: [':', [Nginx, '1']]}", 'not the text "Nginx:1"'),
        ("image", "{str_replace: {template: 'app:TAG', params: {TAG: {get_param: number}}}}", ""),
        ("image", "{str_replace: {template: 'App:TAG', params: {TAG: {get_param: unknown}}}}", ""),
        ("command", "{str_split: [' ', 'sleep 3600']}", ""),
        ("command", "{str_split: [' ', 'sleep 3600', 0]}", 'must be a list, not the text "sleep"'),
        ("args", "{repeat: {template: --with-%p%, for_each: {'%p%': [a, b]}}}", ""),
        ("env", "{repeat: {template: {name: '%n%', value: '%v%'}, for_each: {'%n%': [a], '%v%': [b, c]}}}", ""),
        ("env", "{repeat: {template: {name: x, v: '%n%'}, for_each: {'%n%': {a: 1}}}}", "env[0].v: unknown field"),
        ("args", "{repeat: {template: '%p%', for_each: {'%p%': [80]}}}", "repeat: Heat puts in texts alone, not 80"),
        ("args", "{repeat: {template: '%p%', for_each: {'%p%': {get_param: unknown}}}}", ""),
        ("image", "{list_join: [':', [nginx, {get_param: number}]]}", "list_join: Heat joins texts alone, not 7"),
        ("workingDir", "{get_param: [map, b, 0]}", ""),
        ("tty", "{if: [{equals: [{get_param: number}, 8]}, 'text']}", ""),
        ("args", "[{if: [{equals: [{get_param: number}, 8]}, {a: b}]}, x]", ""),
        ("args", "{list_concat_unique: [[a], [a]]}", ""),
        ("args", "{str_split: [',', 'a,b', 5]}", "str_split: there is no part 5"),
        ("env", "{list_concat: [[{name: a}], {get_param: unknown}]}", ""),
        ("env", "{list_concat: [[{name: a, key: b}], []]}", "env[0].key: unknown field"),
        ("resources", "{map_merge: [{limits: {cpu: 1}}, {requests: {cpu: 2}}]}", "requests"),
        ("resources", "{limits: {cpu: {get_param: unknown}}, requests: {cpu: 2}}", ""),
        ("tty", "{if: [{equals: [{get_param: number}, 7]}, true, 'text']}", ""),
        ("tty", "{if: [{not: {equals: [{get_param: number}, 7]}}, true, 'text']}", "must be true or false"),
        ("tty", "{if: [{equals: [{get_param: unknown}, 7]}, 1, 'text']}", ""),
        ("tty", "{get_param: truth}", ""),
        ("workingDir", "{get_param: [map, a, 0]}", ""),
        ("tty", "{get_param: [map, a, 0]}", 'not the text "/x"'),
        ("securityContext", "{privileged: true, allowPrivilegeEscalation: {get_param: unknown}}", ""),
        ("volumeMounts", "[{name: {get_param: unknown}, mountPath: /a}]", ""),
        ("volumeMounts", "[{name: data, mountPath: {get_param: unknown}}]", 'spec.volumes has no "data"'),
        ("readinessProbe", "{httpGet: {port: web}}", "web"),
        ("tty", "{yaql: {expression: x, data: {}}}", ""),
        ("tty", "{get_paramm: x}", "must be true or false"),
    ],
)
def test_functions_are_evaluated_and_what_only_heat_knows_is_not_judged(
    checker: Checker, field: str, value: str, fault: str
) -> None:
    image = "" if field == "image" else ", image: 'app:1'"
    text = template(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n"
        f"  containers: [{{name: c{image}, {field}: {value}}}]",
        parameters="parameters:\n  unknown: {type: string}\n  number: {type: number, default: '7'}\n"
        "  truth: {type: boolean, default: 'yes'}\n  map: {type: json, default: '{\"a\": [\"/x\"]}'}\n",
    )
    found = checker.findings(checker.write("t.yaml", text))
    if fault:
        assert len(found) == 1 and fault in found[0], found
    else:
        assert found == []


@pytest.mark.parametrize(
    ("others", "found"),
    [
        ("volumes: [{name: {get_param: unknown}, emptyDir: {}}]", []),
        ("volumes: {get_param: unknown}", []),
        ("volumes: [{name: other, hostPath: {path: {get_param: unknown}}}]", ['spec.volumes has no "data"']),
        ("hostNetwork: {get_param: unknown}", ['spec.volumes has no "data"']),
    ],
)
def test_a_fault_that_an_unknown_value_elsewhere_can_mend_is_left_out(
    checker: Checker, others: str, found: list[str]
) -> None:
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n"
        f"  - {{name: c, image: 'a:1', volumeMounts: [{{name: data, mountPath: /d}}]}}\n  {others}\n"
    )
    name = checker.write("t.yaml", template(pod, parameters="parameters: {unknown: {type: json}}\n"))
    assert [each.split(": ", 1)[1] for each in checker.findings(name)] == found
    assert "not judged: get_param unknown: it has no default" in checker.findings(name, severity="note")[0]


def test_inputs_are_those_of_each_deployment(checker: Checker) -> None:
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: {get_input: name}}\n"
        "spec: {containers: [{name: c, image: {get_input: image}, tty: {get_input: tty}}]}"
    )
    text = template(pod) + "      input_values: {name: one, tty: {get_attr: [server, x]}}\n"
    text += (
        USED.format(kind="Structured").replace("web_on", "second_on") + "      input_values: {image: 'a:1', name: 2}\n"
    )
    found = checker.findings(checker.write("t.yaml", text))
    assert [each.split(" ", 1)[1] for each in found] == [
        "metadata.name: must be text (put it in quotes), not the number 2",
        "spec.containers[0].image: is required, and has no value here (a get_input that is not given?)",
    ]
    status, out, _ = checker.run("t.yaml", "-o", "json")
    assert status == 1 and json.loads(out)[0]["pods"] == []


def test_a_component_is_judged_by_its_kubelet_parts(checker: Checker) -> None:
    text = f"""{TOP}resources:
  web:
    type: OS::Heat::SoftwareComponent
    properties:
      outputs: [{{name: why, error_output: true}}]
      configs:
      - {{actions: [CREATE], tool: script, config: "#!/bin/sh"}}
      - actions: [UPDATE]
        tool: kubelet
        config: |
          kind: Pod
      - {{actions: [DELETE], tool: kubelet}}
  on_server:
    type: OS::Heat::SoftwareDeployment
    properties: {{config: {{get_resource: web}}, server: x, signal_transport: HEAT_SIGNAL}}
"""
    name = checker.write("t.yaml", text)
    assert {each.split(" ")[1] for each in checker.findings(name)} == {"apiVersion:", "spec:"}
    assert all(each.startswith("12:11 ") for each in checker.findings(name))
    (warning,) = checker.findings(name, severity="warning")
    assert "DELETE among the actions and HEAT_SIGNAL" in warning


def test_resources_in_groups_and_templates_in_templates_are_found(checker: Checker) -> None:
    checker.write("pod.yaml", "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {name: c, image: A}\n")
    inner = template("{get_param: pod}", kind="Software", parameters="parameters: {pod: {type: string}}\n")
    checker.write("inner.yaml", inner)
    text = f"""{TOP}resources:
  many:
    type: OS::Heat::ResourceGroup
    properties:
      resource_def:
        type: OS::Heat::StructuredConfig
        properties:
          group: kubelet
          config: {{apiVersion: v1, kind: Pod, metadata: {{name: web-%index%}}, spec: {{}}}}
  nested:
    type: inner.yaml
    properties: {{pod: {{get_file: pod.yaml}}}}
"""
    status, out, _ = checker.run(checker.write("t.yaml", text), "pod.yaml", "inner.yaml", "-o", "json")
    whole, pod, nested = json.loads(out)
    assert status == 1 and whole["configs"] == 2
    errors = [found for found in whole["findings"] if found["severity"] == "error"]
    assert [(each["file"], each["line"], each["field"]) for each in errors] == [
        ("t.yaml", 10, "spec.containers"),
        ("pod.yaml", 5, "spec.containers[0].image"),
    ]
    assert (pod["kind"], nested["kind"]) == ("part", "part")
    assert pod["findings"][0]["message"] == "is judged as a part of t.yaml"


def test_two_deployments_on_one_server_cannot_have_a_pod_of_one_name(checker: Checker) -> None:
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: c, image: 'a:1'}]}}"
    text = template(pod) + USED.format(kind="Structured").replace("web_on", "other_on")
    (found,) = checker.findings(checker.write("t.yaml", text))
    assert "pod default/web: deployment web_on_server has a pod of that name" in found
    assert checker.findings(checker.write("t.yaml", text.replace("resource: server", "resource: s2", 1))) == []


def test_a_text_with_a_value_that_only_heat_knows_may_be_unreadable_without_it(checker: Checker) -> None:
    text = "str_replace:\n  params: {LIST: {get_param: list}}\n  template: |\n    kind: Pod\n    LIST\n"
    name = checker.write("t.yaml", template(text, kind="Software", parameters="parameters: {list: {type: string}}\n"))
    assert checker.findings(name) == []
    (note,) = checker.findings(name, severity="note")
    assert "cannot be read without a value that only Heat knows (get_param list: it has no default)" in note
    assert "zzvalue" not in note


# --- metadata


def test_metadata_in_every_form(checker: Checker) -> None:
    entry = raw_entry("a", config={**pod_map(), "kindd": 1})
    forms = [entry, [entry], {"deployments": [entry]}, {"heat": {"deployments": [entry]}, "ec2": {"x": 1}}]
    for form in forms:
        (found,) = checker.findings(checker.write("m.json", form))
        assert 'kindd: unknown field; did you mean "kind"?' in found
        line = int(found.split(":")[0])
        assert '"kindd"' in (checker.folder / "m.json").read_text().splitlines()[line - 1]


def test_metadata_as_the_node_sees_them(checker: Checker) -> None:
    entries = [
        raw_entry("old", config="not yaml: [", created="2026-11-22T10:00:00Z"),
        raw_entry("new", created="2026-11-22T11:00:00Z"),
        raw_entry("going", resource="going", action="DELETE", config="{"),
        raw_entry("twin", resource="twin", options={"images_timeout": "x"}),
        raw_entry("hook", resource="hook", group="script", config="#!/bin/sh"),
        {**raw_entry("broken", resource="b"), "inputs": 5},
    ]
    status, out, _ = checker.run(checker.write("heat.json", {"deployments": entries}))
    assert status == 1
    expected.check("validate/metadata", out)
    (list_fault,) = checker.findings(checker.write("m.json", {"deployments": {"a": 1}}))
    assert "deployments: must be a list" in list_fault


def test_no_secret_is_told(checker: Checker) -> None:
    secret = 1234567890123
    pod = pod_map()
    pod["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": secret}]
    entry = raw_entry(
        "a", config=pod, inputs={"deploy_password": "planted-secret"}, options={"strict": "planted-secret"}
    )
    for content in (pod, entry):
        status, out, err = checker.run(checker.write("x.json", content))
        assert status == 1 and "env[0].value: must be text" in out
        assert str(secret) not in out + err and "planted-secret" not in out + err


# --- the command


def test_standard_input_and_several_files(checker: Checker) -> None:
    good, bad = json.dumps(pod_map()), checker.write("bad.yaml", "kind: Pod\n")
    assert checker.run("-", stdin=good)[:2] == (0, "-: good: pod: default/web\n")
    status, out, _ = checker.run("-", bad, stdin=good)
    assert status == 1 and out.splitlines()[-1] == "bad.yaml: faulty: pod (2 errors)"


def test_strict_makes_faults_of_warnings(checker: Checker) -> None:
    name = checker.write("pod.json", pod_map(image="nginx"))
    assert checker.run(name)[0] == 0
    assert checker.run("--strict", name)[0] == 1
    (warning,) = checker.findings(name, severity="warning")
    assert "give it a tag, or set imagePullPolicy" in warning
    for image in ("nginx:1", "nginx@sha256:" + "0" * 64, "registry:5000/a:1"):
        assert checker.findings(checker.write("p.json", pod_map(image=image)), severity="warning") == []
    for image in ("nginx:latest", "registry:5000/a"):
        assert len(checker.findings(checker.write("p.json", pod_map(image=image)), severity="warning")) == 1


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [("nothere.yaml", None, "No such file"), ("bytes", b"\xff\xfe\x00", "is no UTF-8 text"), (".", None, "directory")],
)
def test_a_file_that_cannot_be_read_is_a_bad_argument(
    checker: Checker, name: str, content: bytes | None, told: str
) -> None:
    if content:
        (checker.folder / name).write_bytes(content)
    status, out, err = checker.run(name)
    assert (status, out) == (2, "") and told in err


def test_the_nodes_own_defaults_hold_where_there_are_settings(checker: Checker) -> None:
    name = checker.write("pod.json", {**pod_map(), "kindd": 1})
    checker.write("agent.conf", "[defaults]\nstrict = no\n")
    assert checker.run(name)[0] == 1
    assert checker.run(name, "--settings", "agent.conf")[0] == 0
    checker.write("agent.conf", "[defaults]\nstrict = perhaps\n")
    assert checker.run(name, "--settings", "agent.conf")[0] == 2


def test_settings_that_may_not_be_read_are_passed_over(checker: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise SettingsError("not yours") from PermissionError()

    monkeypatch.setattr(settings, "load", refuse)
    assert checker.run(checker.write("pod.json", pod_map()))[0] == 0
    assert checker.run("pod.json", "--settings", "named.conf")[0] == 2


def test_a_process_needs_none_of_the_nodes_modules(tmp_path: Path) -> None:
    program = "import sys; from heat_config_kubelet import cli; status = cli.main(sys.argv[1:]); print(*sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != settings.SETTINGS_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", program, "validate", str(HEATS_OWN)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
    )
    modules = done.stdout.splitlines()[-1].split()
    assert "heat_config_kubelet.validation.templates" in modules
    heavy = {"requests", "urllib3", "cryptography", "kubernetes", "subprocess.run", "heat_config_kubelet.store"}
    assert not heavy & set(modules)


# --- anything at all

BITS = (
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        "-",
        "\t",
        "\n",
        "|",
        ">",
        "&a ",
        "*a",
        "<<: *a",
        '"',
        "'",
        "%",
        "? ",
        "---\n",
        "é",
        "\0",
    ),
    *("null", "!!binary x", "0x", "1e999", ".nan", "\\ud800", "-1", "9" * 20, "true", "get_param", "get_file"),
    *("{get_input: x}", "{get_attr: [a]}", "{get_param: image}", "{repeat: {template: a, for_each: {a: [1]}}}"),
    *("str_replace", "deployments", "config", "resource_def", "OS::Heat::ResourceGroup", "zzvalue1zz", "{get_file: .}"),
)


def test_no_input_brings_a_traceback(checker: Checker) -> None:
    seeds = [path.read_text("utf-8") for path in (*EXAMPLES.glob("*.yaml"), *FOLDER.glob("*/*.yaml"), FAULTY)]
    seeds += [json.dumps({"deployments": [raw_entry("a"), raw_entry("b", config="a: b")]}, indent=1)]
    chance = random.Random(20211)
    statuses = set()
    for _ in range(600):
        text = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 2, 5))):
            text = _mutated(text, chance, seeds)
        (checker.folder / "x.yaml").write_text(text, encoding="utf-8")
        status, _, err = checker.run("x.yaml")
        statuses.add(status)
        assert not err, text
    assert statuses == {0, 1}


def _mutated(text: str, chance: random.Random, seeds: list[str]) -> str:
    at = chance.randrange(len(text) + 1)
    way = chance.randrange(4)
    if way == 0:
        return text[:at] + chance.choice(BITS) + text[at:]
    if way == 1:
        return text[:at] + text[at + chance.randrange(30) :]
    if way == 2:
        other = chance.choice(seeds)
        start = chance.randrange(len(other))
        return text[:at] + other[start : start + chance.randrange(200)] + text[at:]
    lines = text.split("\n")
    number = chance.randrange(len(lines))
    lines[number] = lines[number].split(":")[0] + ": " + chance.choice(BITS)
    return "\n".join(lines)
