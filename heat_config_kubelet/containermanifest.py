"""Turns the old ContainerManifest (`version: v1beta1` or `v1beta2`) into a v1 Pod, field by field.

The format of Kubernetes 0.x: pkg/api/v1beta1/types.go, pkg/api/v1beta2/types.go and their conversion.go up to
release 0.20; no supported kubelet reads it. What has no modern meaning is a fault that says what to do instead.

Not for: checking the pod that comes out (see `checks.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .schema import Finding

VERSIONS = ("v1beta1", "v1beta2")

_PULL_POLICIES = {"PullAlways": "Always", "PullNever": "Never", "PullIfNotPresent": "IfNotPresent"}
_RESTART_POLICIES = {"always": "Always", "onFailure": "OnFailure", "never": "Never"}
_FIELD_PATHS = {
    "id": "metadata.name",
    "name": "metadata.name",
    "metadata.name": "metadata.name",
    "namespace": "metadata.namespace",
    "metadata.namespace": "metadata.namespace",
}
_VOLUME_SOURCES = {
    "hostDir": "hostPath",
    "emptyDir": "emptyDir",
    "persistentDisk": "gcePersistentDisk",
    "gcePersistentDisk": "gcePersistentDisk",
    "awsElasticBlockStore": "awsElasticBlockStore",
    "gitRepo": "gitRepo",
    "nfs": "nfs",
    "iscsi": "iscsi",
    "glusterfs": "glusterfs",
    "persistentVolumeClaim": "persistentVolumeClaim",
    "rbd": "rbd",
}
_PROBE_TYPES = {"http": "httpGet", "tcp": "tcpSocket", "exec": "exec"}

_Handler = Callable[[dict[str, Any], Any, str], None]


def is_container_manifest(document: dict[str, Any]) -> bool:
    """Whether a document is meant as a ContainerManifest: it has a `version`, or says so by its kind."""
    if document.get("kind") == "ContainerManifest":
        return True
    return "version" in document and "spec" not in document and document.get("kind") in (None, "")


def convert(document: dict[str, Any]) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Give the v1 Pod of a ContainerManifest, and the faults of what cannot be converted.

    The Pod has no name where the manifest has no `id`. A value of a wrong type is left for the checks of the Pod.
    """
    converter = _Converter()
    pod = converter.manifest(document)
    return pod, tuple(converter.faults)


