"""What has become of one pod: it runs, it failed, or it is still waited for.

`PodWatch` holds the history of one pod of one revision and judges each status in its light; `Pace` says how often to
look. What a single status of a container means is in `container_faults.py`.
Not for: asking the kubelet (`kubelet_api.py`), several pods of a deployment (`pod_judge.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import container_faults as faults
from . import pod_words
from .container_faults import shortened
from .options import Options
from .values import ContainerState, ContainerStatus, Outcome, Pod, PodStatus, Verdict

SHORTEST_POLL = 0.1
AFTER_CRASH_SECONDS = 10.0
"""How long a pod must have stayed ready after one of its containers has failed before.

The kubelet sees a container's end up to a second late, more on a busy node (its PLEG lists containers every second):
a container that ends at once looks ready for so long every time that it is started.
"""
CREATION_RETRY_SECONDS = 16.0
"""The kubelet tries again after 10 to 15 s (backOffPeriod and its jitter, pkg/kubelet/pod_workers.go)."""
_ENDED_CODES = (0, 137, 143)
"""Exit codes of containers that are asked to end, or made to: by themselves, SIGKILL, SIGTERM."""
_PULLS = 2
_CRASHES = 3


class Pace:
    """How often to look at the kubelet: every 0.1 s after a change, then more and more slowly."""

    def __init__(self) -> None:
        self._changed_at = float("-inf")

    def note(self, changed: bool, now: float) -> None:
        """Note whether a look at `now` (seconds) showed anything new, or that something is about to change."""
        if changed:
            self._changed_at = now

    def period(self, now: float, bound: float) -> float:
        """Give the seconds from one look to the next: a tenth of the time without change, `bound` at most."""
        return min(bound, max(SHORTEST_POLL, (now - self._changed_at) / 10))


@dataclass
class _History:
    """What was seen of one container."""

    there: bool = False
    """Its image; once there it counts as there."""
    waiting: str = ""
    """Its waiting reason at the last look."""
    since: float = 0.0
    """When that began."""
    pulls: int = 0
    """Pulls of its image that have failed."""
    refused: int = 0
    """Those of them that the registry refused."""
    pull_message: str = ""
    creations: int = 0
    """Failed attempts to create it before the present run of them."""


class PodWatch:
    """The history of one pod; `look` judges it. All times are seconds of one steady clock.

    Success: the pod is Ready and its containers stayed the same for `min_ready_seconds`, AFTER_CRASH_SECONDS at
    least where one has failed before; or it has Succeeded, which is for good, under restartPolicy Never or OnFailure.

    Failure, unless `fail_fast` is off:
    - at once: the kubelet refuses the manifest or rejects the pod, an image that is absent under pull policy Never
      or has an impossible name, an exit code other than 0 under restartPolicy Never;
    - the second time: the registry says that there is no such image, or denies it. Pulls are counted by the
      waiting reason's turning to ErrImagePull: from time alone they cannot be, since other pods' pulls may be
      ahead in the kubelet's queue;
    - the third time: a container (init containers included) that ends or cannot be started, by its restartCount;
      a container that cannot be created, by the reason's turns and the kubelet's retry time.

    The limits, which everything else runs into: every moment counts on one of two clocks.
    - Images: the pod is not shown, or an image may be on its way. It starts at `written_at` and stands still while
      the other one runs; its limit is `images_timeout`.
    - Containers: no image is on its way. So it is when all images are there; while an init container runs or fails
      (images of what comes after it are pulled later); while volumes, sandbox or network are not there
      (PodReadyToStartContainers is not True: the kubelet pulls only after that) and its log says what is in the way.
      It starts anew each time; its limit is `containers_timeout`.
    An image is there once a container was made of it, or would have been but for another reason; it stays so.
    """

    def __init__(self, pod: Pod, options: Options, written_at: float) -> None:
        self._options = options
        spec = pod.manifest["spec"]
        self._specs: dict[tuple[bool, str], Mapping[str, Any]] = {
            (init, str(each.get("name"))): each
            for init, field in ((True, "initContainers"), (False, "containers"))
            for each in spec.get(field) or ()
        }
        self._spec: Mapping[str, Any] = spec
        self._policy = pod.restart_policy
        self._gates = bool(spec.get("readinessGates"))
        self._histories = {key: _History() for key in self._specs}
        self._images_limit = written_at + options.images_timeout
        self._containers_since: float | None = None
        self._ready_mark: object = None
        self._ready_since = 0.0

    def look(self, status: PodStatus | None, now: float, *, refusal: str = "", trouble: str = "") -> Verdict:
        """Judge the pod by its status at `now`; None where the kubelet does not show it or does not answer.

        `refusal` is why the kubelet refuses the manifest and counts only while the pod is not shown. `trouble` is
        what keeps its volumes, sandbox or network from being there or, without a status, why nothing is known.
        """
        if status is None:
            if refusal and self._options.fail_fast:
                return Verdict(Outcome.FAILED, _refused(refusal))
            return self._within_limits(now, _refused(refusal) if refusal else trouble or "not yet shown by the kubelet")
        for container in status.containers:
            self._note(container, now)
        if self._runs(status):
            return self._stays(status, now)
        self._ready_mark = None
        certain = self._certain(status, now) if self._options.fail_fast else None
        if certain:
            return certain
        self._turn_clock(status, bool(trouble), now)
        return self._within_limits(
            now, self._waits_for(status, trouble, now), self._telling(status), self._probed(status)
        )

    # --- success

    def _runs(self, status: PodStatus) -> bool:
        if status.phase == "Succeeded":
            return self._policy != "Always"
        if status.phase == "Failed":
            return False
        return status.ready or self._all_run(status)

    def _all_run(self, status: PodStatus) -> bool:
        """Whether all containers run and are ready: some releases leave a standalone pod's phase and conditions behind.

        Seen as Pending or Init:0/1 (kubernetes issues 44955 and 61717). Readiness gates are in the condition alone.
        """
        ready = {
            each.name
            for each in status.containers
            if not each.init and each.ready and each.state is ContainerState.RUNNING
        }
        return not self._gates and bool(ready) and ready >= {name for init, name in self._specs if not init}

    def _stays(self, status: PodStatus, now: float) -> Verdict:
        mark = tuple((each.name, each.container_id, each.restart_count) for each in status.containers)
        if mark != self._ready_mark:
            self._ready_mark, self._ready_since = mark, now
        crashed = any(faults.failed_before(each) for each in status.containers)
        wanted = max(self._options.min_ready_seconds, AFTER_CRASH_SECONDS if crashed else 0.0)
        if status.phase == "Succeeded" or now - self._ready_since >= wanted:
            return Verdict(Outcome.READY)
        return Verdict(Outcome.WAITING, f"ready; it has to stay so for {wanted:g} s")

    # --- certain failures

    def _certain(self, status: PodStatus, now: float) -> Verdict | None:
        for container in status.containers:
            policy = self._policy_of(container)
            times = faults.failures(container, policy)
            if times >= _CRASHES or (times and policy == "Never"):
                log_of = container.name if faults.has_log(container) else ""
                probe_of = container.name if self._may_be_ended_by_a_probe(container) else ""
                return Verdict(Outcome.FAILED, self._described(container, now), log_of, probe_of)
            history = self._histories.get((container.init, container.name), _History())
            if (
                container.reason in faults.HOPELESS_REASONS
                or history.refused >= _PULLS
                or self._creations(history, now) >= _CRASHES
            ):
                return Verdict(Outcome.FAILED, self._described(container, now))
        if status.phase == "Failed":
            return Verdict(Outcome.FAILED, self._rejected(status))
        return None

    def _policy_of(self, container: ContainerStatus) -> str:
        """Give the restart policy of one container: its own, else the pod's; an init container is not run for ever."""
        own = self._specs.get((container.init, container.name), {}).get("restartPolicy")
        if own:
            return str(own)
        return "OnFailure" if container.init and self._policy == "Always" else self._policy

    # --- history

    def _note(self, container: ContainerStatus, now: float) -> None:
        history = self._histories.setdefault((container.init, container.name), _History())
        history.there = history.there or faults.image_there(container)
        reason = container.reason if container.state is ContainerState.WAITING else ""
        message = faults.pull_message(container) if reason in faults.PULL_REASONS else ""
        if reason != history.waiting:
            if reason in faults.PULL_REASONS and (reason != "ImagePullBackOff" or not history.pulls):
                history.pulls += 1
                history.refused += faults.pull_refused(message)
            if history.waiting in faults.CREATION_REASONS:
                history.creations += self._tries(history, now)
            history.waiting, history.since = reason, now
        history.pull_message = message or history.pull_message
        if container.state is ContainerState.RUNNING:
            history.creations = 0

    def _creations(self, history: _History, now: float) -> int:
        """Give how many times a container could not be created, the present run of attempts included."""
        running = history.waiting in faults.CREATION_REASONS
        return history.creations + self._tries(history, now) if running else 0

    def _tries(self, history: _History, now: float) -> int:
        return 1 + int((now - history.since) / CREATION_RETRY_SECONDS)

    # --- limits

    def _turn_clock(self, status: PodStatus, trouble: bool, now: float) -> None:
        """Let the clock of containers run, or that of images."""
        on_containers = self._no_image_comes(status, trouble)
        if on_containers and self._containers_since is None:
            self._containers_since = now
        elif not on_containers and self._containers_since is not None:
            self._images_limit += now - self._containers_since
            self._containers_since = None

    def _no_image_comes(self, status: PodStatus, trouble: bool) -> bool:
        if all(history.there for history in self._histories.values()):
            return True
        if trouble and not status.sandbox_ready:
            return True
        return any(each.init and self._is_under_way(each) for each in status.containers)

    def _is_under_way(self, init: ContainerStatus) -> bool:
        """Whether the pod is held up by this init container: it runs or fails, and is no sidecar that is up."""
        if init.state is ContainerState.RUNNING:
            return self._policy_of(init) != "Always" or not init.started
        return faults.ended(init, self._policy_of(init)) and init.reason not in faults.PULL_REASONS

    def _within_limits(self, now: float, reason: str, log_of: str = "", probe_of: str = "") -> Verdict:
        options = self._options
        if self._containers_since is not None:
            over = now - self._containers_since >= options.containers_timeout
            limit = f"containers_timeout of {options.containers_timeout:g} s has run out"
        else:
            over = now >= self._images_limit
            limit = f"images_timeout of {options.images_timeout:g} s has run out"
        if over:
            return Verdict(Outcome.FAILED, f"{limit}: {reason}", log_of, probe_of)
        return Verdict(Outcome.WAITING, reason)

    # --- words

    def _waits_for(self, status: PodStatus, trouble: str, now: float) -> str:
        if status.phase == "Failed" and (status.reason or not status.containers):
            return self._rejected(status)
        if status.sandbox_ready is not True and not any(each.container_id for each in status.containers):
            return trouble or "volumes, sandbox and network are being set up"
        unfinished = [each for each in status.containers if not self._is_fine(each)]
        telling = [each for each in unfinished if each.reason != "PodInitializing"] or unfinished[:1]
        return "; ".join(self._described(each, now) for each in telling) or "all containers run, the pod is not ready"

    def _is_fine(self, container: ContainerStatus) -> bool:
        """Whether nothing more is wanted of this container: it is ready, a sidecar that is up, or has ended well."""
        always = self._policy_of(container) == "Always"
        if container.state is ContainerState.TERMINATED:
            return container.exit_code == 0 and not always
        started_sidecar = container.init and always and bool(container.started)
        return container.state is ContainerState.RUNNING and (container.ready or started_sidecar)

    def _telling(self, status: PodStatus) -> str:
        """Choose the container whose last lines say most about a pod that did not become ready in time."""
        ran = (each.name for each in status.containers if not self._is_fine(each) and faults.has_log(each))
        return next(ran, "")

    def _probed(self, status: PodStatus) -> str:
        """Choose the container of a pod that did not become ready in time whose probes are in the way."""
        for each in status.containers:
            if each.state is ContainerState.RUNNING and not self._is_fine(each):
                return each.name if pod_words.probe(self._spec_of(each), *pod_words.PROBES) else ""
        return ""

    def _may_be_ended_by_a_probe(self, container: ContainerStatus) -> bool:
        """Whether the container ended as one does that the kubelet ends, and has a probe for which it would."""
        code = container.exit_code if container.state is ContainerState.TERMINATED else container.last_exit_code
        reason = container.reason if container.state is ContainerState.TERMINATED else container.last_reason
        return code in _ENDED_CODES and reason != "OOMKilled" and bool(self._ending_probe(container))

    def _ending_probe(self, container: ContainerStatus) -> str:
        return pod_words.probe(self._spec_of(container), "livenessProbe", "startupProbe")

    def _spec_of(self, container: ContainerStatus) -> Mapping[str, Any]:
        return self._specs.get((container.init, container.name), {})

    def _rejected(self, status: PodStatus) -> str:
        words = [status.reason, _lacking(shortened(status.message.removeprefix("Pod was rejected: ")))]
        ports = ", ".join(sorted(pod_words.host_ports(self._spec))) if status.reason == "NodePorts" else ""
        text = "the pod failed: " + (": ".join(filter(None, words)) or "the kubelet gives no reason")
        return f"{text} ({ports})" if ports else text

    def _described(self, container: ContainerStatus, now: float) -> str:
        kind = "init container" if container.init else "container"
        return f'{kind} "{container.name}"{self._state_of(container, now)}'

    def _state_of(self, container: ContainerStatus, now: float) -> str:
        history = self._histories.get((container.init, container.name), _History())
        image = self._spec_of(container).get("image") or container.image
        if container.reason in faults.PULL_REASONS:
            why = history.pull_message or shortened(container.message)
            return f": image {image} cannot be pulled ({container.reason}, {_times(history.pulls)}): {why}"
        if container.state is ContainerState.RUNNING:
            return _running(container, self._spec_of(container))
        times = max(faults.failures(container, self._policy_of(container)), self._creations(history, now))
        text = faults.said(container, times)
        if container.state is ContainerState.WAITING and not history.there and not times:
            text = f"{text}: its image {image} may still be on its way" if not container.message else text
        if self._may_be_ended_by_a_probe(container):
            text += f"; perhaps the kubelet ended it for its {self._ending_probe(container)}"
        return f" {text}" if text.startswith("exited") else f": {text}"


