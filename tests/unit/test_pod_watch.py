"""Verdicts on pods: the faults as kubelet 1.37.2 shows them over time, then rules that need statuses of their own.

Each file of data/pods is what one pod's status was in `/pods` from its manifest's writing on: `pod` is its first
document, `looks` every status that differs from the one before, with the seconds since.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heat_config_kubelet.kubelet_api import parse_pods
from heat_config_kubelet.options import Options
from heat_config_kubelet.status import AFTER_CRASH_SECONDS, Pace, PodWatch
from heat_config_kubelet.values import ContainerState, ContainerStatus, Outcome, Pod, PodKey, PodStatus, Verdict

DATA = Path(__file__).parent / "data" / "pods"
NO_LIMITS = Options(images_timeout=1e6, containers_timeout=1e6, min_ready_seconds=2.0)


def recorded(name: str) -> tuple[Pod, list[tuple[float, PodStatus]]]:
    content = json.loads((DATA / f"{name}.json").read_text())
    looks = [
        (look["at"], parse_pods(json.dumps({"items": [{**content["pod"], "status": look["status"]}]}).encode())[0])
        for look in content["looks"]
    ]
    return Pod(PodKey("default", name), {"spec": content["pod"]["spec"]}, ""), looks


def play(name: str, options: Options = NO_LIMITS, *, until: float = 200.0, trouble: str = "") -> tuple[float, Verdict]:
    """Look at a recorded pod every 0.1 s until something is certain; after the last status it stays as it is."""
    pod, looks = recorded(name)
    watch = PodWatch(pod, options, 0.0)
    verdict = Verdict(Outcome.WAITING)
    status = None
    tick = 0
    while verdict.outcome is Outcome.WAITING and tick < until * 10:
        while looks and looks[0][0] <= tick / 10:
            status = looks.pop(0)[1]
        verdict = watch.look(status, tick / 10, trouble=trouble if status else "")
        tick += 1
    return tick / 10, verdict


@pytest.mark.parametrize("name", ["ok", "never0", "onfail", "sidecar", "port1", "crash1"])
def test_pods_that_run(name: str) -> None:
    _, verdict = play(name)
    assert verdict == Verdict(Outcome.READY)


@pytest.mark.parametrize(
    ("name", "within", "words", "log_of"),
    [
        ("never", 2, 'container "main": ErrImageNeverPull: Container image "lab/absent:1" is not present', ""),
        ("badname", 2, 'InvalidImageName: Failed to apply default image tag "Lab/UPPER:1:2"', ""),
        ("port2", 2, "node(s) didn't have free ports for the requested pod ports (21777/TCP)", ""),
        ("mem", 2, "the node has too little for what the pod requests (memory: 876.5 GiB missing)", ""),
        ("affinity", 2, "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node", ""),
        ("never1", 3, 'container "main" exited with code 1', "main"),
    ],
)
def test_failures_at_once(name: str, within: float, words: str, log_of: str) -> None:
    at, verdict = play(name)
    assert verdict.outcome is Outcome.FAILED
    assert words in verdict.reason
    assert verdict.log_of == log_of
    assert at <= within


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "missing",
            "image 127.0.0.1:21500/missing:1 cannot be pulled (ErrImagePull, 2 times): 127.0.0.1:21500/missing:1",
        ),
        ("private", "pull access denied, repository does not exist or may require authorization"),
        ("denied", "(ErrImagePull, 2 times): unexpected status from HEAD request to http://127.0.0.1:21500/v2/denied/"),
        ("token", "failed to authorize: failed to fetch anonymous token: unexpected status"),
        ("initimg", 'container "main": image 127.0.0.1:21500/missing:1 cannot be pulled (ErrImagePull, 2 times)'),
    ],
)
def test_a_registry_s_refusal_fails_the_second_time(name: str, words: str) -> None:
    at, verdict = play(name)
    assert verdict.outcome is Outcome.FAILED
    assert words in verdict.reason
    assert 10 < at < 40


@pytest.mark.parametrize(
    ("name", "words", "log_of"),
    [
        ("crash", 'container "main" exited with code 3, 3 times', "main"),
        ("late", 'container "main" exited with code 1, 3 times', "main"),
        ("exit0", 'container "main" exited with code 0, 3 times', "main"),
        ("crashmsg", 'container "main" exited with code 4, 3 times: the reason', "main"),
        ("oom", 'container "main" exited with code 137 (OOMKilled), 3 times', "main"),
        (
            "startup",
            'container "main" exited with code 137 (signal 9), 3 times; perhaps the kubelet ended it for its startup'
            " probe, exec /bin/false",
            "main",
        ),
        (
            "live",
            'container "main" exited with code 137 (signal 9), 3 times; perhaps the kubelet ended it for its liveness'
            " probe, exec /bin/false",
            "main",
        ),
        ("two", 'container "side" exited with code 9, 3 times', "side"),
        ("initfail", 'init container "setup" exited with code 5, 3 times', "setup"),
        ("nocmd", 'RunContainerError (exit code 128), 3 times: exec: "/bin/nothing": stat /bin/nothing: no such', ""),
        ("hook", "PostStartHookError (exit code 137), 3 times: Exec lifecycle hook ([/bin/false])", "main"),
        ("nonroot", "CreateContainerConfigError, 3 times: container has runAsNonRoot and image will run as root", ""),
        ("createerror", "CreateContainerError, 3 times: failed to generate container", ""),
    ],
)
def test_crashes_and_start_errors_fail_the_third_time(name: str, words: str, log_of: str) -> None:
    at, verdict = play(name, replace(NO_LIMITS, min_ready_seconds=3.0))
    assert verdict.outcome is Outcome.FAILED
    assert words in verdict.reason
    assert verdict.log_of == log_of
    assert verdict.probe_of == (log_of if "probe" in words else "")
    assert 5 < at < 40


LIMITS = Options(images_timeout=65.0, containers_timeout=12.0, min_ready_seconds=2.0)


@pytest.mark.parametrize(
    ("name", "words", "log_of"),
    [
        ("unready", 'container "main" runs, but is not ready (its readiness probe, exec /bin/false)', "main"),
        ("gate", "all containers run, the pod is not ready", ""),
        ("initslow", 'init container "setup" is still running', "setup"),
    ],
)
def test_pods_that_never_become_ready(name: str, words: str, log_of: str) -> None:
    at, verdict = play(name, LIMITS)
    probe_of = log_of if "probe" in words else ""
    assert verdict == Verdict(Outcome.FAILED, f"containers_timeout of 12 s has run out: {words}", log_of, probe_of)
    assert 12 < at < 16, "counted from the moment when no image was wanted any more"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refusedport", "dial tcp 127.0.0.1:21501: connect: connection refused"),
        ("busy", "429 Too Many Requests"),
        ("slow", "net/http: timeout awaiting response headers"),
    ],
)
def test_registries_that_may_come_back(name: str, words: str) -> None:
    at, verdict = play(name, LIMITS)
    assert verdict.outcome is Outcome.FAILED
    assert verdict.reason.startswith('images_timeout of 65 s has run out: container "main": image 127.0.0.1:')
    assert words in verdict.reason
    assert 65 <= at < 65.5


def test_a_volume_that_cannot_be_mounted() -> None:
    at, verdict = play("hostpath", LIMITS, trouble='MountVolume.SetUp failed for volume "v": no such directory')
    assert verdict.outcome is Outcome.FAILED
    assert verdict.reason == (
        'containers_timeout of 12 s has run out: MountVolume.SetUp failed for volume "v": no such directory'
    )
    assert 12 <= at < 13
    at, verdict = play("hostpath", LIMITS)
    assert verdict.reason == "images_timeout of 65 s has run out: volumes, sandbox and network are being set up"
    assert 65 <= at < 65.5


@pytest.mark.parametrize("name", ["never", "missing", "crash", "never1", "port2", "initfail", "nocmd", "nonroot"])
def test_without_fail_fast_only_the_limits_decide(name: str) -> None:
    options = replace(LIMITS, fail_fast=False, images_timeout=80, containers_timeout=70, min_ready_seconds=30)
    at, verdict = play(name, options)
    assert verdict.outcome is Outcome.FAILED
    assert "_timeout of " in verdict.reason
    assert at >= 70


def test_what_is_waited_for_is_said_all_along() -> None:
    pod, looks = recorded("initimg")
    watch = PodWatch(pod, NO_LIMITS, 0.0)
    said = [watch.look(None, 0.0).reason]
    said += [watch.look(status, at).reason for at, status in looks]
    assert said[:2] == ["not yet shown by the kubelet", "volumes, sandbox and network are being set up"]
    assert 'init container "setup": PodInitializing: its image docker.io/lab/busybox:1 may still be on its way' in said
    assert 'container "main": PodInitializing: its image 127.0.0.1:21500/missing:1 may still be on its way' in said
    assert any("cannot be pulled (ErrImagePull, once)" in text for text in said)


# --- statuses of our own making


def pod(*containers: str, **spec: Any) -> Pod:
    named = [{"name": name, "image": f"registry/{name}:1"} for name in containers or ("main",)]
    return Pod(PodKey("default", "web"), {"spec": {"containers": named, **spec}}, "")


def container(name: str = "main", **fields: Any) -> ContainerStatus:
    known: dict[str, Any] = {
        "init": False,
        "image": f"registry/{name}:1",
        "image_id": "sha256:1",
        "container_id": "containerd://1",
        "ready": True,
        "restart_count": 0,
        "state": ContainerState.RUNNING,
        "started": True,
    }
    return ContainerStatus(name, **{**known, **fields})


def waiting(name: str = "main", reason: str = "ContainerCreating", message: str = "", **fields: Any) -> ContainerStatus:
    known: dict[str, Any] = {"image_id": "", "container_id": "", "ready": False, "started": False}
    state = {"state": ContainerState.WAITING, "reason": reason, "message": message}
    return container(name, **{**known, **state, **fields})


def ended(name: str = "main", code: int = 1, **fields: Any) -> ContainerStatus:
    return container(name, **{"ready": False, "state": ContainerState.TERMINATED, "exit_code": code, **fields})


def shown(*containers: ContainerStatus, **fields: Any) -> PodStatus:
    known: dict[str, Any] = {
        "uid": "u",
        "namespace": "default",
        "name": "web-node",
        "annotations": {},
        "phase": "Running",
        "reason": "",
        "message": "",
        "ready": all(each.ready for each in containers if not each.init),
        "sandbox_ready": True,
        "pod_ip": "",
        "host_ip": "",
        "restart_policy": "Always",
    }
    return PodStatus(containers=containers, **{**known, **fields})


SHORT = Options(images_timeout=100.0, containers_timeout=10.0, min_ready_seconds=1.0)


def test_ready_has_to_last() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    verdict = watch.look(shown(container()), 5.0)
    assert verdict == Verdict(Outcome.WAITING, "ready; it has to stay so for 1 s")
    assert watch.look(shown(container()), 5.9).outcome is Outcome.WAITING
    assert watch.look(shown(container()), 6.0).outcome is Outcome.READY


def test_a_restart_starts_the_wait_for_lasting_anew() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    watch.look(shown(container()), 5.0)
    again = shown(container(restart_count=1, container_id="containerd://2", last_exit_code=1, last_reason="Error"))
    assert watch.look(again, 6.0).outcome is Outcome.WAITING
    assert watch.look(again, 6.0 + AFTER_CRASH_SECONDS - 0.1).outcome is Outcome.WAITING
    assert watch.look(again, 6.0 + AFTER_CRASH_SECONDS).outcome is Outcome.READY


def test_a_moment_of_not_being_ready_starts_it_anew() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    watch.look(shown(container()), 5.0)
    watch.look(shown(container(ready=False)), 5.5)
    assert watch.look(shown(container()), 6.1).outcome is Outcome.WAITING


def test_an_unanswered_look_does_not() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    watch.look(shown(container()), 5.0)
    assert watch.look(None, 5.5).outcome is Outcome.WAITING
    assert watch.look(shown(container()), 6.0).outcome is Outcome.READY


def test_containers_that_run_count_where_phase_and_condition_were_left_behind() -> None:
    behind = shown(container(), phase="Pending", ready=False)
    watch = PodWatch(pod(), SHORT, 0.0)
    watch.look(behind, 1.0)
    assert watch.look(behind, 2.0).outcome is Outcome.READY
    both = PodWatch(pod("main", "side"), SHORT, 0.0)
    both.look(behind, 1.0)
    assert both.look(behind, 2.0).outcome is Outcome.WAITING, "side is not shown at all"
    gated = PodWatch(pod(readinessGates=[{"conditionType": "x"}]), SHORT, 0.0)
    gated.look(behind, 1.0)
    assert gated.look(behind, 2.0).outcome is Outcome.WAITING


def test_succeeded_counts_only_where_the_pod_may_end() -> None:
    done = shown(ended(code=0, reason="Completed"), phase="Succeeded")
    assert PodWatch(pod(restartPolicy="OnFailure"), SHORT, 0.0).look(done, 1.0).outcome is Outcome.READY
    assert PodWatch(pod(), SHORT, 0.0).look(done, 1.0).outcome is Outcome.WAITING


def test_one_container_s_failure_under_never_is_enough() -> None:
    watch = PodWatch(pod("main", "side", restartPolicy="Never"), SHORT, 0.0)
    verdict = watch.look(shown(container(), ended("side", 2)), 1.0)
    assert verdict == Verdict(Outcome.FAILED, 'container "side" exited with code 2', "side")


def test_a_good_end_beside_a_running_container_is_no_failure() -> None:
    watch = PodWatch(pod("main", "side", restartPolicy="OnFailure"), SHORT, 0.0)
    verdict = watch.look(shown(container(ready=False), ended("side", 0, restart_count=5)), 1.0)
    assert verdict.outcome is Outcome.WAITING
    assert "side" not in verdict.reason


def test_a_sidecar_s_crashes_count_whatever_the_pod_s_policy() -> None:
    manifest = pod(restartPolicy="Never", initContainers=[{"name": "side", "restartPolicy": "Always"}])
    watch = PodWatch(manifest, SHORT, 0.0)
    once = shown(ended("side", 1, init=True), waiting(reason="PodInitializing"))
    assert watch.look(once, 1.0).outcome is Outcome.WAITING
    thrice = shown(ended("side", 1, init=True, restart_count=2), waiting(reason="PodInitializing"))
    verdict = watch.look(thrice, 2.0)
    assert (verdict.outcome, verdict.log_of) == (Outcome.FAILED, "side")
    assert verdict.reason == 'init container "side" exited with code 1, 3 times'


def test_an_init_container_that_got_there_is_no_failure() -> None:
    watch = PodWatch(pod(initContainers=[{"name": "setup"}]), SHORT, 0.0)
    past = ended("setup", 0, init=True, restart_count=7, last_exit_code=1, ready=True)
    watch.look(shown(past, container()), 1.0)
    assert watch.look(shown(past, container()), 2.0).outcome is Outcome.READY


def test_restarts_of_long_ago_are_no_failure_of_a_container_that_runs() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    assert watch.look(shown(container(ready=False, restart_count=9, last_exit_code=1)), 1.0).outcome is Outcome.WAITING


def test_other_failures_of_the_whole_pod() -> None:
    late = shown(phase="Failed", reason="DeadlineExceeded", message="Pod was active on the node longer than wanted")
    verdict = PodWatch(pod(), SHORT, 0.0).look(late, 1.0)
    assert verdict.reason == "the pod failed: DeadlineExceeded: Pod was active on the node longer than wanted"
    bare = PodWatch(pod(), SHORT, 0.0).look(shown(phase="Failed"), 1.0)
    assert (bare.outcome, bare.reason) == (Outcome.FAILED, "the pod failed: the kubelet gives no reason")


def test_a_pod_whose_container_failed_for_good_is_told_by_its_container() -> None:
    watch = PodWatch(pod(restartPolicy="Never"), replace(SHORT, fail_fast=False), 0.0)
    ended = container(state=ContainerState.TERMINATED, ready=False, exit_code=5)
    verdict = watch.look(shown(ended, phase="Failed"), 1.0)
    assert verdict == Verdict(Outcome.WAITING, 'container "main" exited with code 5')


# --- what the kubelet says beside the status


def test_a_refused_manifest_fails_at_once() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    assert watch.look(None, 0.1).outcome is Outcome.WAITING
    verdict = watch.look(None, 0.2, refusal="static pods may not reference secrets")
    assert verdict == Verdict(Outcome.FAILED, "the kubelet refuses the manifest: static pods may not reference secrets")


def test_a_refusal_does_not_count_once_the_pod_is_shown() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    assert watch.look(shown(container()), 0.2, refusal="of a former version").outcome is Outcome.WAITING


def test_a_refusal_waits_for_the_limit_without_fail_fast() -> None:
    watch = PodWatch(pod(), replace(SHORT, fail_fast=False), 0.0)
    assert watch.look(None, 99.9, refusal="no").outcome is Outcome.WAITING
    verdict = watch.look(None, 100.0, refusal="no")
    assert verdict.reason == "images_timeout of 100 s has run out: the kubelet refuses the manifest: no"


def test_a_silent_kubelet_counts_towards_the_limits() -> None:
    watch = PodWatch(pod(), SHORT, 50.0)
    assert watch.look(None, 149.9, trouble="the kubelet does not answer").reason == "the kubelet does not answer"
    verdict = watch.look(None, 150.0, trouble="the kubelet does not answer")
    assert verdict == Verdict(Outcome.FAILED, "images_timeout of 100 s has run out: the kubelet does not answer")


def test_a_kubelet_that_falls_silent_later_counts_on_the_clock_that_runs() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    watch.look(shown(container(ready=False)), 1.0)
    assert watch.look(None, 10.9).outcome is Outcome.WAITING
    assert watch.look(None, 11.0).reason.startswith("containers_timeout of 10 s has run out")


# --- the two clocks


def test_slow_images_cost_the_containers_nothing() -> None:
    watch = PodWatch(pod("main", "side"), SHORT, 0.0)
    assert watch.look(shown(container(), waiting("side")), 95.0).outcome is Outcome.WAITING
    there = shown(container(), container("side", ready=False))
    assert watch.look(there, 99.0).outcome is Outcome.WAITING
    assert watch.look(there, 108.9).outcome is Outcome.WAITING
    assert watch.look(there, 109.0).outcome is Outcome.FAILED


def test_an_image_counts_as_there_once_it_was() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    watch.look(shown(container(ready=False)), 1.0)
    pull = waiting(reason="ErrImagePull", message="dial tcp: connection refused", last_exit_code=1)
    assert watch.look(shown(pull), 11.0).reason.startswith("containers_timeout of 10 s has run out")


def test_the_images_clock_stands_still_while_an_init_container_runs() -> None:
    watch = PodWatch(pod(initContainers=[{"name": "setup"}]), SHORT, 0.0)
    setup = shown(container("setup", init=True, ready=False), waiting(reason="PodInitializing"))
    watch.look(setup, 95.0)
    assert watch.look(setup, 104.0).outcome is Outcome.WAITING
    pulling = shown(ended("setup", 0, init=True, ready=True), waiting(reason="PodInitializing"))
    assert watch.look(pulling, 104.5).outcome is Outcome.WAITING
    assert watch.look(pulling, 109.4).outcome is Outcome.WAITING, "95 s were used before, 9.5 s stood still"
    verdict = watch.look(pulling, 109.5)
    assert verdict.reason.startswith('images_timeout of 100 s has run out: container "main": PodInitializing')


def test_a_sidecar_that_is_up_holds_nothing_up() -> None:
    watch = PodWatch(pod(initContainers=[{"name": "side", "restartPolicy": "Always"}]), SHORT, 0.0)
    up = shown(container("side", init=True), waiting(reason="PodInitializing"), ready=False)
    watch.look(up, 1.0)
    assert watch.look(up, 99.0).outcome is Outcome.WAITING
    assert watch.look(up, 100.0).reason.startswith("images_timeout")


@pytest.mark.parametrize("sandbox", [False, None])
def test_trouble_counts_only_before_the_sandbox_is_there(sandbox: bool | None) -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    before = shown(waiting(), phase="Pending", sandbox_ready=sandbox)
    assert watch.look(before, 1.0, trouble="no network").reason == "no network"
    assert watch.look(before, 11.0, trouble="no network").outcome is Outcome.FAILED
    watch = PodWatch(pod(), SHORT, 0.0)
    after = shown(waiting(), phase="Pending")
    watch.look(after, 1.0, trouble="no network")
    verdict = watch.look(after, 50.0, trouble="no network")
    assert (verdict.outcome, "no network" in verdict.reason) == (Outcome.WAITING, False)


# --- counting


def test_pulls_are_counted_by_their_failures() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    failed = shown(waiting(reason="ErrImagePull", message="x: not found"))
    backed = shown(waiting(reason="ImagePullBackOff", message='Back-off pulling image "x": ErrImagePull: x: not found'))
    for now, status in ((1.0, failed), (2.0, failed), (12.0, backed), (20.0, backed)):
        verdict = watch.look(status, now)
        assert verdict.outcome is Outcome.WAITING
        assert ", once): x: not found" in verdict.reason
    assert watch.look(failed, 30.0).outcome is Outcome.FAILED


def test_a_first_failure_that_was_missed_is_counted_by_its_back_off() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    message = 'Back-off pulling image "x": ErrImagePull: x: not found'
    watch.look(shown(waiting(reason="ImagePullBackOff", message=message)), 15.0)
    assert watch.look(shown(waiting(reason="ErrImagePull", message="x: not found")), 30.0).outcome is Outcome.FAILED


def test_older_kubelets_back_off_without_repeating_the_message() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    watch.look(shown(waiting(reason="ErrImagePull", message="connection refused by the registry")), 1.0)
    verdict = watch.look(shown(waiting(reason="ImagePullBackOff", message='Back-off pulling image "x"')), 12.0)
    assert "connection refused by the registry" in verdict.reason


def test_only_refusals_count_as_refusals() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    for now, message in ((1.0, "not found"), (30.0, "dial tcp: i/o timeout"), (60.0, "503 Service Unavailable")):
        assert watch.look(shown(waiting(reason="ErrImagePull", message=message)), now).outcome is Outcome.WAITING
        watch.look(shown(waiting(reason="ImagePullBackOff")), now + 10)
    assert watch.look(shown(waiting(reason="ErrImagePull", message="manifest unknown")), 90.0).outcome is Outcome.FAILED


def test_errors_of_creation_count_by_turns_too() -> None:
    watch = PodWatch(pod(), SHORT, 0.0)
    error = shown(waiting(reason="CreateContainerError", message="no space"))
    for now in (1.0, 3.0):
        assert watch.look(error, now).outcome is Outcome.WAITING
        watch.look(shown(waiting()), now + 1)
    verdict = watch.look(error, 5.0)
    assert (verdict.outcome, "CreateContainerError, 3 times: no space" in verdict.reason) == (Outcome.FAILED, True)


# --- pace


def test_the_pace_is_quick_after_a_change_and_then_slows_down() -> None:
    pace = Pace()
    assert pace.period(0.0, 1.0) == 1.0
    pace.note(True, 100.0)
    pace.note(False, 100.5)
    assert pace.period(100.0, 1.0) == 0.1
    assert pace.period(101.0, 1.0) == pytest.approx(0.1)
    assert pace.period(105.0, 1.0) == pytest.approx(0.5)
    assert pace.period(500.0, 1.0) == 1.0
    assert pace.period(500.0, 30.0) == 30.0
    assert pace.period(100.0, 0.05) == 0.05
