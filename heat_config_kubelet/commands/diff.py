"""`diff`: what is wanted beside what was written and what runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .. import settings as settings_module
from ..comparison import SAME, UNKNOWN, WANTED, Difference, PodDifference, Sides, compare
from ..kubelet_log import KubeletLog, refusal
from ..settings import Settings
from ..store import HOOK
from ..values import Identity
from . import names
from .console import BOLD, GREEN, RED, YELLOW, Console, one_line, remark
from .node_view import NodeView

_LOG_LINES = 4000


def main(given: argparse.Namespace) -> int:
    """Show it; gives 1 where something differs, or cannot be seen. Raises UnknownNameError and StoreError."""
    settings = settings_module.load(given.settings)
    view = NodeView(settings)
    try:
        found = look(view, given.deployments)
    finally:
        view.close()
    console = Console.standard()
    if given.output in ("json", "yaml"):
        console.show(found, (), given.output)
    else:
        console.write("\n".join(drawn(each, console) for each in found) or "no deployment has pods on this node")
    for part, why in view.problems.items():
        remark(f"{part}: not seen: {why}")
    return 0 if all(each.same for each in found) and not view.problems else 1


def look(view: NodeView, wanted: Sequence[str]) -> tuple[Difference, ...]:
    """Compare the deployments that are named, or all. Raises UnknownNameError, and StoreError where nothing is seen."""
    store = view.store
    files = view.manifests
    if store is None and not any(found.ours for found in files) and view.store_error:
        raise view.store_error
    seen = view.access is not None and "manifests" not in view.problems
    found = compare(
        Sides(
            settings=view.settings,
            entries=view.live,
            rows=view.pod_rows,
            answered=store.answered() if store else frozenset(),
            hook_mode=bool(store and store.get("mode") == HOOK),
            store_seen=store is not None,
            files=files if seen else None,
            content=lambda name: _content(view, name),
            running=view.by_uid,
            refusal=_Refusals(view.settings, view),
        )
    )
    if not wanted:
        return found
    if store is None:
        chosen = {names.find(name, found, lambda each: (each.deployment,), "deployment").deployment for name in wanted}
        return tuple(each for each in found if each.deployment in chosen)
    identities = {names.deployment(name, view.entries).deployment.identity for name in wanted}
    by_name = {each.deployment: each for each in found}
    return tuple(by_name.get(str(each)) or _without_pods(each, view) for each in identities)


def _without_pods(identity: Identity, view: NodeView) -> Difference:
    entry = [each for each in view.entries if each.deployment.identity == identity][-1]
    deployment = entry.deployment
    why = f"the group {deployment.group} has no pods" if entry.vanished_at is None else "the metadata have it no more"
    return Difference(str(identity), deployment.id, deployment.action, True, (why,), ())


def _content(view: NodeView, name: str) -> bytes:
    if view.access is None:
        raise FileNotFoundError(name)
    return (view.access.manifest_dir / name).read_bytes()


class _Refusals:
    """The kubelet's log, read once where it is asked."""

    def __init__(self, settings: Settings, view: NodeView) -> None:
        self._settings = settings
        self._view = view
        self._lines: tuple[str, ...] | None = None

    def __call__(self, file: str) -> str:
        """Say why the kubelet refuses a file; empty where its log does not tell."""
        if self._view.access is None:
            return ""
        if self._lines is None:
            self._lines = KubeletLog.of(self._settings).last(_LOG_LINES)
        return refusal(self._lines, self._view.access.manifest_dir / file)


# --- drawn for a person


def drawn(found: Difference, console: Console) -> str:
    """Draw a deployment: a line, what is to be said of the whole, and its pods."""
    verdict = console.painted(*_verdict(found))
    action = f" {found.action}" if found.action else ""
    lines = [f"{console.painted(found.deployment, BOLD)}{action}: {verdict}"]
    lines += [f"  {one_line(why)}" for why in found.why]
    for pod in found.pods:
        lines += _pod(pod, console)
    return "\n".join(lines)


def _verdict(found: Difference) -> tuple[str, str]:
    """In a word, with its colour; what cannot be seen is no difference."""
    if found.same:
        return "the same", GREEN
    words = {word for pod in found.pods if not pod.same for word in (pod.wanted, pod.written, pod.running)}
    return ("not known", YELLOW) if words and words <= {WANTED, SAME, UNKNOWN} else ("differs", RED)


def _pod(pod: PodDifference, console: Console) -> list[str]:
    if pod.same:
        return [f"  pod {pod.pod}: the same"]
    lines = [f"  pod {pod.pod}: {pod.wanted}; written: {pod.written}; running: {pod.running}"]
    lines += [f"    {one_line(why)}" for why in pod.why]
    return lines + [f"    {_painted(line, console)}" for line in pod.text.splitlines()]


def _painted(line: str, console: Console) -> str:
    shown = "".join(char if char.isprintable() else " " for char in line)
    if line.startswith(("---", "+++")):
        return console.painted(shown, BOLD)
    return console.painted(shown, {"-": RED, "+": GREEN, "@": YELLOW}.get(line[:1], ""))
