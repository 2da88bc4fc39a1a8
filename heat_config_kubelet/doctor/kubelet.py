"""The kubelet: its configuration, whether it runs and lets us in, its release, and the certificates between us.

Fields, defaults and what a kubelet ends with: kubernetes/kubernetes pkg/kubelet/apis/config/v1beta1/defaults.go and
cmd/kubelet/app/server.go, as of 1.35 to 1.37.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..commands.console import duration
from ..errors import KubeletError, KubeletRefusedError
from ..kubelet_api import KubeletApi
from ..kubelet_config import own_file, own_pki
from ..kubelet_log import KubeletLog, last_lines
from ..overview import moment
from ..pki import RENEW_BEFORE, Certificate, read_certificate
from .finding import Finding, error, warning
from .node import Node

OLDEST, NEWEST = (1, 35), (1, 37)
"""Releases that the agent is tested with."""
_LAST_WITH_CONTAINERD_1 = (1, 35)
_LOG_LINES = 400
_TOLD_LINES = 2


def configuration(node: Node) -> Iterator[Finding]:
    """The kubelet is configured for static pods, for us, and for nobody else."""
    access = node.view.access
    if access is None:
        with contextlib.suppress(FileNotFoundError):
            own_file(node.settings).open("rb").close()  # who may not read it has not seen that nothing is there
        problem = node.view.problems.get("kubelet", "")
        yield error(
            f"kubelet: {problem}",
            why="no pod can be written or followed: every deployment fails",
            mend=f"heat-config-kubelet kubelet-config, then {_restart(node)}",
        )
        return
    file, fields = access.config_file, node.kubelet_fields
    named = str(fields.get("staticPodPath") or "")
    if named and Path(named) != access.manifest_dir:
        yield error(
            f"{file}: staticPodPath is {named}, but [kubelet] manifest_dir in {node.settings.file} is "
            f"{access.manifest_dir}",
            why="what the agent writes, the kubelet never sees: deployments run into their limits",
            mend=f"take manifest_dir out of {node.settings.file}, or {_rewritten(node)}",
        )
    if not access.manifest_dir.is_dir():
        yield error(
            f"{access.manifest_dir}: the manifest directory is not there",
            why="a kubelet watches only a directory that is there when it starts",
            mend=f"mkdir -m 0700 -p {access.manifest_dir}, then {_restart(node)}",
        )
    yield from _open_doors(node, file, fields)
    yield from _will_not_start(node, file, fields)
    process = node.kubelet
    if process and file and process.option("config") not in ("", str(file)):
        yield error(
            f"the kubelet runs with --config={process.option('config')}, but the agent reads {file}",
            why="manifests may go where it does not look, and its port and certificates may be others",
            mend=f"set [kubelet] config = {process.option('config')} in {node.settings.file}",
        )
    elif process and file and file.stat().st_mtime > process.started_at + 1:
        yield warning(
            f"{file} was changed {duration(node.now() - file.stat().st_mtime)} ago, after the kubelet's start",
            why="the kubelet runs with what the file said before",
            mend=_restart(node),
        )


def _open_doors(node: Node, file: Path | None, fields: Mapping[str, Any]) -> Iterator[Finding]:
    authn = fields.get("authentication") or {}
    secrets = "pod specs, with the passwords in their environment, are there for everybody on the node"
    if fields.get("readOnlyPort"):
        yield warning(
            f"{file}: readOnlyPort is {fields['readOnlyPort']}",
            why=secrets,
            mend=f"set it to 0, or {_rewritten(node)}; then {_restart(node)}",
        )
    if fields and (authn.get("anonymous") or {}).get("enabled"):
        always = (fields.get("authorization") or {}).get("mode") == "AlwaysAllow"
        make = error if always else warning
        yield make(
            f"{file}: authentication.anonymous.enabled is true",
            why=f"{secrets}, and commands can be run in them" if always else "anybody may ask the kubelet",
            mend=f"set it to false, or {_rewritten(node)}; then {_restart(node)}",
        )


def _will_not_start(node: Node, file: Path | None, fields: Mapping[str, Any]) -> Iterator[Finding]:
    if not fields:
        return
    if node.machine.cgroup_v1 and fields.get("failCgroupV1") is not False:
        yield error(
            f"{file}: failCgroupV1 is not false, and this node has control groups of version 1",
            why="a kubelet from 1.35 on does not start so",
            mend=f"set failCgroupV1: false, or {_rewritten(node)}; then {_restart(node)}",
        )
    if fields.get("failSwapOn") is not False and _swaps(node):
        yield error(
            f"{file}: failSwapOn is not false, and this node has swap",
            why="the kubelet does not start so",
            mend=f"set failSwapOn: false, or swapoff -a; then {_restart(node)}",
        )
    resolver = str(fields.get("resolvConf", "/etc/resolv.conf"))
    if resolver and not node.machine.at(resolver).exists():
        yield error(
            f"{file}: resolvConf is {resolver}, which is not there",
            why="no sandbox can be made: pods stay ContainerCreating",
            mend=f"{_rewritten(node)[0].upper()}{_rewritten(node)[1:]}; then {_restart(node)}",
        )


def _swaps(node: Node) -> bool:
    try:
        return len((node.proc / "swaps").read_text().splitlines()) > 1
    except OSError:
        return False


# --- does it run, and what is it


def service(node: Node) -> Iterator[Finding]:
    """The kubelet runs, is healthy, and would be started after a reboot."""
    unit = node.unit(node.settings.kubelet_unit)
    process = node.kubelet
    if unit.get("LoadState") == "masked":
        name = node.settings.kubelet_unit
        yield error(
            f"{name} is masked",
            why="nobody can start the kubelet",
            mend=f"systemctl unmask {name} && systemctl enable --now {name}",
        )
        return
    if unit.get("UnitFileState") == "disabled":
        yield warning(
            f"{node.settings.kubelet_unit} is not enabled",
            why="after a reboot no pod runs until the next deployment starts it",
            mend=f"systemctl enable {node.settings.kubelet_unit}",
        )
    access = node.view.access
    if process and process.state == "T":
        yield error(
            f"the kubelet (process {process.pid}) is paused (SIGSTOP)",
            why="no pod is started, ended or told of",
            mend=f"kill -CONT {process.pid}",
        )
    elif access and not KubeletApi(access, node_name=node.settings.node_name).healthy():
        yield _ill(node, bool(process))


def _ill(node: Node, runs: bool) -> Finding:
    said = last_lines(KubeletLog.of(node.settings).last(_LOG_LINES), _TOLD_LINES)
    words = f"; the last errors of its log: {' | '.join(said)}" if said else ""
    log = node.settings.kubelet_log
    place = f"tail {log}" if log else f"journalctl -u {node.settings.kubelet_unit} -n 50"
    start = f"start it: {node.settings.kubelet_command}" if node.settings.kubelet_command else "start it again"
    return error(
        (f"the kubelet runs, but is not healthy{words}" if runs else f"the kubelet does not run{words}")[:600],
        why="no pod is started or ended; pods that run go on, and their deployments wait",
        mend=f"{node.restart(node.settings.kubelet_unit, start)}; if it ends again: {place}",
    )


def api(node: Node) -> Iterator[Finding]:
    """The kubelet's API answers, and lets us in."""
    access = node.view.access
    if access is None or (node.kubelet is not None and node.kubelet.state == "T"):
        return  # the checks kubelet-config and kubelet have told
    ask = KubeletApi(access, node_name=node.settings.node_name)
    try:
        ask.pods()
    except KubeletRefusedError as problem:
        yield error(
            f"kubelet: {problem.message}",
            why="nobody can see how the pods are: deployments fail",
            mend=problem.hint or f"see [kubelet] in {node.settings.file}",
        )
    except KubeletError as problem:
        if ask.healthy():
            yield error(
                f"kubelet: {problem.message}",
                why="nobody can see how the pods are: deployments run into their limits",
                mend=problem.hint or _restart(node),
            )


