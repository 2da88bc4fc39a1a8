"""From a deployment's config to checked v1 Pods.

A config is a map or a text (YAML or JSON) with one v1 Pod, several documents, a List, a PodList, or the old
ContainerManifest. docs/pods.md has the whole of what is taken, converted and checked.

Not for: what the agent adds to a manifest before it writes it (see `manifest_dir.py`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from . import checks, containermanifest, strict_yaml
from .errors import PodError
from .schema import Findings
from .values import Identity, Pod, PodKey

if TYPE_CHECKING:
    from .marks import FileMarks, Steps

DEFAULT_NAMESPACE = "default"

_SERVER_SET = frozenset(("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink"))
"""Metadata that an API server sets and `kubectl get -o yaml` shows: meant for nobody, left out."""
_LISTS = ("List", "PodList")
_OLD_API = ("v1beta1", "v1beta2", "v1beta3")
_TEMPLATES = ("DaemonSet", "Deployment", "Job", "PodTemplate", "ReplicaSet", "ReplicationController", "StatefulSet")
_BASE_LENGTH = 40
_HASH_LENGTH = 8


class _Document(NamedTuple):
    """One manifest of the config, as given, and where it stands."""

    place: str
    steps: Steps
    content: Any
    pod_list: bool = False
    """Whether it is an item of a PodList, whose items need no apiVersion and kind."""


class ConfigFinding(NamedTuple):
    """Something found in a config: a fault, or a warning."""

    text: str
    """The whole of it: which of several pods, which field, what."""
    steps: Steps
    """To its document: the number among the config's documents, then the way in its lists."""
    path: str
    """The field, from the document's top; empty where it is about the whole."""
    what: str
    warning: bool = False


class Examined(NamedTuple):
    """What is to be said about a config."""

    pods: tuple[Pod, ...]
    """Those without a fault, in the config's order."""
    steps: tuple[Steps, ...]
    """To the document of each of these pods."""
    findings: tuple[ConfigFinding, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, as texts."""
        return tuple(each.text for each in self.findings if not each.warning)


def pods_of(config: object, *, identity: Identity, strict: bool = True, node_name: str = "") -> tuple[Pod, ...]:
    """Give the checked v1 Pods that a deployment's config has, in its order.

    `config` is a map, a text, or None; the rest as for `examine`. Raises PodError with every fault found; also where
    there is no pod at all.
    """
    examined = examine(read(config), identity=identity, strict=strict, node_name=node_name)
    if examined.faults:
        raise PodError(examined.faults)
    return examined.pods


def read(config: object, marks: FileMarks | None = None) -> list[Any]:
    """Give a config's documents. Raises PodError; `marks` are of those in a text (`strict_yaml.documents`)."""
    if config is None:
        return []
    if isinstance(config, str):
        return strict_yaml.documents(config, marks)
    if isinstance(config, dict):
        strict_yaml.check_value(config)
        return [config]
    raise PodError((f"the config must be a map or a text, not a {type(config).__name__}",))


def examine(documents: list[Any], *, identity: Identity, strict: bool = True, node_name: str = "") -> Examined:
    """Check all the pods that a config's documents have.

    A pod without a name gets one from the identity, the same whatever the content. With `strict=False` fields that no
    kubelet reads are warnings, not faults. `node_name` is for the check of the whole name's length.
    """
    findings: list[ConfigFinding] = []
    manifests = list(_flat(documents, findings))
    if not manifests and not findings:
        findings.append(_whole("the config has no pod"))
    pods: list[Pod] = []
    steps: list[Steps] = []
    unnamed = 0
    for document in manifests:
        pod, generated = _pod(document, identity, unnamed, len(manifests) > 1, strict, node_name, findings)
        unnamed += generated
        if pod:
            _check_name(pod, pods, document, findings)
            pods.append(pod)
            steps.append(document.steps)
    return Examined(tuple(pods), tuple(steps), tuple(findings))


def _whole(what: str, steps: Steps = ()) -> ConfigFinding:
    return ConfigFinding(what, steps, "", what)


def _flat(documents: list[Any], findings: list[ConfigFinding]) -> Iterator[_Document]:
    """Give every manifest, lists opened; empty documents are passed over."""
    for index, content in enumerate(documents):
        place = f"document {index + 1}" if len(documents) > 1 else ""
        yield from _opened(_Document(place, (index,), content), findings)


def _opened(document: _Document, findings: list[ConfigFinding]) -> Iterator[_Document]:
    place, steps, content = document.place, document.steps, document.content
    if content is None or content == "" or content == {}:
        return
    if not isinstance(content, dict):
        what = f"must be a map with a Pod, not {_kind_of(content)}"
        findings.append(ConfigFinding(f"{place or 'the config'}: {what}", steps, "", what))
        return
    if content.get("kind") not in _LISTS:
        yield document
        return

    def fault(name: str, what: str) -> None:
        findings.append(ConfigFinding(f"{_dotted(place, name)}: {what}", steps, name, what))

    kind, items = content["kind"], content.get("items")
    for name in content.keys() - {"apiVersion", "kind", "items", "metadata"}:
        fault(name, f"unknown field; a {kind} has items")
    if content.get("apiVersion") != "v1":
        fault("apiVersion", "must be v1")
    if not isinstance(items, list):
        if items is not None:
            fault("items", f"must be a list, not {_kind_of(items)}")
        return
    for index, item in enumerate(items):
        item_place = _dotted(place, f"items[{index}]")
        yield from _opened(_Document(item_place, (*steps, "items", index), item, kind == "PodList"), findings)


def _dotted(place: str, name: str) -> str:
    return f"{place}: {name}" if place.startswith("document") and ":" not in place else f"{place}.{name}".strip(".")


def _kind_of(value: object) -> str:
    return {str: "a text", list: "a list", dict: "a map", bool: "true or false"}.get(type(value), "a number")


def _pod(
    document: _Document,
    identity: Identity,
    unnamed: int,
    several: bool,
    strict: bool,
    node_name: str,
    all_findings: list[ConfigFinding],
) -> tuple[Pod | None, bool]:
    """Check one manifest; what is found is added. The second value says whether its name had to be made."""
    findings = Findings(strict=strict)
    v1 = _to_v1(document, findings)
    if v1 is None:
        all_findings.extend(_placed(document, document.place, findings))
        return None, False
    metadata = v1.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, dict) else {} if metadata is None else metadata
    generated = isinstance(metadata, dict) and metadata.get("name") in (None, "")
    if isinstance(metadata, dict):
        if generated and metadata.get("generateName"):
            findings.fault("metadata.name", "is required beside generateName: nobody makes up names for static pods")
        if generated:
            metadata["name"] = generated_name(identity, unnamed)
        if metadata.get("namespace") in (None, ""):
            metadata["namespace"] = DEFAULT_NAMESPACE
        metadata = {name: value for name, value in metadata.items() if name not in _SERVER_SET}
    clean = checks.check_pod({**v1, "metadata": metadata}, findings, node_name=node_name)
    found = clean.get("metadata", {})
    key = PodKey(str(found.get("namespace", "")), str(found.get("name", "")))
    where = f"{document.place} ({key.name})" if several and key.name else document.place
    all_findings.extend(_placed(document, where or (key.name if several else ""), findings))
    if findings.faults or not key.name:
        return None, generated
    return Pod(key, _manifest(clean), content_hash(document.content, key), tuple(findings.warnings)), generated


