from __future__ import annotations

import json
import random
import re
import string
import time
from pathlib import Path
from typing import Any

import pytest
from corpus import cases

from heat_config_kubelet.errors import PodError
from heat_config_kubelet.pods import generated_name, pods_of
from heat_config_kubelet.values import Identity, Pod

IDENTITY = Identity("stack/11111111-2222-3333-4444-555555555555", "web_server")
SAMPLES = Path(__file__).parent.parent / "corpus" / "good"


def pod(name: str | None = "web", **spec: Any) -> dict[str, Any]:
    metadata = {"metadata": {"name": name}} if name else {}
    containers = [{"name": "main", "image": "app"}]
    return {"apiVersion": "v1", "kind": "Pod", **metadata, "spec": {"containers": containers, **spec}}


def one(config: object, **options: Any) -> Pod:
    (found,) = pods_of(config, identity=IDENTITY, **options)
    return found


def faults_of(config: object, **options: Any) -> tuple[str, ...]:
    with pytest.raises(PodError) as caught:
        pods_of(config, identity=IDENTITY, **options)
    return caught.value.faults


def test_map_yaml_and_json_are_the_same_pod() -> None:
    given = pod(terminationGracePeriodSeconds=5)
    yaml_text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"
        "spec:\n  containers: [{name: main, image: app}]\n  terminationGracePeriodSeconds: 5.0\n"
    )
    assert one(given) == one(json.dumps(given)) == one(yaml_text)


def test_manifest_is_whole() -> None:
    found = one({**pod(), "status": {"phase": "Running"}})
    assert found.key == ("default", "web")
    assert found.warnings == ()
    assert found.manifest == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "app"}]},
    }


def test_config_is_not_changed() -> None:
    given = {**pod(None, terminationGracePeriodSeconds=-5), "status": None}
    before = json.dumps(given)
    assert one(given).grace_seconds == 1
    old = {"version": "v1beta1", "containers": [{"name": "a", "image": "b", "cpu": 5, "resources": {"limits": None}}]}
    old_before = json.dumps(old)
    one(old)
    assert (json.dumps(given), json.dumps(old)) == (before, old_before)


def test_fields_that_a_server_sets_are_left_out() -> None:
    metadata = {
        "name": "web",
        "creationTimestamp": None,
        "generation": 2,
        "managedFields": [{"manager": "kubectl"}],
        "resourceVersion": "1",
        "selfLink": "/api",
    }
    assert one({**pod(), "metadata": metadata}).manifest["metadata"] == {"name": "web", "namespace": "default"}


def test_empty_values_are_left_out_of_the_manifest() -> None:
    found = one(pod(nodeSelector=None, volumes=[{"name": "a", "emptyDir": None}]))
    assert found.manifest["spec"]["volumes"] == [{"name": "a"}]
    assert "nodeSelector" not in found.manifest["spec"]


@pytest.mark.parametrize("config", [None, "", "---\n---\n", "# nothing", {}, {"apiVersion": "v1", "kind": "List"}])
def test_no_pod_is_a_fault(config: object) -> None:
    assert faults_of(config) == ("the config has no pod",)


@pytest.mark.parametrize("config", [[pod()], 5, True, b"apiVersion: v1", 1.5])
def test_config_of_another_type(config: object) -> None:
    (fault,) = faults_of(config)
    assert fault.startswith("the config must be a map or a text")


def test_order_is_kept() -> None:
    text = "\n---\n".join(json.dumps(pod(name)) for name in ("z", "a", "m"))
    assert [found.key.name for found in pods_of(text, identity=IDENTITY)] == ["z", "a", "m"]
    items = {"apiVersion": "v1", "kind": "List", "items": [pod("z"), None, pod("a")]}
    assert [found.key.name for found in pods_of(items, identity=IDENTITY)] == ["z", "a"]


def test_every_fault_is_told_and_says_where() -> None:
    bad = pod("b", hostNetwork="yes", dnsPolicy="Host")
    items = {"apiVersion": "v1", "kind": "List", "items": [pod("a"), bad, {"kind": "Service"}, 5], "more": 1}
    assert faults_of(items) == (
        "more: unknown field; a List has items",
        "items[3]: must be a map with a Pod, not a number",
        'items[1] (b): spec.hostNetwork: must be true or false, not the text "yes"',
        "items[1] (b): spec.dnsPolicy: must be one of ClusterFirst, ClusterFirstWithHostNet, Default, None, "
        'not the text "Host"',
        "items[2]: kind: must be Pod, List or PodList, not Service; a kubelet runs pods only",
    )