def versions(node: Node) -> Iterator[Finding]:
    """The kubelet's release is one that we know, and fits the runtime's."""
    release = kubelet_release(node)
    if release and release < OLDEST:
        yield warning(
            f"the kubelet is {_dotted(release)}",
            why=f"the agent is tested with {_dotted(OLDEST)} to {_dotted(NEWEST)}; older ones are slower, and say "
            "other things of pods that fail",
            mend="build the image with a newer kubelet (DIB_KUBELET_VERSION)",
        )
    if release and release > NEWEST:
        yield warning(
            f"the kubelet is {_dotted(release)}, newer than this agent",
            why="fields that it has learned since are called unknown (option strict: false lets them pass)",
            mend="install a newer heat-config-kubelet",
        )
    runtime = runtime_release(node)
    if release and runtime and node.runtime.name == "containerd" and release > _LAST_WITH_CONTAINERD_1:
        if runtime >= (2, 0):
            return
        yield error(
            f"kubelet {_dotted(release)} with containerd {_dotted(runtime)}",
            why=f"{_dotted(_LAST_WITH_CONTAINERD_1)} is the last kubelet that works with containerd 1",
            mend="install containerd 2, or a kubelet 1.35",
        )


def kubelet_release(node: Node) -> tuple[int, int] | None:
    """Its release as (1, 37); None where that cannot be found out."""
    return _release(node, node.kubelet.pid if node.kubelet else 0, "kubelet")


