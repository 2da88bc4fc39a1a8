"""Checks of a pod's containers: names, ports, probes, environment, resources, security.

From pkg/apis/core/validation/validation.go (validateContainers, validateInitContainers,
ValidateContainerResourceRequirements, ValidateSecurityContext) and pkg/apis/core/v1/defaults.go of Kubernetes 1.37.
What is read here is the typed copy that `schema.check` gives.

Not for: the shape (`schema.py`), what is mounted (`volume_checks.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import formats, volume_checks
from .schema import Findings

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_STANDARD_RESOURCES = frozenset(("cpu", "memory", "ephemeral-storage"))
_HUGE = "hugepages-"
_MOST_RESTART_RULES = 20
_MOST_EXIT_CODES = 255
_DEFAULT_GRACE = 30
_MOST_APPARMOR = 4095


def all_containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the init containers and the containers."""
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def check_containers(spec: dict[str, Any], findings: Findings) -> None:
    """Check spec.initContainers and spec.containers."""
    volumes = {volume["name"]: volume for volume in spec.get("volumes", []) if volume.get("name")}
    names: set[str] = set()
    ports: set[tuple[str, str, int]] = set()
    for index, container in enumerate(spec.get("containers", [])):
        path = f"spec.containers[{index}]"
        _container(container, path, spec, volumes, findings)
        _name(container, path, names, findings)
        _host_ports(container, path, ports, spec, findings)
        _lifecycle(container, path, spec, findings)
        _restart_rules(container, path, findings)
    for index, container in enumerate(spec.get("initContainers", [])):
        path = f"spec.initContainers[{index}]"
        _container(container, path, spec, volumes, findings)
        _name(container, path, names, findings)
        _host_ports(container, path, set(), spec, findings)
        _init(container, path, spec, findings)
        _restart_rules(container, path, findings)


def _name(container: dict[str, Any], path: str, names: set[str], findings: Findings) -> None:
    name = container.get("name", "")
    if name and name in names:
        findings.fault(f"{path}.name", f'"{name}" is there twice')
    names.add(name)


def _container(
    container: dict[str, Any], path: str, spec: dict[str, Any], volumes: dict[str, Any], findings: Findings
) -> None:
    _port_names(container.get("ports", []), path, findings)
    _environment(container.get("env", []), f"{path}.env", volumes, findings)
    volume_checks.check_mounts(container, volumes, path, findings)
    check_resources(container.get("resources", {}), f"{path}.resources", findings)
    _resize(container.get("resizePolicy", []), path, spec, findings)
    if "securityContext" in container:
        _security(container["securityContext"], path, spec, findings)


def _port_names(ports: list[dict[str, Any]], path: str, findings: Findings) -> None:
    seen = set()
    for index, port in enumerate(ports):
        name = port.get("name", "")
        if name and name in seen:
            findings.fault(f"{path}.ports[{index}].name", f'"{name}" is there twice')
        seen.add(name)


def _host_ports(
    container: dict[str, Any], path: str, taken: set[tuple[str, str, int]], spec: dict[str, Any], findings: Findings
) -> None:
    for index, port in enumerate(container.get("ports", [])):
        inside, outside = port.get("containerPort", 0), port.get("hostPort", 0)
        at = f"{path}.ports[{index}].hostPort"
        if spec.get("hostNetwork"):
            if outside and inside and outside != inside and path.startswith("spec.containers"):
                findings.fault(at, f"must be the containerPort, {inside}, or left out, where hostNetwork is true")
            outside = outside or inside
        if not outside:
            continue
        key = (port.get("protocol") or "TCP", port.get("hostIP", ""), outside)
        if key in taken:
            findings.fault(at, f"{key[0]} port {outside} of the host is taken twice in this pod")
        taken.add(key)