def test_documents_are_counted_in_faults() -> None:
    text = json.dumps(pod("a")) + "\n---\n" + json.dumps({"apiVersion": "v1", "kind": "List", "items": [{"kind": "X"}]})
    (fault,) = faults_of(text)
    assert fault.startswith("document 2: items[0]: kind: must be Pod")


@pytest.mark.parametrize(("items", "what"), [(5, "a number"), ({"a": 1}, "a map"), ("x", "a text"), (True, "true")])
def test_list_without_a_list(items: object, what: str) -> None:
    (fault,) = faults_of({"apiVersion": "v1", "kind": "List", "items": items})
    assert fault.startswith(f"items: must be a list, not {what}")


def test_list_of_another_version() -> None:
    assert faults_of({"kind": "PodList", "items": [pod()]}) == ("apiVersion: must be v1",)


def test_pod_list_items_need_no_kind_but_list_items_do() -> None:
    bare = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "main", "image": "app"}]}}
    assert one({"apiVersion": "v1", "kind": "PodList", "items": [bare]}).key.name == "a"
    faults = faults_of({"apiVersion": "v1", "kind": "List", "items": [bare]})
    assert faults == ("items[0]: apiVersion: is required", "items[0]: kind: is required")


def test_two_pods_of_one_name() -> None:
    text = json.dumps(pod("a")) + "\n---\n" + json.dumps(pod("a", hostNetwork=True))
    assert faults_of(text) == (
        "metadata.name: two pods of the config have the name default/a; give them different names",
    )


# --- names


def test_name_is_made_of_the_identity_and_never_of_the_content() -> None:
    name = one(pod(None)).key.name
    assert re.fullmatch(r"web-server-[0-9a-f]{8}", name)
    assert one(pod(None, hostNetwork=True)).key.name == name
    assert one({"version": "v1beta1", "containers": [{"name": "x", "image": "y"}]}).key.name == name
    assert one({**pod(None), "metadata": None}).key.name == name
    assert one({**pod(None), "metadata": {"name": ""}}).key.name == name
    assert one({**pod(None), "metadata": {"labels": {"a": "b"}}}).key.name == name


def test_several_without_a_name_are_counted() -> None:
    text = "\n---\n".join(json.dumps(each) for each in (pod(None), pod("named"), pod(None), pod(None)))
    first, named, second, third = (found.key.name for found in pods_of(text, identity=IDENTITY))
    assert named == "named"
    assert [second, third] == [f"{first}-2", f"{first}-3"]


def test_names_differ_by_stack_and_resource() -> None:
    identities = [
        IDENTITY,
        IDENTITY._replace(stack_id="stack/other"),
        IDENTITY._replace(resource_name="web-server"),
        IDENTITY._replace(resource_name="web.server"),
        Identity("", "web_server"),
    ]
    assert len({generated_name(identity, 0) for identity in identities}) == len(identities)


@pytest.mark.parametrize("resource", ["Ünïcode", "", "___", "A" * 300, "0", "a/b:c", "\ud800", "-a-"])
def test_name_of_any_resource_is_a_dns_name(resource: str) -> None:
    found = one(pod(None)) if not resource else pods_of(pod(None), identity=Identity("s", resource))[0]
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", found.key.name)
    assert len(found.key.name) <= 63


def test_name_with_the_nodes_name() -> None:
    name = "a" * 250
    assert one(pod(name), node_name="ab").key.name == name
    assert faults_of(pod(name), node_name="abc") == (
        "metadata.name: is too long: with the node's name it may have 253 characters",
    )


def test_generate_name_beside_a_name_is_taken() -> None:
    given = {**pod(), "metadata": {"name": "web", "generateName": "web-"}}
    assert one(given).manifest["metadata"]["generateName"] == "web-"
    assert faults_of({**pod(), "metadata": {"name": "web", "generateName": "Web-"}})[0].startswith(
        "metadata.generateName"
    )