def _running(container: ContainerStatus, spec: Mapping[str, Any]) -> str:
    if container.init:
        return " is still running" if container.started is not False else " runs, but has not started yet (its probe)"
    restarts = f", restarted {_times(container.restart_count)}" if container.restart_count else ""
    if container.started is False:
        startup = pod_words.probe(spec, "startupProbe") or "startup probe"
        return f" runs, but has not started yet (its {startup}){restarts}"
    readiness = pod_words.probe(spec, "readinessProbe") or "readiness probe"
    return f" runs, but is not ready (its {readiness}){restarts}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _refused(reason: str) -> str:
    return f"the kubelet refuses the manifest: {shortened(reason)}"


def _amount(resource: str, number: int) -> str:
    """An amount of a node's resource for a person: cpu is counted in thousandths, what is stored in bytes."""
    if resource == "cpu":
        return f"{number / 1000:g}"
    if resource not in ("memory", "ephemeral-storage"):
        return str(number)
    power = min(4, max(0, number.bit_length() - 1) // 10)
    return f"{number / 1024**power:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def _lacking(message: str) -> str:
    """Say what the node has too little of, where the kubelet tells of its search for pods to end instead of it.

    pkg/kubelet/preemption/preemption.go, admissionRequirementList.toString: "q" is what is missing, of cpu thousandths.
    """
    found = re.search(r"no set of running pods found to reclaim resources: \[(.*)\]$", message)
    told = re.findall(r"\(res: ([^,]+), q: (\d+)\)", found[1]) if found else []
    missing = [f"{name}: {_amount(name, int(amount))} missing" for name, amount in told]
    return f"the node has too little for what the pod requests ({', '.join(missing)})" if missing else message