def _environment(
    variables: list[dict[str, Any]], path: str, volumes: dict[str, dict[str, Any]], findings: Findings
) -> None:
    for index, variable in enumerate(variables):
        source = variable.get("valueFrom")
        if source is None:
            continue
        at = f"{path}[{index}].valueFrom"
        if variable.get("value"):
            findings.fault(at, "cannot be set where value is; remove one of them")
        if "fieldRef" in source:
            volume_checks.check_field(source["fieldRef"], f"{at}.fieldRef", findings)
        if "resourceFieldRef" in source:
            volume_checks.check_resource_field(source["resourceFieldRef"], f"{at}.resourceFieldRef", findings)
        name = source.get("fileKeyRef", {}).get("volumeName")
        if name and name not in volumes:
            findings.fault(f"{at}.fileKeyRef.volumeName", f'spec.volumes has no "{name}"')
        elif name and not _is_empty_dir(volumes[name]):
            findings.fault(f"{at}.fileKeyRef.volumeName", f'the volume "{name}" must be an emptyDir')


def _is_empty_dir(volume: dict[str, Any]) -> bool:
    return "emptyDir" in volume or volume.keys() == {"name"}


def _lifecycle(container: dict[str, Any], path: str, spec: dict[str, Any], findings: Findings) -> None:
    """Check the probes and hooks of a container that stays."""
    ports = {port["name"] for port in container.get("ports", []) if port.get("name")}
    for field in _PROBES:
        if field in container:
            _handler(container[field], f"{path}.{field}", ports, findings)
    for field in ("livenessProbe", "startupProbe"):
        if container.get(field, {}).get("successThreshold", 1) not in (0, 1):
            findings.fault(f"{path}.{field}.successThreshold", "must be 1")
    if "terminationGracePeriodSeconds" in container.get("readinessProbe", {}):
        findings.fault(
            f"{path}.readinessProbe.terminationGracePeriodSeconds", "a readinessProbe ends nothing; remove it"
        )
    lifecycle = container.get("lifecycle", {})
    grace = spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE)
    for field in ("postStart", "preStop"):
        hook, at = lifecycle.get(field, {}), f"{path}.lifecycle.{field}"
        _handler(hook, at, ports, findings)
        if hook.get("sleep", {}).get("seconds", 0) > (grace if grace >= 0 else 1):
            findings.fault(f"{at}.sleep.seconds", f"must be at most terminationGracePeriodSeconds ({grace})")
    if "stopSignal" in lifecycle and not spec.get("os", {}).get("name"):
        findings.fault(f"{path}.lifecycle.stopSignal", "needs spec.os.name: linux")


def _handler(handler: dict[str, Any], path: str, ports: set[str], findings: Findings) -> None:
    for kind in ("httpGet", "tcpSocket"):
        port = handler.get(kind, {}).get("port")
        if isinstance(port, str) and port not in ports:
            findings.fault(f"{path}.{kind}.port", f'no port of the container has the name "{port}"')
    get = handler.get("httpGet", {})
    if get.get("protocol") == "HTTP2":
        if (get.get("scheme") or "HTTP") != "HTTP":
            findings.fault(f"{path}.httpGet.protocol", "HTTP2 is only for the scheme HTTP")
        elif get.get("host"):
            findings.fault(f"{path}.httpGet.host", "cannot be set where protocol is HTTP2")


def _init(container: dict[str, Any], path: str, spec: dict[str, Any], findings: Findings) -> None:
    if container.get("restartPolicy") == "Always":
        _lifecycle(container, path, spec, findings)
        return
    for field in ("lifecycle", *_PROBES):
        if field in container:
            findings.fault(f"{path}.{field}", "an init container has it only with restartPolicy: Always")
    for index, policy in enumerate(container.get("resizePolicy", [])):
        if policy.get("restartPolicy") == "RestartContainer":
            at = f"{path}.resizePolicy[{index}].restartPolicy"
            findings.fault(at, "an init container may have RestartContainer only with restartPolicy: Always")