def _placed(document: _Document, prefix: str, findings: Findings) -> Iterator[ConfigFinding]:
    for each in findings.all:
        text = f"{prefix}: {each}" if prefix else str(each)
        yield ConfigFinding(text, document.steps, each.path, each.what, each.warning)


def _to_v1(document: _Document, findings: Findings) -> dict[str, Any] | None:
    """Give the v1 Pod of a manifest, not checked yet; None where it is something else, which is a fault."""
    content: dict[str, Any] = document.content
    if containermanifest.is_container_manifest(content):
        pod, faults = containermanifest.convert(content)
        findings.all.extend(faults)
        return pod
    if document.pod_list:
        content = {"apiVersion": "v1", "kind": "Pod", **content}
    kind = content.get("kind")
    if content.get("apiVersion") in _OLD_API:
        findings.fault("apiVersion", f"no supported kubelet knows {content['apiVersion']}; write a v1 Pod")
        return None
    if kind not in (None, "", "Pod"):
        mend = (
            "; take its spec.template and write it as a v1 Pod" if kind in _TEMPLATES else "; a kubelet runs pods only"
        )
        findings.fault("kind", f"must be Pod, List or PodList, not {_shown(kind)}{mend}")
        return None
    if "containers" in content and "spec" not in content:
        findings.fault(
            "containers",
            'belong below "spec" of a v1 Pod (apiVersion: v1, kind: Pod); the old ContainerManifest needs a "version"',
        )
        return None
    return content


def _shown(value: object) -> str:
    return f"{value:.60}" if isinstance(value, str) else _kind_of(value)


def _manifest(clean: dict[str, Any]) -> dict[str, Any]:
    """Give what is to be written: no status, and the grace period that the kubelet would take (defaults.go)."""
    manifest = {name: value for name, value in clean.items() if name != "status"}
    if manifest["spec"].get("terminationGracePeriodSeconds", 0) < 0:
        manifest["spec"]["terminationGracePeriodSeconds"] = 1
    return manifest


def _check_name(pod: Pod, others: list[Pod], document: _Document, findings: list[ConfigFinding]) -> None:
    if any(other.key == pod.key for other in others):
        what = f"two pods of the config have the name {pod.key}; give them different names"
        findings.append(ConfigFinding(f"metadata.name: {what}", document.steps, "metadata.name", what))


def content_hash(document: object, key: PodKey) -> str:
    """Give the SHA-256 (hex) of a manifest as the config gives it, and of the name it runs under.

    Conversions and defaults are not in it, so that no newer agent restarts a pod that nobody changed.
    """
    canonical = {"document": document, "name": key.name, "namespace": key.namespace}
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def generated_name(identity: Identity, index: int) -> str:
    """Give the name of the index-th pod of an identity that has none of its own.

    Of the resource's name and a hash of the identity, as several stacks may have a resource of one name on one
    server. Nothing of the content is in it.
    """
    base = re.sub(r"[^a-z0-9]+", "-", identity.resource_name.lower())[:_BASE_LENGTH].strip("-") or "pod"
    digest = hashlib.sha256("\0".join(identity).encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    return f"{base}-{digest}" if index == 0 else f"{base}-{digest}-{index + 1}"