class _Converter:
    """Walks the manifest; collects faults under the manifest's own paths."""

    def __init__(self) -> None:
        self.faults: list[Finding] = []

    def fault(self, path: str, what: str) -> None:
        self.faults.append(Finding(path, what))

    def walk(self, value: Any, path: str, table: dict[str, _Handler | str], hints: dict[str, str]) -> Any:
        """Convert a map by a table from old fields to new names or to methods; a non-map is passed on."""
        if not isinstance(value, dict):
            return value
        out: dict[str, Any] = {}
        for name, item in value.items():
            handler = table.get(name)
            at = f"{path}.{name}" if path else name
            if handler is None:
                self.fault(at, hints.get(name, f"no field of the old manifest; there are {', '.join(table)}"))
            elif item is None:
                continue
            elif isinstance(handler, str):
                out[handler] = item
            else:
                handler(out, item, at)
        return out

    def each(self, value: Any, path: str, convert_one: Callable[[Any, str], Any]) -> Any:
        if not isinstance(value, list):
            return value
        return [convert_one(item, f"{path}[{index}]") for index, item in enumerate(value)]

    def manifest(self, document: dict[str, Any]) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        table: dict[str, _Handler | str] = {
            "version": self.version,
            "apiVersion": self.version,
            "kind": self.skip,
            "id": lambda _out, item, _path: metadata.update(name=item),
            "uuid": lambda _out, _item, path: self.fault(path, "the kubelet makes the pod's uid; remove it"),
            "containers": self.listed("containers", self.container),
            "volumes": self.listed("volumes", self.volume),
            "restartPolicy": self.restart_policy,
            "dnsPolicy": "dnsPolicy",
            "hostNetwork": "hostNetwork",
            "terminationGracePeriodSeconds": "terminationGracePeriodSeconds",
            "activeDeadlineSeconds": "activeDeadlineSeconds",
            "imagePullSecrets": "imagePullSecrets",
        }
        hints = {
            "name": 'the old manifest\'s name is "id"',
            "metadata": 'the old manifest has only "id"; for labels or a namespace write a v1 Pod',
            "labels": "the old manifest has no labels; write a v1 Pod",
            "annotations": "the old manifest has no annotations; write a v1 Pod",
            "namespace": "the old manifest has no namespace; write a v1 Pod",
            "desiredState": "is a v1beta1 Pod; give the manifest in it, or write a v1 Pod",
        }
        if "version" not in document:
            self.fault("version", f"is required: {' or '.join(VERSIONS)}")
        spec = self.walk(document, "", table, hints)
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def skip(self, out: dict[str, Any], item: Any, path: str) -> None:
        """Leave a field out that says nothing more."""

    def version(self, _out: dict[str, Any], item: Any, path: str) -> None:
        if item not in VERSIONS:
            shown = item if isinstance(item, (str, int, float)) else type(item).__name__
            self.fault(path, f"must be {' or '.join(VERSIONS)}, not {shown!s:.40}; write other pods as v1 Pods")

    def listed(self, name: str, convert_one: Callable[[Any, str], Any]) -> _Handler:
        def handler(out: dict[str, Any], item: Any, path: str) -> None:
            out[name] = self.each(item, path, convert_one)

        return handler

    def restart_policy(self, out: dict[str, Any], item: Any, path: str) -> None:
        names = [name for name in item if name in _RESTART_POLICIES] if isinstance(item, dict) else []
        if isinstance(item, dict) and not item:
            return
        if len(names) != 1 or len(item) != 1:
            self.fault(path, "must be {always: {}}, {onFailure: {}} or {never: {}}")
            return
        out["restartPolicy"] = _RESTART_POLICIES[names[0]]

    def container(self, value: Any, path: str) -> Any:
        same = ("name", "image", "workingDir", "ports", "terminationMessagePath", "resources", "securityContext")
        table: dict[str, _Handler | str] = {
            **{name: name for name in same},
            "entrypoint": "command",
            "command": "args",
            "env": self.listed("env", self.variable),
            "cpu": self.cpu,
            "memory": self.memory,
            "volumeMounts": self.listed("volumeMounts", self.mount),
            "livenessProbe": self.probe("livenessProbe"),
            "readinessProbe": self.probe("readinessProbe"),
            "lifecycle": self.lifecycle,
            "privileged": self.privileged,
            "capabilities": self.capabilities,
            "imagePullPolicy": self.pull_policy,
        }
        hints = {
            "args": 'what v1 calls "args" is "command" here, and "command" is "entrypoint"',
            "envFrom": "is of v1; write a v1 Pod",
            "startupProbe": "is of v1; write a v1 Pod",
        }
        if isinstance(value, dict):
            # The merging below must not change the document, whose hash is taken.
            value = {name: dict(item) if isinstance(item, dict) else item for name, item in value.items()}
            value = dict(
                sorted(value.items(), key=lambda pair: pair[0] in ("cpu", "memory", "privileged", "capabilities"))
            )
        return self.walk(value, path, table, hints)

    def cpu(self, out: dict[str, Any], item: Any, path: str) -> None:
        if isinstance(item, bool) or not isinstance(item, int) or item < 0:
            self.fault(path, "must be a whole number of thousandths of a CPU")
        elif item:
            self.into(out, "resources", "limits", path).setdefault("cpu", f"{item}m")

    def memory(self, out: dict[str, Any], item: Any, path: str) -> None:
        if isinstance(item, bool) or not isinstance(item, int) or item < 0:
            self.fault(path, "must be a whole number of bytes")
        elif item:
            self.into(out, "resources", "limits", path).setdefault("memory", item)

    def privileged(self, out: dict[str, Any], item: Any, path: str) -> None:
        self.into(out, "securityContext", None, path).setdefault("privileged", item)

    def capabilities(self, out: dict[str, Any], item: Any, path: str) -> None:
        self.into(out, "securityContext", None, path).setdefault("capabilities", item)

    def into(self, out: dict[str, Any], name: str, inner: str | None, path: str) -> dict[str, Any]:
        """Give the map below `out` that a field moves into."""
        holder = out.setdefault(name, {})
        if isinstance(holder, dict) and inner:
            holder[inner] = dict(holder.get(inner) or {}) if isinstance(holder.get(inner) or {}, dict) else None
            holder = holder[inner]
        if isinstance(holder, dict):
            return holder
        self.fault(path, f"cannot be moved into {name}, which is no map")
        return {}

    def pull_policy(self, out: dict[str, Any], item: Any, path: str) -> None:
        if item == "":
            return
        if isinstance(item, str) and item in _PULL_POLICIES:
            out["imagePullPolicy"] = _PULL_POLICIES[item]
        else:
            self.fault(path, f"must be one of {', '.join(_PULL_POLICIES)}")

    def variable(self, value: Any, path: str) -> Any:
        def key(out: dict[str, Any], item: Any, _path: str) -> None:
            out.setdefault("name", item)

        def name(out: dict[str, Any], item: Any, _path: str) -> None:
            if item != "":
                out["name"] = item

        return self.walk(value, path, {"name": name, "key": key, "value": "value", "valueFrom": self.value_from}, {})

    def value_from(self, out: dict[str, Any], item: Any, path: str) -> None:
        def reference(source: dict[str, Any], value: Any, at: str) -> None:
            source["fieldRef"] = self.walk(value, at, {"apiVersion": self.version, "fieldPath": self.field_path}, {})

        out["valueFrom"] = self.walk(item, path, {"fieldRef": reference}, {})

    def field_path(self, out: dict[str, Any], item: Any, path: str) -> None:
        if isinstance(item, str) and item in _FIELD_PATHS:
            out["fieldPath"] = _FIELD_PATHS[item]
        else:
            self.fault(path, "only the pod's name and namespace can be had; write a v1 Pod for others")

    def mount(self, value: Any, path: str) -> Any:
        def mount_type(_out: dict[str, Any], item: Any, at: str) -> None:
            if item not in ("", "LOCAL"):
                self.fault(at, "has no meaning any more; give the volume the source hostDir and remove it")

        def old_path(out: dict[str, Any], item: Any, _at: str) -> None:
            out.setdefault("mountPath", item)

        def mount_path(out: dict[str, Any], item: Any, _at: str) -> None:
            if item != "":
                out["mountPath"] = item

        table: dict[str, _Handler | str] = {
            "name": "name",
            "readOnly": "readOnly",
            "mountPath": mount_path,
            "path": old_path,
            "mountType": mount_type,
        }
        return self.walk(value, path, table, {})

    def probe(self, name: str) -> _Handler:
        def handler(out: dict[str, Any], item: Any, path: str) -> None:
            def probe_type(_out: dict[str, Any], kind: Any, at: str) -> None:
                if not isinstance(kind, str) or _PROBE_TYPES.get(kind) not in item:
                    self.fault(at, "does not fit: give httpGet, tcpSocket or exec, and remove it")

            table: dict[str, _Handler | str] = {
                **self.actions(),
                "initialDelaySeconds": "initialDelaySeconds",
                "timeoutSeconds": "timeoutSeconds",
                "type": probe_type,
            }
            later = "is of v1; write a v1 Pod"
            hints = dict.fromkeys(("periodSeconds", "successThreshold", "failureThreshold", "grpc"), later)
            out[name] = self.walk(item, path, table, {**hints, "enabled": "has no meaning any more; remove it"})

        return handler

    def lifecycle(self, out: dict[str, Any], item: Any, path: str) -> None:
        def hook(name: str) -> _Handler:
            def handler(hooks: dict[str, Any], value: Any, at: str) -> None:
                hooks[name] = self.walk(value, at, self.actions(), {})

            return handler

        out["lifecycle"] = self.walk(item, path, {name: hook(name) for name in ("postStart", "preStop")}, {})

    def actions(self) -> dict[str, _Handler | str]:
        def with_port(name: str, fields: tuple[str, ...]) -> _Handler:
            def handler(out: dict[str, Any], item: Any, path: str) -> None:
                out[name] = self.walk(item, path, {**{field: field for field in fields}, "port": _port}, {})

            return handler

        return {
            "httpGet": with_port("httpGet", ("path", "host")),
            "tcpSocket": with_port("tcpSocket", ()),
            "exec": "exec",
        }

    def volume(self, value: Any, path: str) -> Any:
        v1 = 'in the old manifest a volume\'s source stands below "source"'
        hints = {**dict.fromkeys(_VOLUME_SOURCES, v1), "hostPath": f'{v1}, and is called "hostDir"', "secret": v1}
        converted = self.walk(value, path, {"name": "name", "source": self.source}, hints)
        if isinstance(converted, dict) and not converted.keys() - {"name"}:
            converted["emptyDir"] = {}
        return converted

    def source(self, out: dict[str, Any], item: Any, path: str) -> None:
        if not isinstance(item, dict):
            self.fault(path, "must be a map, such as {hostDir: {path: /srv}}")
            return
        table: dict[str, _Handler | str] = {**_VOLUME_SOURCES, "secret": self.secret}
        out.update(self.walk(item, path, table, {"hostPath": 'is called "hostDir" in the old manifest'}))

    def secret(self, out: dict[str, Any], item: Any, _path: str) -> None:
        target = item.get("target") if isinstance(item, dict) else None
        name = (target.get("name") or target.get("id")) if isinstance(target, dict) else None
        out["secret"] = {"secretName": name}


def _port(out: dict[str, Any], item: Any, _path: str) -> None:
    """A number may be written as text in the old format (util.IntOrString)."""
    number = isinstance(item, str) and item.isdigit() and item.isascii() and len(item) <= 5
    out["port"] = int(item) if number else item
