from __future__ import annotations

from typing import Any

import pytest

from heat_config_kubelet.checks import check_pod
from heat_config_kubelet.schema import Findings

EMPTY = {"name": "data", "emptyDir": {}}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def faults_of_pod(metadata: dict[str, Any] | None = None, **spec: Any) -> list[str]:
    findings = Findings()
    containers = [{"name": "main", "image": "app"}]
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers, **spec}}
    check_pod({**pod, "metadata": {"name": "web", **(metadata or {})}}, findings, node_name="node")
    return findings.faults


def spec_faults(**spec: Any) -> list[str]:
    return [fault.removeprefix("spec.") for fault in faults_of_pod(**spec)]


def container_faults(container: dict[str, Any], **spec: Any) -> list[str]:
    found = faults_of_pod(containers=[{"name": "main", "image": "app", **container}], **spec)
    return [fault.removeprefix("spec.containers[0].") for fault in found]


def init_faults(container: dict[str, Any], **spec: Any) -> list[str]:
    found = faults_of_pod(initContainers=[{"name": "first", "image": "app", **container}], **spec)
    return [fault.removeprefix("spec.initContainers[0].") for fault in found]


def volume_faults(**source: Any) -> list[str]:
    found = faults_of_pod(volumes=[{"name": "data", **source}])
    return [fault.removeprefix("spec.volumes[0].") for fault in found]


def test_pod_without_spec() -> None:
    for pod, faults in (
        ({"apiVersion": "v1", "kind": "Pod"}, ["spec: is required"]),
        ({"apiVersion": "v1", "kind": "Pod", "spec": None}, ["spec: is required"]),
        ({"apiVersion": "v1", "kind": "Pod", "spec": 5}, ["spec: must be a map, not the number 5"]),
        (
            {"apiVersion": "v2", "kind": "Pod", "spec": 5},
            ["spec: must be a map, not the number 5", 'apiVersion: must be v1, not "v2"'],
        ),
    ):
        findings = Findings()
        check_pod(pod, findings)
        assert findings.faults == faults


# --- metadata


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ({"name": "a" * 249}, "metadata.name: is too long: with the node's name it may have 253 characters"),
        ({"generateName": "A"}, "metadata.generateName: must have only a-z, 0-9, '-' and '.'; or remove it"),
        ({"annotations": {"a": "b" * 262144}}, "metadata.annotations: have more than 261120 bytes together"),
        (
            {"annotations": {"heat-config-kubelet/x": ""}},
            'metadata.annotations["heat-config-kubelet/x"]: is set by the agent; remove it',
        ),
        *(
            (
                {"annotations": {f"kubernetes.io/config.{name}": ""}},
                f'metadata.annotations["kubernetes.io/config.{name}"]: is set by the kubelet; remove it',
            )
            for name in ("hash", "source", "mirror", "seen")
        ),
        (
            {"annotations": {"scheduler.alpha.kubernetes.io/tolerations": "[]"}},
            'metadata.annotations["scheduler.alpha.kubernetes.io/tolerations"]: is no longer read; '
            "write spec.tolerations",
        ),
        *(
            (
                {"annotations": {"controller.kubernetes.io/pod-deletion-cost": value}},
                'metadata.annotations["controller.kubernetes.io/pod-deletion-cost"]: must be a whole number of 32 bits',
            )
            for value in ("", "x", "1.5", "+1", "01", "99999999999", "9" * 5000)
        ),
        (
            {"annotations": {"container.seccomp.security.alpha.kubernetes.io/main": "unconfined"}},
            'metadata.annotations["container.seccomp.security.alpha.kubernetes.io/main"]: is no longer read; write '
            "securityContext.seccompProfile",
        ),
        (
            {"annotations": {"container.apparmor.security.beta.kubernetes.io/other": "unconfined"}},
            'metadata.annotations["container.apparmor.security.beta.kubernetes.io/other"]: '
            "names a container that is not in the pod",
        ),
        (
            {"annotations": {"container.apparmor.security.beta.kubernetes.io/main": "x"}},
            'metadata.annotations["container.apparmor.security.beta.kubernetes.io/main"]: must be runtime/default, '
            "unconfined or localhost/<profile>",
        ),
    ],
)
def test_metadata(metadata: dict[str, Any], fault: str) -> None:
    assert faults_of_pod(metadata) == [fault]