def _restart_rules(container: dict[str, Any], path: str, findings: Findings) -> None:
    rules = container.get("restartPolicyRules", [])
    if rules and "restartPolicy" not in container:
        findings.fault(f"{path}.restartPolicy", "is required where restartPolicyRules is set")
    if len(rules) > _MOST_RESTART_RULES:
        findings.fault(f"{path}.restartPolicyRules", f"has more than {_MOST_RESTART_RULES} entries")
    for index, rule in enumerate(rules):
        if len(rule.get("exitCodes", {}).get("values", [])) > _MOST_EXIT_CODES:
            findings.fault(f"{path}.restartPolicyRules[{index}].exitCodes.values", "has more than 255 entries")


def _resize(policies: list[dict[str, Any]], path: str, spec: dict[str, Any], findings: Findings) -> None:
    seen = set()
    for index, policy in enumerate(policies):
        name, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        at = f"{path}.resizePolicy[{index}]"
        if name and name in seen:
            findings.fault(at, f'"{name}" is there twice')
        seen.add(name)
        if spec.get("restartPolicy") == "Never" and restart == "RestartContainer":
            findings.fault(f"{at}.restartPolicy", "must be NotRequired where the pod's restartPolicy is Never")


def check_resources(resources: dict[str, Any], path: str, findings: Findings, *, below: str = ".limits") -> None:
    """Check requests and limits of a container; `below` is where the limits stand below the path."""
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    for at, amounts in ((f"{path}{below}", limits), (f"{path}.requests", requests)):
        for name, value in amounts.items():
            wrong = _resource_name(name) or _resource_amount(name, value)
            if wrong:
                findings.fault(f'{at}["{name}"]', wrong)
    for name, value in requests.items():
        wrong = _against_limit(name, value, limits)
        if wrong:
            findings.fault(f'{path}.requests["{name}"]', wrong)
    names = {*limits, *requests}
    if any(name.startswith(_HUGE) for name in names) and not names & {"cpu", "memory"}:
        findings.fault(path, "hugepages need cpu or memory beside them")


def _resource_name(name: str) -> str:
    if name in _STANDARD_RESOURCES:
        return ""
    wrong = formats.label_key(name)
    if wrong:
        return f"the name {wrong}"
    if "/" not in name:
        return (
            "" if name.startswith(_HUGE) else "must be cpu, memory, ephemeral-storage, hugepages-<size> or domain/name"
        )
    if "kubernetes.io/" not in name and (name.startswith("requests.") or formats.label_key(f"requests.{name}")):
        return "is no name of an extended resource"
    return ""


def _overcommit(name: str) -> bool:
    return ("/" not in name or "kubernetes.io/" in name) and not name.startswith(_HUGE)


def _resource_amount(name: str, value: Any) -> str:
    amount = formats.quantity(value) or 0
    if name.startswith(_HUGE):
        size = formats.quantity(name.removeprefix(_HUGE))
        if not size or size <= 0 or size % formats.NANO or amount % size:
            return "must be a multiple of the page's size"
    elif "/" in name and "kubernetes.io/" not in name and amount % formats.NANO:
        return "must be a whole number"
    return ""


def _against_limit(name: str, value: Any, limits: dict[str, Any]) -> str:
    if name not in limits:
        return "" if _overcommit(name) else "needs the same limit"
    amount, limit = formats.quantity(value), formats.quantity(limits[name])
    if amount is None or limit is None or amount == limit:
        return ""
    if not _overcommit(name):
        return f"must be the same as the limit of {limits[name]}"
    return f"must be at most the limit of {limits[name]}" if amount > limit else ""


