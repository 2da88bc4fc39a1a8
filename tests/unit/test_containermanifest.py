from __future__ import annotations

from typing import Any

import pytest

from heat_config_kubelet.containermanifest import convert, is_container_manifest
from heat_config_kubelet.errors import PodError
from heat_config_kubelet.pods import pods_of
from heat_config_kubelet.values import Identity

IDENTITY = Identity("stack/1", "web")


def spec_of(**fields: Any) -> Any:
    pod, faults = convert({"version": "v1beta1", "id": "web", **fields})
    assert faults == ()
    return pod["spec"]


def container_of(**fields: Any) -> Any:
    (container,) = spec_of(containers=[{"name": "main", "image": "app", **fields}])["containers"]
    return {name: value for name, value in container.items() if name not in ("name", "image")}


def volume_of(**fields: Any) -> Any:
    (volume,) = spec_of(volumes=[{"name": "data", **fields}])["volumes"]
    return {name: value for name, value in volume.items() if name != "name"}


def faults_of(**fields: Any) -> tuple[str, ...]:
    return tuple(map(str, convert({"version": "v1beta1", **fields})[1]))


def container_faults(**fields: Any) -> tuple[str, ...]:
    return faults_of(containers=[{"name": "main", "image": "app", **fields}])


def test_heats_own_example() -> None:
    config = {
        "version": "v1beta2",
        "containers": [
            {
                "name": "simple-echo",
                "image": "busybox",
                "command": ["nc", "-p", "8080", "-l", "-l", "-e", "echo", "hello world!"],
                "ports": [{"name": "nc-echo", "hostPort": 8080, "containerPort": 8080}],
            }
        ],
    }
    (pod,) = pods_of(config, identity=IDENTITY)
    assert pod.manifest["apiVersion"] == "v1"
    assert pod.manifest["spec"] == {
        "containers": [
            {
                "name": "simple-echo",
                "image": "busybox",
                "args": ["nc", "-p", "8080", "-l", "-l", "-e", "echo", "hello world!"],
                "ports": [{"name": "nc-echo", "hostPort": 8080, "containerPort": 8080}],
            }
        ]
    }


@pytest.mark.parametrize(
    ("document", "meant"),
    [
        ({"version": "v1beta1"}, True),
        ({"version": "v9"}, True),
        ({"kind": "ContainerManifest"}, True),
        ({"version": "1", "spec": {}}, False),
        ({"version": "1", "kind": "Pod"}, False),
        ({"containers": []}, False),
        ({}, False),
    ],
)
def test_what_is_meant_as_one(document: dict[str, Any], meant: bool) -> None:
    assert is_container_manifest(document) is meant


def test_id_is_the_name() -> None:
    pod, _ = convert({"version": "v1beta2", "id": "web", "kind": "ContainerManifest", "apiVersion": "v1beta2"})
    assert pod == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {}}


@pytest.mark.parametrize(("old", "new"), [("always", "Always"), ("onFailure", "OnFailure"), ("never", "Never")])
def test_restart_policy(old: str, new: str) -> None:
    assert spec_of(restartPolicy={old: {}}) == {"restartPolicy": new}


def test_restart_policy_may_be_empty() -> None:
    assert spec_of(restartPolicy={}) == {}
    assert spec_of(restartPolicy=None) == {}


@pytest.mark.parametrize("value", ["Always", {"always": {}, "never": {}}, {"sometimes": {}}, 5, []])
def test_restart_policy_of_another_form(value: object) -> None:
    assert faults_of(restartPolicy=value) == ("restartPolicy: must be {always: {}}, {onFailure: {}} or {never: {}}",)


def test_fields_of_the_manifest_that_stay() -> None:
    fields = {
        "dnsPolicy": "Default",
        "hostNetwork": True,
        "terminationGracePeriodSeconds": 5,
        "activeDeadlineSeconds": 9,
        "imagePullSecrets": [{"name": "a"}],
    }
    assert spec_of(**fields) == fields