def test_metadata_that_is_taken() -> None:
    annotations = {
        "container.apparmor.security.beta.kubernetes.io/main": "localhost/a",
        "controller.kubernetes.io/pod-deletion-cost": "-5",
        "heat-config/kubelet": "x",
        "a": "b" * 200_000,
        "surrogate": "\ud800",
    }
    assert faults_of_pod({"name": "a" * 248, "generateName": "web-", "annotations": annotations}) == []


# --- the pod


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        (
            {"shareProcessNamespace": True, "hostPID": True},
            "shareProcessNamespace: cannot be true where hostPID is; remove one of them",
        ),
        *(
            ({"hostUsers": False, name: True}, f"{name}: cannot be true where hostUsers is false; remove one of them")
            for name in ("hostNetwork", "hostPID", "hostIPC")
        ),
        ({"hostnameOverride": "a" * 65}, "hostnameOverride: must have at most 64 characters"),
        *(
            (
                {"hostnameOverride": "a", name: True},
                f"hostnameOverride: cannot be set where {name} is true; remove one of them",
            )
            for name in ("setHostnameAsFQDN", "hostNetwork")
        ),
        ({"dnsPolicy": "None"}, "dnsConfig.nameservers: is required where dnsPolicy is None"),
        (
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": []}},
            "dnsConfig.nameservers: is required where dnsPolicy is None",
        ),
        ({"dnsConfig": {"nameservers": ["1.1.1.1"] * 4}}, "dnsConfig.nameservers: has more than 3 entries"),
        ({"dnsConfig": {"searches": ["a"] * 33}}, "dnsConfig.searches: has more than 32 entries or 2048 characters"),
        (
            {"dnsConfig": {"searches": ["a" * 250] * 9}},
            "dnsConfig.searches: has more than 32 entries or 2048 characters",
        ),
        ({"tolerations": [{}]}, "tolerations[0].operator: must be Exists where there is no key"),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
            "tolerations[0].value: cannot be set where operator is Exists",
        ),
        (
            {"tolerations": [{"key": "a", "tolerationSeconds": 0}]},
            "tolerations[0].effect: must be NoExecute where tolerationSeconds is set",
        ),
        (
            {"tolerations": [{"key": "a", "operator": "Gt", "value": "1"}]},
            'tolerations[0].operator: must be one of Exists, Equal, not the text "Gt"',
        ),
        (
            {"overhead": {"x": "1"}},
            'overhead["x"]: must be cpu, memory, ephemeral-storage, hugepages-<size> or domain/name',
        ),
        ({"os": {}}, "os.name: is required"),
        ({"preemptionPolicy": ""}, 'preemptionPolicy: must be one of PreemptLowerPriority, Never, not the text ""'),
    ],
)
def test_pod(spec: dict[str, Any], fault: str) -> None:
    assert spec_faults(**spec) == [fault]


def test_pod_that_is_taken() -> None:
    assert spec_faults(hostUsers=False, shareProcessNamespace=True, overhead={"cpu": "1"}, os={"name": "linux"}) == []
    assert spec_faults(dnsPolicy="None", dnsConfig={"nameservers": ["::1"], "options": [{"name": "a"}]}) == []
    assert (
        spec_faults(tolerations=[{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 1}])
        == []
    )


