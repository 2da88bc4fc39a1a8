"""Checks of a v1 Pod beyond its shape: the rules about several fields that a kubelet has for a static pod.

From pkg/apis/core/validation/validation.go (ValidatePodCreate), pkg/kubelet/config/common.go and
pkg/api/pod/util.go of Kubernetes 1.37; where a rule is stricter than the kubelet's, docs/pods.md says so.
What is read here is the typed copy that `schema.check` gives, so nothing is of a wrong type.

Not for: containers (`container_checks.py`), volumes (`volume_checks.py`), the shape (`schema.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import container_checks, formats, schema, volume_checks
from .schema import Findings

CRITICAL_PRIORITY = 2000001000
"""The one priority, with CRITICAL_CLASS, at which a static pod is never evicted."""
CRITICAL_CLASS = "system-node-critical"
OWN_PREFIX = "heat-config-kubelet/"
"""Of the annotations that the agent sets."""

_NAME_LENGTH = 253
_ANNOTATIONS_SIZE = 255 * 1024
"""A kubelet takes 256 KiB; what is left is for the annotations that it and the agent add."""
_KUBELETS_ANNOTATIONS = frozenset(f"kubernetes.io/config.{name}" for name in ("hash", "source", "mirror", "seen"))
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"
_IPC_SYSCTLS = frozenset(
    "kernel." + name
    for name in ("sem", "shm", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "msg", "msgmax", "msgmnb", "msgmni")
)


def check_pod(pod: dict[str, Any], findings: Findings, *, node_name: str = "") -> dict[str, Any]:
    """Check a v1 Pod, shape and rules; every fault and warning goes into `findings`.

    Gives the pod without nulls and without fields that no kubelet reads: what is to be written.
    `node_name` is what the kubelet adds to the pod's name.
    """
    clean = schema.check(pod, findings)
    metadata, spec = clean.get("metadata", {}), clean.get("spec")
    if clean.get("apiVersion", "v1") != "v1":
        findings.fault("apiVersion", f'must be v1, not "{clean["apiVersion"]:.60}"')
    _metadata(metadata, findings, node_name)
    if spec is None:
        if not isinstance(pod.get("spec"), (str, list, int, float)):
            findings.fault("spec", "is required")
        return clean
    _annotations(metadata.get("annotations", {}), spec, findings)
    _pod(spec, findings)
    _security(spec, findings)
    _affinity(spec, findings)
    _topology(spec.get("topologySpreadConstraints", []), findings)
    volume_checks.check_volumes(spec, findings)
    container_checks.check_containers(spec, findings)
    container_checks.check_pod_resources(spec, findings)
    _warnings(spec, findings)
    return clean


def _metadata(metadata: dict[str, Any], findings: Findings, node_name: str) -> None:
    name = metadata.get("name", "")
    if name and len(name) + 1 + max(len(node_name), 1) > _NAME_LENGTH:
        findings.fault("metadata.name", f"is too long: with the node's name it may have {_NAME_LENGTH} characters")
    if metadata.get("generateName") and formats.dns_subdomain(metadata["generateName"] + "x"):
        findings.fault("metadata.generateName", "must have only a-z, 0-9, '-' and '.'; or remove it")


def _annotations(annotations: dict[str, str], spec: dict[str, Any], findings: Findings) -> None:
    if sum(len(key.encode()) + len(value.encode()) for key, value in _encodable(annotations)) > _ANNOTATIONS_SIZE:
        findings.fault("metadata.annotations", f"have more than {_ANNOTATIONS_SIZE} bytes together")
    names = {container.get("name") for container in container_checks.all_containers(spec)}
    for key, value in annotations.items():
        wrong = _annotation(key, value, names)
        if wrong:
            findings.fault(f'metadata.annotations["{key}"]', wrong)


def _encodable(annotations: dict[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in annotations.items():
        yield key.encode("utf-8", "replace").decode(), value.encode("utf-8", "replace").decode()


def _annotation(key: str, value: str, containers: set[Any]) -> str:
    if key.startswith(OWN_PREFIX):
        return "is set by the agent; remove it"
    if key in _KUBELETS_ANNOTATIONS:
        return "is set by the kubelet; remove it"
    if key == _TOLERATIONS:
        return "is no longer read; write spec.tolerations"
    if key == _DELETION_COST:
        number = value.removeprefix("-")
        if not (number.isdigit() and number.isascii() and str(int(number[:20])) == number and int(number) < 2**31):
            return "must be a whole number of 32 bits"
    if key.startswith((_SECCOMP_POD, _SECCOMP_CONTAINER)):
        return "is no longer read; write securityContext.seccompProfile"
    if key.startswith(_APPARMOR):
        if key.removeprefix(_APPARMOR) not in containers:
            return "names a container that is not in the pod"
        if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
            return "must be runtime/default, unconfined or localhost/<profile>"
    return ""


def _pod(spec: dict[str, Any], findings: Findings) -> None:
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        findings.fault("spec.shareProcessNamespace", "cannot be true where hostPID is; remove one of them")
    _host_users(spec, findings)
    if "hostnameOverride" in spec:
        if len(spec["hostnameOverride"]) > 64:
            findings.fault("spec.hostnameOverride", "must have at most 64 characters")
        for field in ("setHostnameAsFQDN", "hostNetwork"):
            if spec.get(field):
                findings.fault("spec.hostnameOverride", f"cannot be set where {field} is true; remove one of them")
    _dns(spec, findings)
    for index, toleration in enumerate(spec.get("tolerations", [])):
        _toleration(toleration, f"spec.tolerations[{index}]", findings)
    container_checks.check_resources({"limits": spec.get("overhead", {})}, "spec.overhead", findings, below="")


def _host_users(spec: dict[str, Any], findings: Findings) -> None:
    if spec.get("hostUsers", True):
        return
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            findings.fault(f"spec.{field}", "cannot be true where hostUsers is false; remove one of them")


def _dns(spec: dict[str, Any], findings: Findings) -> None:
    config = spec.get("dnsConfig")
    if spec.get("dnsPolicy") == "None" and not (config or {}).get("nameservers"):
        findings.fault("spec.dnsConfig.nameservers", "is required where dnsPolicy is None")
    if not config:
        return
    if len(config.get("nameservers", [])) > 3:
        findings.fault("spec.dnsConfig.nameservers", "has more than 3 entries")
    searches = config.get("searches", [])
    if len(searches) > 32 or len(" ".join(searches)) > 2048:
        findings.fault("spec.dnsConfig.searches", "has more than 32 entries or 2048 characters")


def _toleration(toleration: dict[str, Any], path: str, findings: Findings) -> None:
    operator = toleration.get("operator") or "Equal"
    if not toleration.get("key") and operator != "Exists":
        findings.fault(f"{path}.operator", "must be Exists where there is no key")
    if operator == "Exists" and toleration.get("value"):
        findings.fault(f"{path}.value", "cannot be set where operator is Exists")
    if "tolerationSeconds" in toleration and toleration.get("effect") != "NoExecute":
        findings.fault(f"{path}.effect", "must be NoExecute where tolerationSeconds is set")


def _security(spec: dict[str, Any], findings: Findings) -> None:
    context = spec.get("securityContext", {})
    container_checks.check_profiles(context, "spec.securityContext", findings)
    seen = set()
    for index, sysctl in enumerate(context.get("sysctls", [])):
        name = sysctl.get("name", "").replace("/", ".")
        path = f"spec.securityContext.sysctls[{index}].name"
        if name and name in seen:
            findings.fault(path, f'"{name}" is there twice')
        seen.add(name)
        if spec.get("hostNetwork") and name.startswith("net."):
            findings.fault(path, "cannot be set for a pod in the host's network; set it on the node")
        if spec.get("hostIPC") and (name in _IPC_SYSCTLS or name.startswith("fs.mqueue.")):
            findings.fault(path, "cannot be set for a pod in the host's IPC namespace; set it on the node")


def _affinity(spec: dict[str, Any], findings: Findings) -> None:
    affinity = spec.get("affinity", {})
    required, preferred = (f"{word}DuringSchedulingIgnoredDuringExecution" for word in ("required", "preferred"))
    node = affinity.get("nodeAffinity", {})
    path = "spec.affinity.nodeAffinity"
    for index, term in enumerate(node.get(required, {}).get("nodeSelectorTerms", [])):
        _node_term(term, f"{path}.{required}.nodeSelectorTerms[{index}]", findings, values=True)
    for index, entry in enumerate(node.get(preferred, [])):
        _node_term(entry.get("preference", {}), f"{path}.{preferred}[{index}].preference", findings, values=False)
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind, {})
        for index, term in enumerate(terms.get(required, [])):
            _pod_term(term, f"spec.affinity.{kind}.{required}[{index}]", findings)
        for index, entry in enumerate(terms.get(preferred, [])):
            at = f"spec.affinity.{kind}.{preferred}[{index}].podAffinityTerm"
            _pod_term(entry.get("podAffinityTerm", {}), at, findings)


def _node_term(term: dict[str, Any], path: str, findings: Findings, *, values: bool) -> None:
    for index, expression in enumerate(term.get("matchExpressions", [])):
        at = f"{path}.matchExpressions[{index}]"
        _expression(expression, at, findings)
        if expression.get("key") and formats.label_key(expression["key"]):
            findings.fault(f"{at}.key", formats.label_key(expression["key"]))
        if expression.get("operator") in ("Gt", "Lt") and len(expression.get("values", [])) != 1:
            findings.fault(f"{at}.values", f"must be one value where operator is {expression['operator']}")
        for number, value in enumerate(expression.get("values", []) if values else []):
            if formats.label_value(value):
                findings.fault(f"{at}.values[{number}]", formats.label_value(value))
    for index, expression in enumerate(term.get("matchFields", [])):
        at = f"{path}.matchFields[{index}]"
        if expression.get("key", "metadata.name") != "metadata.name":
            findings.fault(f"{at}.key", "must be metadata.name")
        if expression.get("operator", "In") not in ("In", "NotIn") or len(expression.get("values", [])) != 1:
            findings.fault(at, "must have the operator In or NotIn and one value")
        for number, value in enumerate(expression.get("values", [])):
            if formats.dns_subdomain(value):
                findings.fault(f"{at}.values[{number}]", formats.dns_subdomain(value))


def _expression(expression: dict[str, Any], path: str, findings: Findings) -> None:
    operator, values = expression.get("operator"), expression.get("values", [])
    if operator in ("In", "NotIn") and not values:
        findings.fault(f"{path}.values", f"is required where operator is {operator}")
    if operator in ("Exists", "DoesNotExist") and values:
        findings.fault(f"{path}.values", f"cannot be set where operator is {operator}")


def _selector(holder: dict[str, Any], name: str, path: str, findings: Findings) -> None:
    for index, expression in enumerate(holder.get(name, {}).get("matchExpressions", [])):
        _expression(expression, f"{path}.{name}.matchExpressions[{index}]", findings)


def _pod_term(term: dict[str, Any], path: str, findings: Findings) -> None:
    _selector(term, "labelSelector", path, findings)
    _selector(term, "namespaceSelector", path, findings)
    _label_keys(term, ("matchLabelKeys", "mismatchLabelKeys"), path, findings)


def _label_keys(holder: dict[str, Any], fields: tuple[str, ...], path: str, findings: Findings) -> None:
    for field in fields:
        if holder.get(field) and "labelSelector" not in holder:
            findings.fault(f"{path}.{field}", "cannot be set without a labelSelector")


def _topology(constraints: list[dict[str, Any]], findings: Findings) -> None:
    seen = set()
    for index, constraint in enumerate(constraints):
        path = f"spec.topologySpreadConstraints[{index}]"
        pair = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"))
        if all(pair) and pair in seen:
            findings.fault(path, "is there twice: same topologyKey and whenUnsatisfiable")
        seen.add(pair)
        if "minDomains" in constraint and constraint.get("whenUnsatisfiable") != "DoNotSchedule":
            findings.fault(f"{path}.minDomains", "cannot be set unless whenUnsatisfiable is DoNotSchedule")
        _selector(constraint, "labelSelector", path, findings)
        _label_keys(constraint, ("matchLabelKeys",), path, findings)


def _warnings(spec: dict[str, Any], findings: Findings) -> None:
    policy = spec.get("restartPolicy") or "Always"
    if policy != "Always":
        findings.warn("spec.restartPolicy", f"is {policy}; a finished static pod runs again after the kubelet restarts")
    if spec.get("nodeName"):
        findings.warn("spec.nodeName", "is overwritten by the kubelet")
    for field in ("topologySpreadConstraints", "affinity"):
        where = spec.get(field, {})
        if where and (field != "affinity" or "podAffinity" in where or "podAntiAffinity" in where):
            findings.warn(f"spec.{field}", "static pods are not scheduled: it has no effect")
    _priority(spec, findings)


def _priority(spec: dict[str, Any], findings: Findings) -> None:
    priority, name = spec.get("priority"), spec.get("priorityClassName", "")
    if name and priority is None:
        findings.warn("spec.priorityClassName", f"has no effect without spec.priority ({CRITICAL_PRIORITY} for {name})")
    elif priority is not None and (priority, name) != (CRITICAL_PRIORITY, CRITICAL_CLASS):
        findings.warn(
            "spec.priority", f"only {CRITICAL_PRIORITY} with {CRITICAL_CLASS} keeps a static pod from eviction"
        )