def test_fields_of_a_container_that_stay() -> None:
    fields = {
        "workingDir": "/srv",
        "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1", "protocol": "UDP", "name": "a"}],
        "terminationMessagePath": "/dev/end",
        "resources": {"limits": {"cpu": "1"}},
        "securityContext": {"runAsUser": 5},
    }
    assert container_of(**fields) == fields


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"command": ["a"]}, {"args": ["a"]}),
        ({"entrypoint": ["a"]}, {"command": ["a"]}),
        ({"entrypoint": ["a"], "command": ["b"]}, {"command": ["a"], "args": ["b"]}),
        ({"cpu": 250}, {"resources": {"limits": {"cpu": "250m"}}}),
        ({"memory": 1048576}, {"resources": {"limits": {"memory": 1048576}}}),
        ({"cpu": 0, "memory": 0}, {}),
        (
            {"cpu": 5, "resources": {"limits": {"memory": "1Mi"}}},
            {"resources": {"limits": {"memory": "1Mi", "cpu": "5m"}}},
        ),
        ({"cpu": 5, "resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "1"}}}),
        ({"cpu": 5, "resources": {}}, {"resources": {"limits": {"cpu": "5m"}}}),
        ({"privileged": True}, {"securityContext": {"privileged": True}}),
        ({"privileged": True, "securityContext": {"privileged": False}}, {"securityContext": {"privileged": False}}),
        (
            {"capabilities": {"add": ["A"], "drop": ["B"]}},
            {"securityContext": {"capabilities": {"add": ["A"], "drop": ["B"]}}},
        ),
        ({"imagePullPolicy": "PullAlways"}, {"imagePullPolicy": "Always"}),
        ({"imagePullPolicy": "PullNever"}, {"imagePullPolicy": "Never"}),
        ({"imagePullPolicy": "PullIfNotPresent"}, {"imagePullPolicy": "IfNotPresent"}),
        ({"imagePullPolicy": ""}, {}),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "1"}]}),
        ({"env": [{"key": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "1"}]}),
        ({"env": [{"key": "OLD", "name": "NEW"}]}, {"env": [{"name": "NEW"}]}),
        ({"env": [{"name": "NEW", "key": "OLD"}]}, {"env": [{"name": "NEW"}]}),
        ({"env": [{"name": "", "key": "OLD"}]}, {"env": [{"name": "OLD"}]}),
        *(
            (
                {"env": [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1beta1", "fieldPath": old}}}]},
                {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": new}}}]},
            )
            for old, new in (("id", "metadata.name"), ("name", "metadata.name"), ("namespace", "metadata.namespace"))
        ),
        (
            {"volumeMounts": [{"name": "a", "mountPath": "/a", "readOnly": True}]},
            {"volumeMounts": [{"name": "a", "mountPath": "/a", "readOnly": True}]},
        ),
        (
            {"volumeMounts": [{"name": "a", "path": "/a", "mountType": "LOCAL"}]},
            {"volumeMounts": [{"name": "a", "mountPath": "/a"}]},
        ),
        (
            {"volumeMounts": [{"path": "/old", "mountPath": "/new"}, {"mountPath": "/new", "path": "/old"}]},
            {"volumeMounts": [{"mountPath": "/new"}, {"mountPath": "/new"}]},
        ),
        (
            {
                "livenessProbe": {
                    "type": "http",
                    "httpGet": {"path": "/", "port": "80", "host": "h"},
                    "timeoutSeconds": 2,
                }
            },
            {"livenessProbe": {"httpGet": {"path": "/", "port": 80, "host": "h"}, "timeoutSeconds": 2}},
        ),
        (
            {"readinessProbe": {"tcpSocket": {"port": "web"}, "initialDelaySeconds": 1}},
            {"readinessProbe": {"tcpSocket": {"port": "web"}, "initialDelaySeconds": 1}},
        ),
        (
            {"livenessProbe": {"type": "exec", "exec": {"command": ["true"]}}},
            {"livenessProbe": {"exec": {"command": ["true"]}}},
        ),
        (
            {"lifecycle": {"postStart": {"exec": {"command": ["a"]}}, "preStop": {"httpGet": {"port": 80}}}},
            {"lifecycle": {"postStart": {"exec": {"command": ["a"]}}, "preStop": {"httpGet": {"port": 80}}}},
        ),
    ],
)
def test_fields_of_a_container(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert container_of(**old) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"emptyDir": {}}),
        ({"source": {}}, {"emptyDir": {}}),
        ({"source": None}, {"emptyDir": {}}),
        ({"source": {"emptyDir": {"medium": "Memory"}}}, {"emptyDir": {"medium": "Memory"}}),
        ({"source": {"hostDir": {"path": "/srv"}}}, {"hostPath": {"path": "/srv"}}),
        ({"source": {"persistentDisk": {"pdName": "a"}}}, {"gcePersistentDisk": {"pdName": "a"}}),
        ({"source": {"gitRepo": {"repository": "a"}}}, {"gitRepo": {"repository": "a"}}),
        ({"source": {"secret": {"target": {"id": "a"}}}}, {"secret": {"secretName": "a"}}),
        ({"source": {"secret": {"target": {"name": "a"}}}}, {"secret": {"secretName": "a"}}),
        *(
            ({"source": {name: {"a": 1}}}, {name: {"a": 1}})
            for name in ("awsElasticBlockStore", "nfs", "iscsi", "glusterfs", "persistentVolumeClaim", "rbd")
        ),
    ],
)
def test_volume_sources(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert volume_of(**old) == new


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"version": "v1beta3"}, "version: must be v1beta1 or v1beta2, not v1beta3; write other pods as v1 Pods"),
        ({"version": {}}, "version: must be v1beta1 or v1beta2, not dict; write other pods as v1 Pods"),
        ({"apiVersion": "v1"}, "apiVersion: must be v1beta1 or v1beta2, not v1; write other pods as v1 Pods"),
        ({"uuid": "1"}, "uuid: the kubelet makes the pod's uid; remove it"),
        ({"name": "web"}, 'name: the old manifest\'s name is "id"'),
        ({"metadata": {}}, 'metadata: the old manifest has only "id"; for labels or a namespace write a v1 Pod'),
        ({"labels": {}}, "labels: the old manifest has no labels; write a v1 Pod"),
        ({"desiredState": {}}, "desiredState: is a v1beta1 Pod; give the manifest in it, or write a v1 Pod"),
        ({"volumes": [{"source": "x"}]}, "volumes[0].source: must be a map, such as {hostDir: {path: /srv}}"),
        (
            {"volumes": [{"source": {"hostPath": {}}}]},
            'volumes[0].source.hostPath: is called "hostDir" in the old manifest',
        ),
        (
            {"volumes": [{"emptyDir": {}}]},
            'volumes[0].emptyDir: in the old manifest a volume\'s source stands below "source"',
        ),
    ],
)
def test_what_the_manifest_cannot_have(fields: dict[str, Any], fault: str) -> None:
    assert faults_of(**fields) == (fault,)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"args": []}, 'args: what v1 calls "args" is "command" here, and "command" is "entrypoint"'),
        ({"envFrom": []}, "envFrom: is of v1; write a v1 Pod"),
        ({"cpu": "1"}, "cpu: must be a whole number of thousandths of a CPU"),
        ({"cpu": -1}, "cpu: must be a whole number of thousandths of a CPU"),
        ({"cpu": True}, "cpu: must be a whole number of thousandths of a CPU"),
        ({"memory": "64Mi"}, "memory: must be a whole number of bytes"),
        ({"cpu": 1, "resources": 5}, "cpu: cannot be moved into resources, which is no map"),
        ({"cpu": 1, "resources": {"limits": 5}}, "cpu: cannot be moved into resources, which is no map"),
        (
            {"privileged": True, "securityContext": []},
            "privileged: cannot be moved into securityContext, which is no map",
        ),
        ({"imagePullPolicy": "Always"}, "imagePullPolicy: must be one of PullAlways, PullNever, PullIfNotPresent"),
        (
            {"volumeMounts": [{"mountType": "HOST"}]},
            "volumeMounts[0].mountType: has no meaning any more; give the volume the source hostDir and remove it",
        ),
        ({"livenessProbe": {"enabled": True}}, "livenessProbe.enabled: has no meaning any more; remove it"),
        ({"livenessProbe": {"periodSeconds": 5}}, "livenessProbe.periodSeconds: is of v1; write a v1 Pod"),
        (
            {"livenessProbe": {"type": "tcp", "httpGet": {}}},
            "livenessProbe.type: does not fit: give httpGet, tcpSocket or exec, and remove it",
        ),
        (
            {"env": [{"valueFrom": {"fieldRef": {"fieldPath": "host"}}}]},
            "env[0].valueFrom.fieldRef.fieldPath: only the "
            "pod's name and namespace can be had; write a v1 Pod for others",
        ),
        ({"env": [{"nam": "A"}]}, "env[0].nam: no field of the old manifest; there are name, key, value, valueFrom"),
    ],
)
def test_what_a_container_cannot_have(fields: dict[str, Any], fault: str) -> None:
    assert container_faults(**fields) == (f"containers[0].{fault}",)


def test_version_is_needed() -> None:
    (fault,) = convert({"kind": "ContainerManifest"})[1]
    assert str(fault) == "version: is required: v1beta1 or v1beta2"


def test_wrong_types_are_left_to_the_checks_of_the_pod() -> None:
    config = {"version": "v1beta1", "containers": [5], "volumes": {}, "dnsPolicy": 1}
    with pytest.raises(PodError) as caught:
        pods_of(config, identity=IDENTITY)
    assert caught.value.faults == (
        "spec.containers[0]: must be a map, not the number 5",
        "spec.volumes: must be a list, not a map",
        "spec.dnsPolicy: must be text (put it in quotes), not the number 1",
    )


def test_references_are_refused_after_the_conversion() -> None:
    config = {
        "version": "v1beta1",
        "containers": [{"name": "a", "image": "b"}],
        "volumes": [{"name": "a", "source": {"secret": {"target": {"id": "x"}}}}],
        "imagePullSecrets": [{"name": "x"}],
    }
    with pytest.raises(PodError) as caught:
        pods_of(config, identity=IDENTITY)
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "spec.volumes[0].secret",
        "spec.imagePullSecrets",
    ]