@pytest.mark.parametrize(
    ("context", "spec", "fault"),
    [
        (
            {"seccompProfile": {"type": "Localhost"}},
            {},
            "seccompProfile.localhostProfile: is required for the type Localhost",
        ),
        (
            {"seccompProfile": {"type": "Unconfined", "localhostProfile": "a"}},
            {},
            "seccompProfile.localhostProfile: is only for the type Localhost; remove it",
        ),
        (
            {"seccompProfile": {"type": "Localhost", "localhostProfile": "../a"}},
            {},
            "seccompProfile.localhostProfile: must not contain '..', not the text \"../a\"",
        ),
        (
            {"appArmorProfile": {"type": "Localhost", "localhostProfile": ""}},
            {},
            "appArmorProfile.localhostProfile: is required for the type Localhost",
        ),
        (
            {"appArmorProfile": {"type": "Localhost", "localhostProfile": " a"}},
            {},
            "appArmorProfile.localhostProfile: must have no white space around it and at most 4095 characters",
        ),
        (
            {"appArmorProfile": {"type": "Localhost", "localhostProfile": "a" * 4096}},
            {},
            "appArmorProfile.localhostProfile: must have no white space around it and at most 4095 characters",
        ),
        ({"sysctls": [{"name": "kernel.a"}, {"name": "kernel/a"}]}, {}, 'sysctls[1].name: "kernel.a" is there twice'),
        (
            {"sysctls": [{"name": "net/ipv4/a"}]},
            {"hostNetwork": True},
            "sysctls[0].name: cannot be set for a pod in the host's network; set it on the node",
        ),
        (
            {"sysctls": [{"name": "kernel.shmmax"}]},
            {"hostIPC": True},
            "sysctls[0].name: cannot be set for a pod in the host's IPC namespace; set it on the node",
        ),
        (
            {"sysctls": [{"name": "fs.mqueue.a"}]},
            {"hostIPC": True},
            "sysctls[0].name: cannot be set for a pod in the host's IPC namespace; set it on the node",
        ),
    ],
)
def test_security_of_the_pod(context: dict[str, Any], spec: dict[str, Any], fault: str) -> None:
    assert spec_faults(securityContext=context, **spec)[0] == f"securityContext.{fault}"


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ({"key": "a", "operator": "In"}, ".values: is required where operator is In"),
        ({"key": "a", "operator": "Exists", "values": ["a"]}, ".values: cannot be set where operator is Exists"),
        ({"key": "a", "operator": "Gt"}, ".values: must be one value where operator is Gt"),
        (
            {"key": "a", "operator": "In", "values": ["-"]},
            ".values[0]: must have only letters, digits, '-', '_' and '.', and begin and end with a letter or digit",
        ),
        (
            {"key": "-", "operator": "Exists"},
            ".key: must have only letters, digits, '-', '_' and '.', and begin and end with a letter or digit",
        ),
    ],
)
def test_node_affinity(expression: dict[str, Any], fault: str) -> None:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    path = f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchExpressions[0]"
    assert spec_faults(affinity={"nodeAffinity": {REQUIRED: terms}}) == [path + fault]
    preferred = [{"weight": 1, "preference": {"matchExpressions": [expression]}}]
    path = f"affinity.nodeAffinity.{PREFERRED}[0].preference.matchExpressions[0]"
    faults = [] if "values[0]" in fault else [path + fault]
    assert spec_faults(affinity={"nodeAffinity": {PREFERRED: preferred}}) == faults


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ({"key": "a", "operator": "In", "values": ["a"]}, ".key: must be metadata.name"),
        ({"key": "metadata.name", "operator": "Exists"}, ": must have the operator In or NotIn and one value"),
        (
            {"key": "metadata.name", "operator": "In", "values": ["a", "b"]},
            ": must have the operator In or NotIn and one value",
        ),
        (
            {"key": "metadata.name", "operator": "In", "values": ["A"]},
            ".values[0]: must have only a-z, 0-9, '-' and '.', and each part must begin and end with a letter or digit",
        ),
    ],
)
def test_node_affinity_of_fields(expression: dict[str, Any], fault: str) -> None:
    terms = {"nodeSelectorTerms": [{"matchFields": [expression]}]}
    path = f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchFields[0]"
    assert spec_faults(affinity={"nodeAffinity": {REQUIRED: terms}}) == [path + fault]


@pytest.mark.parametrize("kind", ["podAffinity", "podAntiAffinity"])
@pytest.mark.parametrize("name", ["labelSelector", "namespaceSelector"])
def test_pod_affinity(kind: str, name: str) -> None:
    term = {"topologyKey": "a", name: {"matchExpressions": [{"key": "a", "operator": "NotIn"}]}}
    for field, terms, at in (
        (REQUIRED, [term], ""),
        (PREFERRED, [{"weight": 1, "podAffinityTerm": term}], ".podAffinityTerm"),
    ):
        assert spec_faults(affinity={kind: {field: terms}}) == [
            f"affinity.{kind}.{field}[0]{at}.{name}.matchExpressions[0].values: is required where operator is NotIn"
        ]


def test_pod_affinity_by_label_keys() -> None:
    for field in ("matchLabelKeys", "mismatchLabelKeys"):
        faults = spec_faults(affinity={"podAffinity": {REQUIRED: [{"topologyKey": "a", field: ["a"]}]}})
        assert faults == [f"affinity.podAffinity.{REQUIRED}[0].{field}: cannot be set without a labelSelector"]