def runtime_release(node: Node) -> tuple[int, int] | None:
    """The same of the container runtime."""
    process = node.runtime.process
    return _release(node, process.pid if process else 0, node.runtime.name)


def _release(node: Node, pid: int, program: str) -> tuple[int, int] | None:
    told = node.run((f"{node.proc}/{pid}/exe" if pid else program, "--version"))
    found = re.search(r"(?:^| )v?(\d+)\.(\d+)\.\d", told.text) if told else None
    return (int(found[1]), int(found[2])) if found else None


def _dotted(release: tuple[int, int]) -> str:
    return f"{release[0]}.{release[1]}"


# --- certificates


def certificates(node: Node) -> Iterator[Finding]:
    """The certificates between the agent and the kubelet are there, belong together, and last."""
    access = node.view.access
    if access is None:
        return
    ours = own_pki(node.settings)
    mine = access.ca == ours.ca
    anew = f"heat-config-kubelet kubelet-config, then {_restart(node)}" if mine else "renew it as it was made"
    seen: dict[str, Certificate] = {}
    served = str(node.kubelet_fields.get("tlsCertFile") or "")
    wanted = {"ca": access.ca, "client": access.client_cert, "server": Path(served) if served else None}
    for name, path in wanted.items():
        if path is None:
            continue
        try:
            seen[name] = read_certificate(path)
        except PermissionError:
            raise
        except (OSError, ValueError) as problem:
            why = problem.strerror if isinstance(problem, OSError) else "holds no certificate"
            yield error(f"{path}: {why}", why="the agent and the kubelet cannot talk to each other", mend=anew)
            continue
        yield from _age(path, seen[name], node.now, anew)
    for name in ("server", "client"):
        if mine and "ca" in seen and name in seen and seen[name].issuer != seen["ca"].subject:
            yield error(
                f"{wanted[name]} is not by {access.ca}",
                why="the agent and the kubelet do not trust each other",
                mend=anew
                if wanted[name] in (ours.server, ours.client)
                else f"take client_cert and client_key out of [kubelet] in {node.settings.file}: ours is found without",
            )


def _age(path: Path, certificate: Certificate, now: Callable[[], float], anew: str) -> Iterator[Finding]:
    left = certificate.not_after.timestamp() - now()
    when = moment(certificate.not_after.timestamp())
    if left <= 0:
        yield error(f"{path}: ended at {when}", why="the agent and the kubelet no longer trust each other", mend=anew)
    elif left < RENEW_BEFORE.total_seconds() / 3:
        yield warning(
            f"{path}: ends at {when}, in {duration(left)}",
            why="then the agent and the kubelet no longer trust each other",
            mend=anew,
        )


def _restart(node: Node) -> str:
    return node.restart(node.settings.kubelet_unit, "start the kubelet again")


def _rewritten(node: Node) -> str:
    """How its configuration is written as it should be; only a configuration of ours is."""
    access = node.view.access
    if access and access.config_file == own_file(node.settings):
        return "have it written anew: heat-config-kubelet kubelet-config"
    return "write it as heat-config-kubelet kubelet-config does (--output FILE shows it)"