def check_pod_resources(spec: dict[str, Any], findings: Findings) -> None:
    """Check spec.resources, and that the containers' fit into it (validatePodResources)."""
    resources = spec.get("resources")
    if resources is None:
        return
    path = "spec.resources"
    check_resources(resources, path, findings)
    for field in ("limits", "requests"):
        for name in resources.get(field, {}):
            if name not in ("cpu", "memory") and not name.startswith(_HUGE):
                findings.fault(f'{path}.{field}["{name}"]', "only cpu, memory and hugepages are counted for the pod")
    _fits(spec, "requests", findings, resources.get("requests", {}))
    huge = {name: value for name, value in resources.get("limits", {}).items() if name.startswith(_HUGE)}
    _fits(spec, "limits", findings, huge)
    for index, container in enumerate(spec.get("containers", [])):
        for name, value in container.get("resources", {}).get("limits", {}).items():
            most = formats.quantity(resources.get("limits", {}).get(name, "-"))
            if most is not None and (formats.quantity(value) or 0) > most:
                at = f'spec.containers[{index}].resources.limits["{name}"]'
                findings.fault(at, f"must be at most the pod's limit of {resources['limits'][name]}")


def _fits(spec: dict[str, Any], field: str, findings: Findings, amounts: dict[str, Any]) -> None:
    for name, value in amounts.items():
        needed = _needed(spec, field, name)
        given = formats.quantity(value)
        if given is not None and needed > given:
            findings.fault(f'spec.resources.{field}["{name}"]', f"is less than what the containers' {field} come to")


def _needed(spec: dict[str, Any], field: str, name: str) -> int:
    """Sum up a resource over the containers as Kubernetes does (component-helpers/resource/helpers.go)."""
    running = sum(_amounts(spec.get("containers", []), field, name))
    staying = first = 0
    for container in spec.get("initContainers", []):
        amount = next(iter(_amounts([container], field, name)))
        if container.get("restartPolicy") == "Always":
            staying += amount
            first = max(first, staying)
        else:
            first = max(first, staying + amount)
    return max(running + staying, first)


def _amounts(containers: Iterable[dict[str, Any]], field: str, name: str) -> Iterable[int]:
    for container in containers:
        resources = container.get("resources", {})
        value = resources.get(field, {}).get(name)
        if value is None and field == "requests":
            value = resources.get("limits", {}).get(name)
        yield (formats.quantity(value) or 0) if value is not None else 0


def _security(context: dict[str, Any], container_path: str, spec: dict[str, Any], findings: Findings) -> None:
    path = f"{container_path}.securityContext"
    if context.get("procMount") == "Unmasked" and spec.get("hostUsers", True):
        findings.fault(f"{path}.procMount", "Unmasked needs spec.hostUsers: false")
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            findings.fault(f"{path}.allowPrivilegeEscalation", "cannot be false where privileged is true")
        if "CAP_SYS_ADMIN" in context.get("capabilities", {}).get("add", []):
            findings.fault(f"{path}.allowPrivilegeEscalation", "cannot be false where CAP_SYS_ADMIN is added")
    pod = spec.get("securityContext", {})
    user = context.get("runAsUser", pod.get("runAsUser"))
    if user == 0 and context.get("runAsNonRoot", pod.get("runAsNonRoot")):
        findings.fault(f"{path}.runAsUser", "is 0 (root) where runAsNonRoot is true: the container would never start")
    check_profiles(context, path, findings)


def check_profiles(context: dict[str, Any], path: str, findings: Findings) -> None:
    """Check the seccomp and AppArmor profiles of a container's or a pod's security context."""
    for field in ("seccompProfile", "appArmorProfile"):
        profile = context.get(field)
        if not profile or not profile.get("type"):
            continue
        local, at = profile.get("localhostProfile"), f"{path}.{field}.localhostProfile"
        if profile["type"] != "Localhost":
            if local is not None:
                findings.fault(at, "is only for the type Localhost; remove it")
        elif local is None or (field == "appArmorProfile" and not local.strip()):
            findings.fault(at, "is required for the type Localhost")
        elif field == "appArmorProfile" and (local != local.strip() or len(local) > _MOST_APPARMOR):
            findings.fault(at, f"must have no white space around it and at most {_MOST_APPARMOR} characters")