@pytest.mark.parametrize(
    ("constraints", "fault"),
    [
        ([{}, {}], "[1]: is there twice: same topologyKey and whenUnsatisfiable"),
        (
            [{"whenUnsatisfiable": "ScheduleAnyway", "minDomains": 1}],
            "[0].minDomains: cannot be set unless whenUnsatisfiable is DoNotSchedule",
        ),
        ([{"matchLabelKeys": ["a"]}], "[0].matchLabelKeys: cannot be set without a labelSelector"),
        (
            [{"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}],
            "[0].labelSelector.matchExpressions[0].values: is required where operator is In",
        ),
    ],
)
def test_topology_spread(constraints: list[dict[str, Any]], fault: str) -> None:
    whole = {"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}
    given = [{**whole, **constraint} for constraint in constraints]
    assert spec_faults(topologySpreadConstraints=given) == [f"topologySpreadConstraints{fault}"]


# --- containers


def test_names_are_unique_over_all_containers() -> None:
    again = {"name": "main", "image": "app"}
    assert faults_of_pod(containers=[again, again]) == ['spec.containers[1].name: "main" is there twice']
    assert faults_of_pod(initContainers=[again]) == ['spec.initContainers[0].name: "main" is there twice']
    other = {"name": "other", "image": "app"}
    assert faults_of_pod(initContainers=[other, other]) == ['spec.initContainers[1].name: "other" is there twice']


def ports(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": f"c{n}", "image": "app", "ports": [port]} for n, port in enumerate(given)]


def test_ports() -> None:
    assert container_faults({"ports": [{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": 2}]}) == [
        'ports[1].name: "a" is there twice'
    ]
    one = {"containerPort": 80, "hostPort": 8080}
    assert faults_of_pod(containers=ports(one, one)) == [
        "spec.containers[1].ports[0].hostPort: TCP port 8080 of the host is taken twice in this pod"
    ]
    others: list[dict[str, Any]] = [
        {"protocol": "UDP"},
        {"hostIP": "127.0.0.1"},
        {"hostPort": 8081},
        {"hostPort": 0},
        {"hostPort": 0},
    ]
    assert faults_of_pod(containers=ports(one, *({**one, **other} for other in others))) == []
    assert faults_of_pod(initContainers=ports(one, one)) == []


def test_ports_on_the_hosts_network() -> None:
    assert faults_of_pod(hostNetwork=True, containers=ports({"containerPort": 80, "hostPort": 81})) == [
        "spec.containers[0].ports[0].hostPort: must be the containerPort, 80, or left out, where hostNetwork is true"
    ]
    assert faults_of_pod(hostNetwork=True, containers=ports({"containerPort": 80}, {"containerPort": 80})) == [
        "spec.containers[1].ports[0].hostPort: TCP port 80 of the host is taken twice in this pod"
    ]
    assert faults_of_pod(hostNetwork=True, containers=ports({"containerPort": 80}, {"containerPort": 81})) == []
    assert faults_of_pod(hostNetwork=True, initContainers=ports({"containerPort": 80, "hostPort": 81})) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ({"fieldRef": {"fieldPath": "metadata.labels"}}, ".fieldRef.fieldPath: must be one of metadata.name"),
        ({"fieldRef": {"fieldPath": "spec.schedulerName"}}, ".fieldRef.fieldPath: must be one of metadata.name"),
        ({"fieldRef": {"fieldPath": "metadata.labels['-']"}}, ".fieldRef.fieldPath: the key must have only"),
        ({"fieldRef": {"fieldPath": "metadata.name['a']"}}, ".fieldRef.fieldPath: only metadata.labels and"),
        ({"fieldRef": {"fieldPath": "['a']"}}, ".fieldRef.fieldPath: must be one of metadata.name"),
        ({"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v2"}}, ".fieldRef.apiVersion: must be one of v1"),
        ({"resourceFieldRef": {"resource": "cpu"}}, ".resourceFieldRef.resource: must be one of limits.cpu"),
        (
            {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}},
            ".resourceFieldRef.divisor: must be one of 1, 1m",
        ),
        (
            {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1m"}},
            ".resourceFieldRef.divisor: must be one of 1,",
        ),
        (
            {"resourceFieldRef": {"resource": "limits.cpu", "divisor": -1}},
            ".resourceFieldRef.divisor: must be one of 1, 1m",
        ),
        (
            {"fileKeyRef": {"key": "A", "path": "a", "volumeName": "x"}},
            '.fileKeyRef.volumeName: spec.volumes has no "x"',
        ),
        ({"fileKeyRef": {"key": "A", "path": "a", "volumeName": "host"}}, ".fileKeyRef.volumeName: the volume"),
        ({"fileKeyRef": {"key": "A", "path": "../a", "volumeName": "data"}}, ".fileKeyRef.path: must not contain"),
    ],
)
def test_environment(source: dict[str, Any], fault: str) -> None:
    volumes = [EMPTY, {"name": "host", "hostPath": {"path": "/"}}]
    (found,) = container_faults({"env": [{"name": "A", "valueFrom": source}]}, volumes=volumes)
    assert found.startswith(f"env[0].valueFrom{fault}")


@pytest.mark.parametrize(
    "source",
    [
        {"fieldRef": {"fieldPath": "spec.host"}},
        {"fieldRef": {"fieldPath": "status.hostIPs"}},
        {"fieldRef": {"fieldPath": "metadata.annotations['Example.org/A']"}},
        {"resourceFieldRef": {"resource": "requests.hugepages-2Mi", "divisor": "1Mi"}},
        {"resourceFieldRef": {"resource": "limits.memory", "divisor": 0, "containerName": "main"}},
        {"resourceFieldRef": {"resource": "limits.ephemeral-storage", "divisor": "1000"}},
        {"fileKeyRef": {"key": "A", "path": "a/b", "volumeName": "data"}},
        {"fileKeyRef": {"key": "A", "path": "a/b", "volumeName": "plain"}},
    ],
)
def test_environment_that_is_taken(source: dict[str, Any]) -> None:
    assert container_faults({"env": [{"name": "A", "valueFrom": source}]}, volumes=[EMPTY, {"name": "plain"}]) == []
    assert container_faults(
        {"env": [{"name": "A", "value": "1", "valueFrom": source}]}, volumes=[EMPTY, {"name": "plain"}]
    ) == ["env[0].valueFrom: cannot be set where value is; remove one of them"]


TCP: dict[str, Any] = {"tcpSocket": {"port": 80}}


@pytest.mark.parametrize(
    ("container", "fault"),
    [
        ({"livenessProbe": {**TCP, "successThreshold": 2}}, "livenessProbe.successThreshold: must be 1"),
        ({"startupProbe": {**TCP, "successThreshold": 2}}, "startupProbe.successThreshold: must be 1"),
        (
            {"readinessProbe": {**TCP, "terminationGracePeriodSeconds": 1}},
            "readinessProbe.terminationGracePeriodSeconds: a readinessProbe ends nothing; remove it",
        ),
        *(
            (
                {probe: {"tcpSocket": {"port": "x"}}},
                f'{probe}.tcpSocket.port: no port of the container has the name "x"',
            )
            for probe in ("livenessProbe", "readinessProbe", "startupProbe")
        ),
        (
            {"readinessProbe": {"httpGet": {"port": 80, "protocol": "HTTP2", "scheme": "HTTPS"}}},
            "readinessProbe.httpGet.protocol: HTTP2 is only for the scheme HTTP",
        ),
        (
            {"readinessProbe": {"httpGet": {"port": 80, "protocol": "HTTP2", "host": "a"}}},
            "readinessProbe.httpGet.host: cannot be set where protocol is HTTP2",
        ),
        (
            {"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}},
            "lifecycle.preStop.sleep.seconds: must be at most terminationGracePeriodSeconds (30)",
        ),
        (
            {"lifecycle": {"postStart": {"httpGet": {"port": "x"}}}},
            'lifecycle.postStart.httpGet.port: no port of the container has the name "x"',
        ),
        ({"lifecycle": {"stopSignal": "SIGTERM"}}, "lifecycle.stopSignal: needs spec.os.name: linux"),
        (
            {"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]},
            "restartPolicy: is required where restartPolicyRules is set",
        ),
        (
            {
                "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In"}}] * 21,
            },
            "restartPolicyRules: has more than 20 entries",
        ),
        (
            {
                "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1] * 256}}],
            },
            "restartPolicyRules[0].exitCodes.values: has more than 255 entries",
        ),
        (
            {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}] * 2},
            'resizePolicy[1]: "cpu" is there twice',
        ),
    ],
)
def test_probes_hooks_and_restarts(container: dict[str, Any], fault: str) -> None:
    assert container_faults(container) == [fault]
    if container.keys() & {"livenessProbe", "readinessProbe", "startupProbe", "lifecycle"}:
        assert init_faults({**container, "restartPolicy": "Always"}) == [fault]
        (name,) = container
        assert init_faults(container) == [f"{name}: an init container has it only with restartPolicy: Always"]


def test_probes_that_are_taken() -> None:
    named = {"ports": [{"name": "x", "containerPort": 1}], "readinessProbe": {"tcpSocket": {"port": "x"}}}
    assert container_faults({**named, "livenessProbe": {**TCP, "successThreshold": 0}}) == []
    assert (
        container_faults({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}, terminationGracePeriodSeconds=-9) == []
    )
    assert container_faults({"lifecycle": {"preStop": {"sleep": {}}}}, terminationGracePeriodSeconds=0) == []
    assert container_faults({"lifecycle": {"stopSignal": "SIGRTMIN+1"}}, os={"name": "linux"}) == []


def test_resize_policy() -> None:
    restart = {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}
    assert container_faults(restart) == []
    assert container_faults(restart, restartPolicy="Never") == [
        "resizePolicy[0].restartPolicy: must be NotRequired where the pod's restartPolicy is Never"
    ]
    assert init_faults({**restart, "restartPolicy": "Always"}) == []
    assert init_faults(restart) == [
        "resizePolicy[0].restartPolicy: an init container may have RestartContainer only with restartPolicy: Always"
    ]


@pytest.mark.parametrize(
    ("limits", "requests", "fault"),
    [
        ({"cpu": "1"}, {"cpu": "1001m"}, '.requests["cpu"]: must be at most the limit of 1'),
        ({"memory": "1Gi"}, {"memory": "1.1Gi"}, '.requests["memory"]: must be at most the limit of 1Gi'),
        ({"a.b/c": 2}, {"a.b/c": 1}, '.requests["a.b/c"]: must be the same as the limit of 2'),
        ({}, {"a.b/c": 1}, '.requests["a.b/c"]: needs the same limit'),
        ({"a.b/c": "1.5"}, {}, '.limits["a.b/c"]: must be a whole number'),
        ({"a.b/-": 1}, {}, '.limits["a.b/-"]: the name must have only letters'),
        ({"requests.a/c": 1}, {}, '.limits["requests.a/c"]: is no name of an extended resource'),
        ({"storage": 1}, {}, '.limits["storage"]: must be cpu, memory'),
        ({"hugepages-2Mi": "3Mi", "cpu": 1}, {}, '.limits["hugepages-2Mi"]: must be a multiple of the page\'s size'),
        ({"hugepages-x": "3Mi", "cpu": 1}, {}, '.limits["hugepages-x"]: must be a multiple of the page\'s size'),
        ({"hugepages-0": "3Mi", "cpu": 1}, {}, '.limits["hugepages-0"]: must be a multiple of the page\'s size'),
        ({"hugepages-2Mi": "4Mi"}, {}, ": hugepages need cpu or memory beside them"),
        ({"cpu": 1}, {"hugepages-2Mi": "4Mi"}, '.requests["hugepages-2Mi"]: needs the same limit'),
    ],
)
def test_resources(limits: dict[str, Any], requests: dict[str, Any], fault: str) -> None:
    (found,) = container_faults({"resources": {"limits": limits, "requests": requests}})
    assert found.startswith(f"resources{fault}")


def test_resources_that_are_taken() -> None:
    limits = {"cpu": 1, "memory": "1024Ki", "a.b/c": "2", "hugepages-2Mi": 0, "kubernetes.io/x": "1.5"}
    assert container_faults({"resources": {"limits": limits, "requests": {"cpu": "1000m", "memory": "1Mi"}}}) == []


def with_resources(cpu: str, **more: Any) -> dict[str, Any]:
    return {"name": "c" + cpu.replace(".", "-"), "image": "app", "resources": {"requests": {"cpu": cpu}}, **more}


def test_resources_of_the_pod() -> None:
    too_little = ['spec.resources.requests["cpu"]: is less than what the containers\' requests come to']
    given = {"resources": {"requests": {"cpu": "3"}}}
    assert faults_of_pod(**given, containers=[with_resources("1"), with_resources("2")]) == []
    assert faults_of_pod(**given, containers=[with_resources("1"), with_resources("2001m")]) == too_little
    stays = with_resources("1500m", restartPolicy="Always")
    assert faults_of_pod(**given, containers=[with_resources("1")], initContainers=[stays, with_resources("1.5")]) == []
    assert (
        faults_of_pod(**given, containers=[with_resources("1")], initContainers=[stays, with_resources("1.6")])
        == too_little
    )
    assert faults_of_pod(**given, containers=[with_resources("1.6")], initContainers=[stays]) == too_little
    by_limit = {"name": "c", "image": "app", "resources": {"limits": {"cpu": 4}}}
    assert faults_of_pod(**given, containers=[by_limit]) == too_little


def test_limits_of_the_pod() -> None:
    limited = [{"name": "c", "image": "app", "resources": {"limits": {"cpu": 2, "memory": "1Gi"}}}]
    assert faults_of_pod(resources={"limits": {"cpu": 1}}, containers=limited) == [
        'spec.containers[0].resources.limits["cpu"]: must be at most the pod\'s limit of 1'
    ]
    huge = {"limits": {"hugepages-2Mi": "4Mi", "cpu": 1}}
    two = [{"name": name, "image": "app", "resources": huge} for name in "ab"]
    assert faults_of_pod(resources={"limits": {"hugepages-2Mi": "4Mi", "cpu": 2}}, containers=two) == [
        'spec.resources.limits["hugepages-2Mi"]: is less than what the containers\' limits come to'
    ]
    assert faults_of_pod(resources={"requests": {"ephemeral-storage": 1}}) == [
        'spec.resources.requests["ephemeral-storage"]: only cpu, memory and hugepages are counted for the pod'
    ]


@pytest.mark.parametrize(
    ("context", "spec", "fault"),
    [
        ({"procMount": "Unmasked"}, {}, "procMount: Unmasked needs spec.hostUsers: false"),
        (
            {"allowPrivilegeEscalation": False, "privileged": True},
            {},
            "allowPrivilegeEscalation: cannot be false where privileged is true",
        ),
        (
            {"allowPrivilegeEscalation": False, "capabilities": {"add": ["CAP_SYS_ADMIN"]}},
            {},
            "allowPrivilegeEscalation: cannot be false where CAP_SYS_ADMIN is added",
        ),
        (
            {"runAsUser": 0, "runAsNonRoot": True},
            {},
            "runAsUser: is 0 (root) where runAsNonRoot is true: the container would never start",
        ),
        (
            {"runAsUser": 0},
            {"securityContext": {"runAsNonRoot": True}},
            "runAsUser: is 0 (root) where runAsNonRoot is true: the container would never start",
        ),
        (
            {"runAsNonRoot": True},
            {"securityContext": {"runAsUser": 0}},
            "runAsUser: is 0 (root) where runAsNonRoot is true: the container would never start",
        ),
        (
            {"seccompProfile": {"type": "Localhost"}},
            {},
            "seccompProfile.localhostProfile: is required for the type Localhost",
        ),
    ],
)
def test_security_of_a_container(context: dict[str, Any], spec: dict[str, Any], fault: str) -> None:
    assert container_faults({"securityContext": context}, **spec) == [f"securityContext.{fault}"]


def test_security_that_is_taken() -> None:
    assert container_faults({"securityContext": {"procMount": "Unmasked"}}, hostUsers=False) == []
    context = {"allowPrivilegeEscalation": False, "capabilities": {"add": ["SYS_ADMIN"]}, "runAsUser": 5}
    assert container_faults({"securityContext": context}, securityContext={"runAsNonRoot": True, "runAsUser": 0}) == []


# --- volumes


def test_volume_names_are_unique() -> None:
    assert spec_faults(volumes=[EMPTY, EMPTY]) == ['volumes[1].name: "data" is there twice']


LABELS = {"path": "a", "fieldRef": {"fieldPath": "metadata.labels"}}


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (
            {"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "status.podIP"}}]}},
            "downwardAPI.items[0].fieldRef.fieldPath: must be one of metadata.annotations",
        ),
        (
            {"downwardAPI": {"items": [{"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}}]}},
            "downwardAPI.items[0].resourceFieldRef.containerName: is required",
        ),
        (
            {"downwardAPI": {"items": [{"path": "..a", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            "downwardAPI.items[0].path: must not begin with '..'",
        ),
        (
            {"projected": {"sources": [{"downwardAPI": {"items": [LABELS]}}, {"downwardAPI": {"items": [LABELS]}}]}},
            'projected.sources[1].downwardAPI.items[0].path: "a" is there twice',
        ),
        ({"projected": {"sources": [{}]}}, "projected.sources[0]: needs one of downwardAPI"),
        ({"fc": {}}, "fc: needs either targetWWNs or wwids"),
        ({"fc": {"targetWWNs": ["a"], "wwids": ["a"], "lun": 1}}, "fc: needs either targetWWNs or wwids"),
        ({"fc": {"targetWWNs": ["a"]}}, "fc.lun: must be from 0 to 255 where targetWWNs is set"),
        ({"fc": {"targetWWNs": ["a"], "lun": 256}}, "fc.lun: must be from 0 to 255 where targetWWNs is set"),
        (
            {"iscsi": {"targetPortal": "a", "iqn": "eui.0123456789abcdef", "chapAuthSession": True}},
            "iscsi: CHAP needs a secret",
        ),
        (
            {
                "iscsi": {
                    "targetPortal": "a" * 60,
                    "iqn": "eui.0123456789abcdef",
                    "initiatorName": "eui.0123456789abcdef",
                }
            },
            "iscsi.targetPortal: with the volume's name",
        ),
        (
            {"flexVolume": {"driver": "a/b", "options": {"x.k8s.io/a": ""}}},
            'flexVolume.options["x.k8s.io/a"]: kubernetes.io and k8s.io are reserved',
        ),
        ({"emptyDir": {"mode": 0o2000}}, "emptyDir.mode: must be from 0 to 1023"),
    ],
)
def test_volumes(source: dict[str, Any], fault: str) -> None:
    (found,) = volume_faults(**source)
    assert found.startswith(fault)


def test_volumes_that_are_taken() -> None:
    assert volume_faults(fc={"wwids": ["a"], "lun": 999}) == []
    assert volume_faults(flexVolume={"driver": "a/b", "options": {"mykubernetes.io": "", "k8s.io.example": ""}}) == []
    assert volume_faults(downwardAPI={"items": [LABELS, LABELS]}) == []
    assert volume_faults(emptyDir={"mode": 0o1777}) == []


@pytest.mark.parametrize(
    ("mounts", "fault"),
    [
        ([{"name": "x"}], 'volumeMounts[0].name: spec.volumes has no "x"'),
        ([{}, {}], 'volumeMounts[1].mountPath: "/data" is mounted twice'),
        (
            [{"subPath": "a", "subPathExpr": "b"}],
            "volumeMounts[0].subPathExpr: cannot be set where subPath is; remove one of them",
        ),
        (
            [{"mountPropagation": "Bidirectional"}],
            "volumeMounts[0].mountPropagation: Bidirectional is for privileged containers only",
        ),
        ([{"recursiveReadOnly": "IfPossible"}], "volumeMounts[0].recursiveReadOnly: needs readOnly: true"),
        (
            [{"recursiveReadOnly": "Enabled", "readOnly": True, "mountPropagation": "HostToContainer"}],
            "volumeMounts[0].recursiveReadOnly: cannot be set together with mountPropagation",
        ),
        ([{"bindMountOptions": ["nodev", "nodev"]}], "volumeMounts[0].bindMountOptions: has an entry twice"),
        (
            [{"name": "image", "bindMountOptions": ["nodev"]}],
            "volumeMounts[0].bindMountOptions: cannot be used with an image volume",
        ),
    ],
)
def test_mounts(mounts: list[dict[str, Any]], fault: str) -> None:
    volumes = [EMPTY, {"name": "image", "image": {"reference": "app"}}]
    given = [{"name": "data", "mountPath": "/data", **mount} for mount in mounts]
    assert container_faults({"volumeMounts": given}, volumes=volumes) == [fault]


def test_mounts_that_are_taken() -> None:
    mounts = [
        {"name": "data", "mountPath": "/a", "subPath": "x", "readOnly": True, "recursiveReadOnly": "Enabled"},
        {
            "name": "data",
            "mountPath": "/b",
            "mountPropagation": "Bidirectional",
            "bindMountOptions": ["nodev", "noexec"],
        },
        {"name": "data", "mountPath": "relative", "subPathExpr": "$(POD)"},
    ]
    assert container_faults({"volumeMounts": mounts, "securityContext": {"privileged": True}}, volumes=[EMPTY]) == []


def test_block_devices_are_refused() -> None:
    assert container_faults({"volumeDevices": [{"name": "data", "devicePath": "/dev/a"}]}, volumes=[EMPTY]) == [
        "volumeDevices[0]: needs a persistent volume claim, which static pods may not use; use hostPath"
    ]
