"""Checks of a pod's volumes and of what containers mount of them.

From pkg/apis/core/validation/validation.go (ValidateVolumes, ValidateVolumeMounts, ValidateVolumeDevices) of
Kubernetes 1.37. What is read here is the typed copy that `schema.check` gives.

Not for: which kinds of volume a static pod may have (the schema refuses the others).
"""

from __future__ import annotations

from typing import Any

from . import formats
from .schema import Findings

_ENVIRONMENT_FIELDS = frozenset(
    (
        *("metadata.name", "metadata.namespace", "metadata.uid"),
        *("spec.nodeName", "spec.serviceAccountName", "spec.host"),
        *("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
    )
)
_VOLUME_FIELDS = frozenset(
    ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
)
_RESOURCES = frozenset(f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "memory"))
_RESOURCES |= {"limits.ephemeral-storage", "requests.ephemeral-storage"}
_HIGHEST_LUN = 255
_SIZES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_SIZE_DIVISORS = {formats.quantity(size): size for size in _SIZES}
_CPU_DIVISORS = {formats.quantity(size): size for size in ("1", "1m")}


def check_volumes(spec: dict[str, Any], findings: Findings) -> None:
    """Check spec.volumes."""
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes", [])):
        path = f"spec.volumes[{index}]"
        name = volume.get("name", "")
        if name and name in names:
            findings.fault(f"{path}.name", f'"{name}" is there twice')
        names.add(name)
        _source(volume, path, findings)


def _source(volume: dict[str, Any], path: str, findings: Findings) -> None:
    for number, item in enumerate(volume.get("downwardAPI", {}).get("items", [])):
        _downward_file(item, f"{path}.downwardAPI.items[{number}]", findings)
    seen: set[str] = set()
    for number, source in enumerate(volume.get("projected", {}).get("sources", [])):
        for position, item in enumerate(source.get("downwardAPI", {}).get("items", [])):
            at = f"{path}.projected.sources[{number}].downwardAPI.items[{position}]"
            _downward_file(item, at, findings)
            if item.get("path") and item["path"] in seen:
                findings.fault(f"{at}.path", f'"{item["path"]}" is there twice')
            seen.add(item.get("path", ""))
    if "fc" in volume:
        _fibre_channel(volume["fc"], f"{path}.fc", findings)
    if "iscsi" in volume:
        _iscsi(volume["iscsi"], volume.get("name", ""), f"{path}.iscsi", findings)
    for key in volume.get("flexVolume", {}).get("options", {}):
        if f".{key.split('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io")):
            findings.fault(f'{path}.flexVolume.options["{key}"]', "kubernetes.io and k8s.io are reserved")


def _downward_file(item: dict[str, Any], path: str, findings: Findings) -> None:
    if "fieldRef" in item:
        check_field(item["fieldRef"], f"{path}.fieldRef", findings, volume=True)
    if "resourceFieldRef" in item:
        check_resource_field(item["resourceFieldRef"], f"{path}.resourceFieldRef", findings)
        if not item["resourceFieldRef"].get("containerName"):
            findings.fault(f"{path}.resourceFieldRef.containerName", "is required")


def check_field(reference: dict[str, Any], path: str, findings: Findings, *, volume: bool = False) -> None:
    """Check a fieldRef of the downward API (validateObjectFieldSelector)."""
    field = reference.get("fieldPath", "")
    if not field:
        return
    base, bracket, subscript = field.removesuffix("']").partition("['")
    if field.endswith("']") and bracket and base:
        if base not in ("metadata.annotations", "metadata.labels"):
            findings.fault(f"{path}.fieldPath", "only metadata.labels and metadata.annotations have ['<key>']")
        wrong = formats.label_key(subscript.lower() if base == "metadata.annotations" else subscript)
        if wrong:
            findings.fault(f"{path}.fieldPath", f"the key {wrong}")
        return
    allowed = _VOLUME_FIELDS if volume else _ENVIRONMENT_FIELDS
    if field not in allowed:
        names = ", ".join(sorted(allowed - {"spec.host"}))
        keys = "metadata.labels['<key>'] or metadata.annotations['<key>']"
        findings.fault(f"{path}.fieldPath", f'must be one of {names}, {keys}, not "{field:.60}"')