# --- the content's hash


def test_hash_is_of_the_document_as_given() -> None:
    # Pinned: an agent that changes them restarts every pod of its users.
    assert one(pod()).content_hash == "7d604c78b59e35f6507d98d62c34dae0ff5e7047234d7285eb34350deab47426"
    old = {"version": "v1beta2", "id": "web", "containers": [{"name": "main", "image": "app"}]}
    assert one(old).content_hash == "edbe6e54a640d2803d7fcca98a6cf7e7154819864b9e0652eae499999e6eb37f"


def test_hash_does_not_change_with_the_order_of_keys_or_the_form() -> None:
    given = pod(hostNetwork=True, dnsPolicy="Default")
    turned = {name: given[name] for name in reversed(given)}
    turned["spec"] = {name: given["spec"][name] for name in reversed(given["spec"])}
    listed = {"apiVersion": "v1", "kind": "List", "items": [given]}
    hashes = {one(each).content_hash for each in (given, turned, json.dumps(turned, indent=4), listed)}
    assert len(hashes) == 1


def test_hash_changes_with_content_and_name() -> None:
    hashes = [
        one(pod()).content_hash,
        one(pod("other")).content_hash,
        one(pod(hostNetwork=False)).content_hash,
        one({**pod(), "metadata": {"name": "web", "namespace": "default"}}).content_hash,
        one({**pod(), "status": {}}).content_hash,
        one(pod(None)).content_hash,
        pods_of(pod(None), identity=Identity("other", "web_server"))[0].content_hash,
    ]
    assert len(set(hashes)) == len(hashes)


# --- strict or not


def test_unknown_fields_are_warnings_where_it_is_not_strict() -> None:
    given = pod(imagee="x", containers=[{"name": "main", "image": "app", "port": 80}])
    found = one(given, strict=False)
    assert set(found.warnings) == {
        'spec.containers[0].port: unknown field; did you mean "ports"?',
        "spec.imagee: unknown field",
    }
    assert "imagee" not in found.manifest["spec"]
    assert len(faults_of(given)) == 2
    assert one(pod(), strict=False).content_hash == one(pod()).content_hash


def test_other_faults_stay_faults_where_it_is_not_strict() -> None:
    assert len(faults_of(pod(restartPolicy="always", imagee="x"), strict=False)) == 1


def test_a_runtime_class_ends_a_kubelet_without_an_api_server() -> None:
    (fault,) = faults_of(pod(runtimeClassName="kata"))
    assert fault.startswith("spec.runtimeClassName") and "panic" in fault


def test_warnings() -> None:
    assert one(pod(restartPolicy="Never")).warnings == (
        "spec.restartPolicy: is Never; a finished static pod runs again after the kubelet restarts",
    )
    assert one(pod(priority=2000001000, priorityClassName="system-node-critical")).warnings == ()
    assert one(pod(priorityClassName="high")).warnings[0].startswith("spec.priorityClassName: has no effect without")
    assert one(pod(priority=5)).warnings[0].startswith("spec.priority: only 2000001000")
    assert one(pod(nodeName="other")).warnings[0].startswith("spec.nodeName")
    assert one(pod(affinity={"nodeAffinity": {}})).warnings == ()
    assert one(pod(affinity={"podAffinity": {}})).warnings[0].startswith("spec.affinity")


# --- anything at all


def verdict(config: object, **options: Any) -> tuple[str, ...]:
    """The faults of a config, none where it is taken; whatever else is raised goes through."""
    try:
        pods_of(config, identity=IDENTITY, **options)
    except PodError as error:
        return error.faults or ("",)
    return ()


WORDS = [
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "spec",
    "containers",
    "image",
    "v1",
    "Pod",
    "List",
    "items",
    "version",
]
WORDS += ["v1beta1", "volumes", "hostPath", "emptyDir", "ports", "containerPort", "resources", "limits", "cpu", "env"]
WORDS += [
    "valueFrom",
    "fieldRef",
    "livenessProbe",
    "httpGet",
    "port",
    "securityContext",
    "affinity",
    "labels",
    "source",
]
MARKS = [
    ": ",
    "\n",
    "\n  ",
    "\n- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    '"',
    "&a ",
    "*a",
    "<<: ",
    "!!int ",
    "!x ",
    "|",
    ">",
    "#",
]
MARKS += ["---\n", "...\n", "%YAML 1.1\n", "\t", "\\u0000", "é", "\x85", "? ", "-", "0x", ".inf", "~", "1e9", "\ud800"]


