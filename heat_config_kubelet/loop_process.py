"""The loop as a process: puts its parts together, becomes the one loop, and runs it to its end."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from .cgroups import pod_exists
from .clock import Clock
from .delivery import Delivery
from .errors import AgentError, ManifestError, ReplacedStoreError
from .hook_queue import HookQueue
from .kubelet_api import KubeletApi
from .kubelet_config import KubeletAccess, discover, keep_certificates
from .kubelet_log import KubeletLog
from .kubelet_service import KubeletService, Processes, SystemProcesses
from .kubelet_view import KubeletView
from .ledger import Ledger
from .log import Log
from .loop import Loop, Parts
from .manifest_dir import Found, ManifestDir
from .manifests import Manifests
from .pod_judge import PodJudge
from .settings import Settings
from .signals import Sender
from .store import Store, open_or_restart
from .summary import Summarizer
from .wake import Wake, under_systemd

_MOST_LOG_BYTES = 1024 * 1024


def run_loop(settings: Settings, lock: int | None = None) -> int:
    """Be the loop until nothing is pending; 0 too where another process is. Raises AgentError.

    `lock` is the descriptor of the loop's lock where this process was started with it (`Wake.start_loop`).
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    wake = Wake(settings.state_dir)
    if not wake.hold(lock):
        return 0
    _keep_small(settings.state_dir / "loop.log")
    log = Log(settings.log_level)
    clock = Clock()
    try:
        while not _worked(settings, wake, log, clock):
            pass
    finally:
        wake.let_go(clear_flag=False)
    return 0


def _worked(settings: Settings, wake: Wake, log: Log, clock: Clock) -> bool:
    """Work until nothing is pending; False where the store was replaced meanwhile, and all is to begin anew."""
    store = open_or_restart(settings.store_file, clock.wall(), log)
    try:
        Loop(assemble(settings, store, wake, log, clock)).run()
    except ReplacedStoreError as error:
        log.warning("store replaced", why=error)
        return False
    finally:
        store.close()
    return True


def assemble(settings: Settings, store: Store, wake: Wake, log: Log, clock: Clock) -> Parts:
    """Put the real parts together."""
    ledger = Ledger(store, clock, log)
    access, broken = find_kubelet(settings, log, SystemProcesses())
    directory = ManifestDir(access.manifest_dir) if not broken else _NoManifestDir(access.manifest_dir, broken)
    api = KubeletApi(access, node_name=settings.node_name, node_address=_node_address())
    kubelet_log = KubeletLog.of(settings)
    view = KubeletView(
        api, kubelet_log, KubeletService(settings, api, kubelet_log), directory, log, clock=clock, broken=broken
    )

    def in_runtime(uid: str) -> bool:
        return pod_exists(
            uid, cgroup_fs=settings.cgroup_fs, cgroup_root=access.cgroup_root, driver=access.cgroup_driver
        )

    return Parts(
        settings=settings,
        wake=wake,
        ledger=ledger,
        manifests=Manifests(store, directory, in_runtime, log, clock),
        view=view,
        judge=PodJudge(ledger, view, settings),
        hooks=HookQueue(ledger, settings, wake, log),
        delivery=Delivery(ledger, Sender(settings), settings, wake.notify, random.Random()),  # noqa: S311  (jitter)
        summary=Summarizer(settings, log, clock),
        log=log,
    )


def find_kubelet(settings: Settings, log: Log, processes: Processes) -> tuple[KubeletAccess, str]:
    """Find the kubelet; where there is none to be found, say why: its deployments fail with that reason.

    Under systemd its unit, which writes the configuration before it starts, may not have run yet: it is started once.
    """
    try:
        if keep_certificates(settings):
            log.info("kubelet certificates renewed")
        return discover(settings), ""
    except AgentError as error:
        problem = error
    if under_systemd(settings) and _started(settings.kubelet_unit, processes):
        try:
            return discover(settings), ""
        except AgentError as error:
            problem = error
    log.error("no kubelet to work with", problem=problem)
    return _nowhere(settings), str(problem)


def _started(unit: str, processes: Processes) -> bool:
    try:
        return processes.run(("systemctl", "start", unit)).status == 0
    except OSError:  # a TimeoutError too: its ExecStartPre takes its time, and a later loop finds what it wrote
        return False


def _nowhere(settings: Settings) -> KubeletAccess:
    return KubeletAccess(
        manifest_dir=settings.manifest_dir or Path("/etc/kubernetes/manifests"),
        port=0,
        healthz_port=0,
        ca=None,
        client_cert=None,
        client_key=None,
        cgroup_root="/",
        cgroup_driver="cgroupfs",
        config_file=None,
    )


def _node_address() -> str:
    """The address that this node's packets leave it with; "" without a route. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


class _NoManifestDir(ManifestDir):
    """Stands for the directory of a kubelet that could not be found: nothing is there, and nothing is written."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(folder)
        self._why = why

    def prepare(self) -> None:
        """Nothing to prepare."""

    def scan(self) -> tuple[Found, ...]:
        """Raises ManifestError: what is there is not known."""
        raise ManifestError(self._why)


def _keep_small(log_file: Path) -> None:
    """Keep one older part of a detached loop's log; under systemd the journal has it."""
    try:
        if log_file.stat().st_size > _MOST_LOG_BYTES:
            log_file.replace(log_file.with_suffix(".log.1"))
    except OSError:
        return
