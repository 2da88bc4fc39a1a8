"""The corpus before a real kubelet: it takes what we take, and refuses what we refuse but for the files marked.

A kubelet's verdict on a file of its manifest directory is the pod in `/pods`, or a line of its log that names the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from corpus import Case, cases
from lab.node import LabNode

from heat_config_kubelet.pods import pods_of
from heat_config_kubelet.values import Identity

BATCH = 40
_REFUSED = "Could not process manifest file"


def test_the_kubelet_takes_what_we_take(node: LabNode) -> None:
    files = {}
    for case in cases("good"):
        for number, pod in enumerate(pods_of(case.text, identity=Identity("", case.name), node_name=node.name)):
            files[f"{case.name}.{number}.json"] = json.dumps(pod.manifest)
        if not case.kubelet:
            files[f"{case.name}.as-given.yaml"] = _renamed(case)
    for batch in _batches(files):
        assert refused_of(node, batch) == {}
        _see_all(node, len(batch))
        _remove(node, batch)


def test_the_kubelet_refuses_what_we_refuse_unless_the_file_says_stricter(node: LabNode) -> None:
    refused: dict[str, str] = {}
    for batch in _batches({f"{case.name}.yaml": case.text for case in cases("bad")}):
        refused |= refused_of(node, batch)
        _remove(node, batch)
    taken = {case.name for case in cases("bad") if f"{case.name}.yaml" not in refused}
    assert taken == {case.name for case in cases("bad") if case.stricter}


def refused_of(node: LabNode, files: Mapping[str, str]) -> dict[str, str]:
    """Give these files to the kubelet, and its reason for each that it refuses.

    The kubelet reads files in the order in which they come, or all by name (every 20 s); so its refusal of one that
    is the last by both, and that no earlier batch had, says that it is through.
    """
    start = node.kubelet_log.stat().st_size
    last = f"zzz-{start}"
    for name, text in {**files, last: "no pod"}.items():
        beside = node.folder / f".{name}"
        beside.write_text(text, encoding="utf-8")
        beside.rename(node.manifests / name)
    refused = node.wait_for(lambda: _refused(node.kubelet_log, start, last), "the kubelet to have read all files")
    (node.manifests / last).unlink()
    return {name: reason for name, reason in refused.items() if name in files}


def _see_all(node: LabNode, count: int) -> None:
    node.wait_for(lambda: len(node.pods()) == count, f"{count} pods in /pods")


def _remove(node: LabNode, files: Iterable[str]) -> None:
    for name in files:
        (node.manifests / name).unlink()
    node.wait_for(lambda: not node.pods(), "no pod in /pods")


def _batches(files: Mapping[str, str]) -> Iterator[dict[str, str]]:
    names = list(files)
    for start in range(0, len(names), BATCH):
        yield {name: files[name] for name in names[start : start + BATCH]}


def _refused(log: Path, start: int, last: str) -> dict[str, str] | None:
    """Give the log's lines that refuse a file, by its name; None as long as the last file is not among them."""
    with log.open("rb") as handle:
        handle.seek(start)
        lines = handle.read().decode("utf-8", "replace").splitlines()
    found = {line.rpartition("/")[2].rstrip('"'): line for line in lines if _REFUSED in line}
    return found if last in found else None


def _renamed(case: Case) -> str:
    """The file as given, its pod under another name, so that it does not meet the one we make of it."""
    return case.text.replace(f"name: {case.name}\n", f"name: given-{case.name}\n").replace(
        f'"name": "{case.name}"', f'"name": "given-{case.name}"'
    )
