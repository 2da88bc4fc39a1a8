"""Judges metadata as os-collect-config keeps them in its cache, or one deployment of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..deployments import UNGROUPED, read
from ..errors import MetadataError
from ..marks import FileMarks, Marks, Place
from ..metadata import KEY
from ..strict_yaml import mark_json
from ..values import KUBELET_GROUP, Deployment, Identity
from .configs import Config, Judge
from .reports import ERROR, NOTE, Finding
from .unknowns import Unknowns


def is_deployment(value: Any) -> bool:
    """Whether a value is one entry of `deployments`."""
    return isinstance(value, dict) and "config" in value and bool(value.keys() & {"group", "inputs"})


def entries_of(value: Any) -> list[tuple[Any, Any, Any]] | None:
    """Give the entries in a value with the holder and step of each; None where it is no metadata.

    Taken are a file of os-collect-config's cache, what `os-collect-config --print` writes (such a map by source),
    the list, and one entry.
    """
    if is_deployment(value):
        return [(value, None, None)]
    if isinstance(value, list) and value and all(is_deployment(each) for each in value):
        return [(each, value, index) for index, each in enumerate(value)]
    if not isinstance(value, dict):
        return None
    if KEY in value:
        found = value[KEY]
        return [(each, found, index) for index, each in enumerate(found)] if isinstance(found, list) else []
    inner = [entries_of(each) for each in value.values() if isinstance(each, dict) and KEY in each]
    return [entry for each in inner if each for entry in each] if inner else None


class Metadata:
    """The deployments of a file, with what was found in them."""

    def __init__(self, file: str, text: str, defaults: Mapping[str, str], node_name: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.pods: list[str] = []
        self.configs = 0
        self._marks = Marks()
        self._judge = Judge(defaults, node_name, Unknowns(), self._marks)
        value = json.loads(text)
        mark_json(text, value, FileMarks(self._marks, file))
        if isinstance(value, dict) and KEY in value and not isinstance(value[KEY], list):
            place = self._marks.at(value, KEY) or Place(file)
            self.findings.append(Finding.at(place, ERROR, f"{KEY}: must be a list; the agent ignores it"))
        deployments = [self._read(*entry) for entry in entries_of(value) or []]
        self._judge_all([each for each in deployments if each])

    def _read(self, entry: Any, holder: Any, step: Any) -> tuple[Deployment, Place] | None:
        place = (self._marks.at(holder, step) if holder is not None else None) or Place(self.file, 1, 1)
        where = f"{KEY}[{step}]" if holder is not None else "the deployment"
        try:
            return read(entry, where), place
        except MetadataError as error:
            self.findings.append(Finding.at(place, ERROR, error.message))
        except RecursionError:
            self.findings.append(Finding.at(place, ERROR, f"{where}: is nested too deep"))
        return None

    def _judge_all(self, deployments: list[tuple[Deployment, Place]]) -> None:
        names: dict[str, Identity] = {}
        newest: dict[Identity, Deployment] = {}
        for deployment, _ in deployments:  # as `plan.owner_of`, which has the store's entries
            if deployment.action != "DELETE":
                known = newest.get(deployment.identity)
                if known is None or deployment.creation_time >= known.creation_time:
                    newest[deployment.identity] = deployment
        for deployment, place in deployments:
            label = str(deployment.identity)
            if deployment.group != KUBELET_GROUP:
                if not deployment.component and deployment.group != UNGROUPED:
                    what = f"group {deployment.group}: is another hook's; not judged"
                    self.findings.append(Finding.at(place, NOTE, what, resource=label))
                continue
            self.configs += 1
            if deployment.removes or deployment.tool_missing or newest.get(deployment.identity) is not deployment:
                why = f"its action is {deployment.action}" if deployment.removes else "a newer one has its place"
                what = f"not judged: no pods are made of it: {why}"
                self.findings.append(Finding.at(place, NOTE, what, resource=label))
                continue
            judged = self._judge.judge(
                Config(
                    deployment.config,
                    self._marks.at(deployment.raw, "config") or place,
                    label,
                    deployment.identity,
                    deployment.options,
                    deployment.raw,
                    deployment,
                )
            )
            self.findings += judged.findings
            self._keep(judged.pods, deployment.identity, place, names)

    def _keep(self, pods: tuple[str, ...], identity: Identity, place: Place, names: dict[str, Identity]) -> None:
        for pod in pods:
            if pod not in self.pods:
                self.pods.append(pod)
            other = names.setdefault(pod, identity)
            if other != identity:
                taken = f"deployment {other} has a pod of that name"
                what = f"pod {pod}: {taken}; give one of them another metadata.name"
                self.findings.append(Finding.at(place, ERROR, what, resource=str(identity)))