def check_resource_field(reference: dict[str, Any], path: str, findings: Findings) -> None:
    """Check a resourceFieldRef of the downward API (validateContainerResourceFieldSelector)."""
    name = reference.get("resource", "")
    huge = name.startswith(("limits.hugepages-", "requests.hugepages-"))
    if name and name not in _RESOURCES and not huge:
        findings.fault(f"{path}.resource", f'must be one of {", ".join(sorted(_RESOURCES))}, not "{name:.60}"')
        return
    divisor = formats.quantity(reference.get("divisor", 0))
    allowed = _CPU_DIVISORS if name.endswith(".cpu") else _SIZE_DIVISORS
    if name and divisor and divisor not in allowed:
        findings.fault(f"{path}.divisor", f"must be one of {', '.join(allowed.values())}")


def _fibre_channel(source: dict[str, Any], path: str, findings: Findings) -> None:
    names, wide = source.get("targetWWNs"), source.get("wwids")
    if bool(names) == bool(wide):
        findings.fault(path, "needs either targetWWNs or wwids")
    if names and not 0 <= source.get("lun", -1) <= _HIGHEST_LUN:
        findings.fault(f"{path}.lun", f"must be from 0 to {_HIGHEST_LUN} where targetWWNs is set")


def _iscsi(source: dict[str, Any], name: str, path: str, findings: Findings) -> None:
    if source.get("chapAuthDiscovery") or source.get("chapAuthSession"):
        findings.fault(
            path, "CHAP needs a secret, which static pods may not refer to; log in on the node, use hostPath"
        )
    if "initiatorName" in source and len(f"{name}:{source.get('targetPortal', '')}") > 64:
        findings.fault(f"{path}.targetPortal", "with the volume's name it may have 63 characters beside initiatorName")


def check_mounts(container: dict[str, Any], volumes: dict[str, dict[str, Any]], path: str, findings: Findings) -> None:
    """Check a container's volumeMounts and volumeDevices against the pod's volumes by name."""
    seen: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts", [])):
        at = f"{path}.volumeMounts[{index}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if name and name not in volumes:
            findings.fault(f"{at}.name", f'spec.volumes has no "{name}"')
        if target and target in seen:
            findings.fault(f"{at}.mountPath", f'"{target}" is mounted twice')
        seen.add(target)
        _mount_options(mount, container, at, findings)
        if mount.get("bindMountOptions") and "image" in volumes.get(name, {}):
            findings.fault(f"{at}.bindMountOptions", "cannot be used with an image volume")
    for index, device in enumerate(container.get("volumeDevices", [])):
        if device:
            at = f"{path}.volumeDevices[{index}]"
            findings.fault(at, "needs a persistent volume claim, which static pods may not use; use hostPath")


def _mount_options(mount: dict[str, Any], container: dict[str, Any], path: str, findings: Findings) -> None:
    if mount.get("subPath") and mount.get("subPathExpr"):
        findings.fault(f"{path}.subPathExpr", "cannot be set where subPath is; remove one of them")
    propagation = mount.get("mountPropagation", "None")
    if propagation == "Bidirectional" and not container.get("securityContext", {}).get("privileged"):
        findings.fault(f"{path}.mountPropagation", "Bidirectional is for privileged containers only")
    if mount.get("recursiveReadOnly", "Disabled") != "Disabled":
        if not mount.get("readOnly"):
            findings.fault(f"{path}.recursiveReadOnly", "needs readOnly: true")
        if propagation != "None":
            findings.fault(f"{path}.recursiveReadOnly", "cannot be set together with mountPropagation")
    options = mount.get("bindMountOptions", [])
    if len(set(options)) != len(options):
        findings.fault(f"{path}.bindMountOptions", "has an entry twice")