def test_random_text_raises_nothing_but_pod_errors() -> None:
    dice = random.Random(20260101)
    for _ in range(1500):
        text = "".join(dice.choice(dice.choice((WORDS, MARKS, string.printable))) for _ in range(dice.randint(1, 40)))
        assert all(verdict(text))


def test_damaged_corpus_raises_nothing_but_pod_errors() -> None:
    dice = random.Random(20260102)
    texts = [case.text for kind in ("good", "bad") for case in cases(kind)]
    for _ in range(1500):
        text = dice.choice(texts)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(text) + 1)
            text = (
                text[:at] + dice.choice(("", dice.choice(MARKS), dice.choice(WORDS))) + text[at + dice.randint(0, 9) :]
            )
        assert all(verdict(text, strict=dice.random() < 0.5))


def test_wrong_types_everywhere_raise_nothing_but_pod_errors() -> None:
    wrong: list[Any] = [None, True, 0, -1, 1.5, 2**70, "", "x", [], {}, [None], {"a": None}, [[1]], {"a": {"b": [1]}}]
    for case in cases("good"):
        for pod_found in pods_of(case.text, identity=IDENTITY):
            for replaced in _replaced(pod_found.manifest, wrong, random.Random(case.name)):
                assert all(verdict(replaced))


def test_wrong_types_in_an_old_manifest_raise_nothing_but_pod_errors() -> None:
    import yaml

    wrong: list[Any] = [
        None,
        True,
        -1,
        1.5,
        "x",
        [],
        {},
        [None],
        {"a": None},
        {"limits": 5},
        [{"source": {"secret": 1}}],
    ]
    document = yaml.safe_load((SAMPLES / "container-manifest-full.yaml").read_text())
    for replaced in _replaced(document, wrong, None):
        assert all(verdict(replaced))


def _replaced(value: Any, wrong: list[Any], dice: random.Random | None) -> Any:
    """Give copies of a value in which one part is another value; with dice, two of `wrong` for each part."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            for other in dice.sample(wrong, 2) if dice else wrong:
                copy: Any = dict(value) if isinstance(value, dict) else list(value)
                copy[key] = other
                yield copy
            for inner in _replaced(value[key], wrong, dice):
                copy = dict(value) if isinstance(value, dict) else list(value)
                copy[key] = inner
                yield copy


# --- speed


def test_one_pod_takes_less_than_two_milliseconds() -> None:
    text = (SAMPLES / "probes.yaml").read_text()
    pods_of(text, identity=IDENTITY)
    took = []
    for _ in range(20):
        began = time.process_time()
        pods_of(text, identity=IDENTITY)
        took.append(time.process_time() - began)
    assert min(took) < 0.002


def test_a_hundred_pods_take_less_than_a_third_of_a_second() -> None:
    text = (SAMPLES / "security.yaml").read_text()
    many = "\n---\n".join(text.replace("name: security", f"name: security-{n}") for n in range(100))
    began = time.process_time()
    assert len(pods_of(many, identity=IDENTITY)) == 100
    assert time.process_time() - began < 0.3


def test_text_that_no_file_can_hold_is_refused_with_its_place() -> None:
    """It would else be refused where the manifest is written, for every deployment."""
    odd = pod(containers=[{"name": "main", "image": "app", "args": ["x\ud800"]}])
    for config in (odd, json.dumps(odd)):
        (fault,) = faults_of(config)
        assert fault.startswith("spec.containers[0].args[0]: ") and "no UTF-8 file can hold" in fault
        fault.encode()
    odd = pod(nodeSelector={"k\udfff": "x"})
    for config in (odd, json.dumps(odd)):
        (fault,) = faults_of(config)
        assert fault.startswith("spec.nodeSelector: the key ") and "no UTF-8 file can hold" in fault
        fault.encode()
    (fault,) = faults_of('kind: Pod\nmetadata: {name: "x\\ud800"}\n')
    assert "line 2" in fault
    fault.encode()
