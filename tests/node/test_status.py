"""Every fault against a real kubelet: what is said of the pod, how soon, and whether a person can act on it.

All pods of `FAULTS` run at once on a node of their own; each test looks at what became of one.
"""

from __future__ import annotations

import copy
import json
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from lab import images
from lab.node import LabNode

from heat_config_kubelet.cgroups import pod_exists
from heat_config_kubelet.errors import KubeletError, KubeletRefusedError
from heat_config_kubelet.kubelet_api import KubeletApi
from heat_config_kubelet.kubelet_log import KubeletLog, pod_trouble, refusal
from heat_config_kubelet.options import Options
from heat_config_kubelet.status import PodWatch
from heat_config_kubelet.values import Outcome, Pod, PodKey, PodStatus, Verdict

NodeFactory = Callable[[str], LabNode]

NO_COMMAND = "lab.local/no-command:1"
REGISTRY = "127.0.0.1:PORT"
"""Stands for the registry's address until its port is known."""
FAIL_FAST = Options(images_timeout=120.0, containers_timeout=90.0, min_ready_seconds=5.0)
LIMITED = Options(images_timeout=45.0, containers_timeout=12.0, min_ready_seconds=5.0)


class Registry(BaseHTTPRequestHandler):
    """A registry that has nothing, and says so in each way that registries have."""

    protocol_version = "HTTP/1.1"
    REFUSALS: Mapping[str, tuple[int, str, str]] = {
        "/v2/missing/": (404, "MANIFEST_UNKNOWN", ""),
        "/v2/private/": (401, "UNAUTHORIZED", 'Basic realm="lab"'),
        "/v2/token/": (401, "UNAUTHORIZED", 'Bearer realm="http://HOST/auth",service="lab",scope="repository:x:pull"'),
        "/v2/denied/": (403, "DENIED", ""),
        "/v2/busy/": (429, "TOOMANYREQUESTS", ""),
        "/auth": (401, "UNAUTHORIZED", ""),
    }

    def do_GET(self) -> None:
        known = (answer for prefix, answer in self.REFUSALS.items() if self.path.startswith(prefix))
        status, code, challenge = next(known, (200, "", ""))
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]} if code else {}).encode()
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge.replace("HOST", self.headers["Host"]))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def run(command: str, *, name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": images.BUSYBOX, "command": ["/bin/sh", "-c", command], **fields}


def pull(image: str, **fields: Any) -> dict[str, Any]:
    return {"name": "main", "image": image, **fields}


def probe(kind: str, **fields: Any) -> dict[str, Any]:
    return {kind: {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1, **fields}}


FOREVER = "exec sleep 3600"
PORT = [{"containerPort": 21777, "hostPort": 21777}]


@dataclass(frozen=True)
class Fault:
    """A pod, and what is to be said of it. `soon` and `late` bound the seconds until then."""

    spec: Mapping[str, Any]
    words: tuple[str, ...] = ()
    log_of: str = ""
    options: Options = FAIL_FAST
    soon: float = 0.0
    late: float = 110.0
    refused: bool = False
    name: str = ""
    """The pod's name, where it is to be a bad one."""


def main(*containers: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    return {"containers": list(containers), **spec}


FAULTS: Mapping[str, Fault] = {
    # at once
    "secret": Fault(
        main(run(FOREVER, env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])),
        ("the kubelet refuses the manifest: static pods may not reference secrets",),
        refused=True,
        late=15,
    ),
    "bad-name": Fault(main(run(FOREVER)), ('metadata.name: Invalid value: "A_B-',), refused=True, late=15, name="A_B"),
    "mistyped": Fault(
        main({"name": "main", "image": ["a"]}),
        ("cannot unmarshal array", "image of type string"),
        refused=True,
        late=15,
    ),
    "absent": Fault(
        main(pull("lab.local/absent:1", imagePullPolicy="Never")),
        ('container "main": ErrImageNeverPull', '"lab.local/absent:1" is not present with pull policy of Never'),
        late=25,
    ),
    "misnamed": Fault(
        main(pull("Lab/UPPER:1:2")), ("InvalidImageName", '"Lab/UPPER:1:2"', "must be lowercase"), late=25
    ),
    "port": Fault(main(run(FOREVER, ports=PORT), hostNetwork=True), ("NodePorts", "didn't have free ports"), late=25),
    "memory": Fault(
        main(run(FOREVER, resources={"requests": {"memory": "900Ti"}})),
        ("UnexpectedAdmissionError", "(memory: ", " missing)"),
        late=25,
    ),
    "affinity": Fault(
        main(run(FOREVER), nodeSelector={"no": "such"}), ("NodeAffinity", "didn't match Pod's node affinity"), late=25
    ),
    "never": Fault(
        main(run("echo no luck; exit 1"), restartPolicy="Never"), ('container "main" exited with code 1',), "main"
    ),
    # the second time
    "missing": Fault(
        main(pull(f"{REGISTRY}/missing:1")),
        (f"image {REGISTRY}/missing:1 cannot be pulled (ErrImagePull, 2 times)", f"{REGISTRY}/missing:1: not found"),
        soon=9,
    ),
    "private": Fault(main(pull(f"{REGISTRY}/private:1")), ("2 times", "pull access denied"), soon=9),
    "token": Fault(main(pull(f"{REGISTRY}/token:1")), ("2 times", "failed to authorize", "401 Unauthorized"), soon=9),
    "denied": Fault(main(pull(f"{REGISTRY}/denied:1")), ("2 times", "403 Forbidden"), soon=9),
    "after-init": Fault(
        main(pull(f"{REGISTRY}/missing:1"), initContainers=[run("true", name="setup")]),
        ('container "main": image', "2 times", "not found"),
        soon=9,
    ),
    # the third time
    "crash": Fault(
        main(run("echo about to fail; exit 3")), ('container "main" exited with code 3, 3 times',), "main", soon=5
    ),
    "done": Fault(main(run("echo done")), ('container "main" exited with code 0, 3 times',), "main", soon=5),
    "message": Fault(
        main(run("echo the reason > /dev/termination-log; exit 4")),
        ("exited with code 4, 3 times: the reason",),
        "main",
        soon=5,
    ),
    "oom": Fault(
        main(run("x=a; while true; do x=$x$x; done", resources={"limits": {"memory": "8Mi"}})),
        ("(OOMKilled), 3 times",),
        "main",
        soon=5,
    ),
    "startup": Fault(
        main(run(FOREVER, **probe("startupProbe", failureThreshold=2))),
        ("code 137 (signal 9), 3 times",),
        "main",
        soon=5,
    ),
    "one-of-two": Fault(
        main(run(FOREVER), run("exit 9", name="side")),
        ('container "side" exited with code 9, 3 times',),
        "side",
        soon=5,
    ),
    "init": Fault(
        main(run(FOREVER), initContainers=[run("echo broken; exit 5", name="setup")]),
        ('init container "setup" exited with code 5, 3 times',),
        "setup",
        soon=5,
    ),
    "no-program": Fault(
        main({"name": "main", "image": images.BUSYBOX, "command": ["/bin/nothing"]}),
        ("RunContainerError (exit code 128), 3 times", "/bin/nothing: no such file or directory"),
        soon=5,
    ),
    "hook": Fault(
        main(run(FOREVER, lifecycle={"postStart": {"exec": {"command": ["/bin/false"]}}})),
        ("PostStartHookError (exit code 137), 3 times", "command '/bin/false' exited with 1"),
        "main",
        soon=5,
    ),
    "root": Fault(
        main(run(FOREVER), securityContext={"runAsNonRoot": True}),
        ("CreateContainerConfigError, 3 times", "runAsNonRoot and image will run as root"),
        soon=20,
    ),
    "no-command": Fault(
        main(pull(NO_COMMAND, imagePullPolicy="Never")),
        ("CreateContainerError, 3 times", "no command specified"),
        soon=20,
    ),
    # at the limit
    "unready": Fault(
        main(run(FOREVER, **probe("readinessProbe"))),
        ("containers_timeout of 12 s", 'container "main" runs, but is not ready (its readiness probe, exec /bin/false'),
        "main",
        LIMITED,
        soon=12,
    ),
    "init-hangs": Fault(
        main(run(FOREVER), initContainers=[run(FOREVER, name="setup")]),
        ("containers_timeout of 12 s", 'init container "setup" is still running'),
        "setup",
        LIMITED,
        soon=12,
    ),
    "host-path": Fault(
        main(
            run(FOREVER, volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            volumes=[{"name": "v", "hostPath": {"path": "/nonexistent/x", "type": "Directory"}}],
        ),
        ("containers_timeout of 12 s", 'volume "v"', "hostPath type check failed", "/nonexistent/x"),
        "",
        LIMITED,
        soon=12,
        late=40,
    ),
    "unreachable": Fault(
        main(pull(images.ABSENT)),
        ("images_timeout of 45 s", f"image {images.ABSENT} cannot be pulled", "connection refused"),
        "",
        LIMITED,
        soon=45,
        late=70,
    ),
    "busy": Fault(
        main(pull(f"{REGISTRY}/busy:1")), ("images_timeout of 45 s", "429 Too Many"), "", LIMITED, soon=45, late=70
    ),
    "patient": Fault(
        main(run("exit 3")),
        ("containers_timeout of 12 s", "exited with code 3"),
        "main",
        replace(LIMITED, fail_fast=False, min_ready_seconds=30.0),
        soon=12,
    ),
}

RUNNING: Mapping[str, dict[str, Any]] = {
    "runs": main(run(FOREVER)),
    "holds-the-port": main(run(FOREVER, ports=PORT), hostNetwork=True),
    "sidecar": main(run(FOREVER), initContainers=[run(FOREVER, name="side", restartPolicy="Always")]),
    "succeeds": main(run("true"), restartPolicy="Never"),
    "succeeds-too": main(run("true"), restartPolicy="OnFailure"),
}


def put(node: LabNode, name: str, spec: Mapping[str, Any], *, uid: str, pod_name: str = "") -> Path:
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod_name or name, "namespace": "default", "uid": uid},
        "spec": {"terminationGracePeriodSeconds": 1, **spec},
    }
    aside = node.folder / "aside.json"
    aside.write_text(json.dumps(manifest))
    return aside.rename(node.manifests / f"{name}.json")


@dataclass
class Trial:
    """One pod on its way, and what came of it."""

    uid: str
    file: Path
    watch: PodWatch
    options: Options
    began: float
    verdict: Verdict = field(default_factory=lambda: Verdict(Outcome.WAITING))
    seconds: float = 0.0
    status: PodStatus | None = None
    log: str = ""
    said: list[str] = field(default_factory=list)

    def look(self, status: PodStatus | None, lines: tuple[str, ...], api: KubeletApi) -> None:
        now = time.monotonic()
        self.status = status or self.status
        why = "" if status else refusal(lines, self.file)
        trouble = pod_trouble(lines, self.uid, status.name) if status and not status.sandbox_ready else ""
        self.verdict = self.watch.look(status, now, refusal=why, trouble=trouble)
        self.seconds = now - self.began
        if self.verdict.reason not in self.said:
            self.said.append(self.verdict.reason)
        if self.verdict.log_of and status:
            self.log = api.last_words(status.namespace, status.name, self.verdict.log_of, tail=20)


def start(node: LabNode, name: str, spec: Mapping[str, Any], options: Options, *, pod_name: str = "") -> Trial:
    uid = str(uuid.uuid4())
    began = time.monotonic()
    file = put(node, name, spec, uid=uid, pod_name=pod_name)
    watch = PodWatch(Pod(PodKey("default", name), {"spec": spec}, ""), options, began)
    return Trial(uid, file, watch, options, began)


def drive(node: LabNode, trials: Mapping[str, Trial]) -> None:
    """Look at all of them until something is certain about each."""
    api = KubeletApi(node.access)
    log = KubeletLog(file=node.kubelet_log)
    beginning = log.position()
    pending = list(trials.values())
    while pending:
        statuses = {status.uid: status for status in api.pods()}
        lines = log.lines_since(beginning)
        for trial in pending:
            trial.look(statuses.get(trial.uid), lines, api)
        pending = [trial for trial in pending if trial.verdict.outcome is Outcome.WAITING]
        time.sleep(0.2)
    api.close()


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def faulty_node(node_factory: NodeFactory, registry: str) -> LabNode:
    """A node whose runtime asks the registry over plain HTTP."""
    node = node_factory("faults")
    hosts = node.registries / registry / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(f'server = "http://{registry}"\n')
    node.import_image(images.write_image(node.folder / "no-command.tar", NO_COMMAND, []))
    return node


@pytest.fixture(scope="module")
def trials(faulty_node: LabNode, registry: str) -> dict[str, Trial]:
    """What became of every pod."""
    found: dict[str, Trial] = {}
    found["holds-the-port"] = start(faulty_node, "holds-the-port", RUNNING["holds-the-port"], FAIL_FAST)
    drive(faulty_node, found)
    for name, spec in RUNNING.items():
        if name not in found:
            found[name] = start(faulty_node, name, spec, FAIL_FAST)
    for name, fault in FAULTS.items():
        spec = json.loads(json.dumps(copy.deepcopy(fault.spec)).replace(REGISTRY, registry))
        found[name] = start(faulty_node, name, spec, fault.options, pod_name=fault.name)
    drive(faulty_node, {name: trial for name, trial in found.items() if name != "holds-the-port"})
    for file in faulty_node.manifests.iterdir():
        file.unlink()
    return found


@pytest.mark.parametrize("name", RUNNING)
def test_it_runs(trials: dict[str, Trial], name: str) -> None:
    assert trials[name].verdict == Verdict(Outcome.READY)


@pytest.mark.parametrize("name", FAULTS)
def test_it_fails(trials: dict[str, Trial], registry: str, name: str) -> None:
    trial, fault = trials[name], FAULTS[name]
    assert trial.verdict.outcome is Outcome.FAILED
    for words in fault.words:
        assert words.replace(REGISTRY, registry) in trial.verdict.reason
    assert trial.verdict.log_of == fault.log_of
    assert (trial.status is None) == fault.refused
    assert fault.soon <= trial.seconds <= fault.late
    assert str(trial.file.parent) not in trial.verdict.reason


@pytest.mark.parametrize(
    ("name", "words"), [("crash", "about to fail\n"), ("never", "no luck\n"), ("init", "broken\n"), ("done", "done\n")]
)
def test_the_log_of_the_container_that_failed(trials: dict[str, Trial], name: str, words: str) -> None:
    assert words in trials[name].log


# --- one pod at a time


def ready(node: LabNode, uid: str) -> PodStatus:
    api = KubeletApi(node.access)

    def look() -> PodStatus | None:
        return next((pod for pod in api.pods() if pod.uid == uid and pod.ready), None)

    found = node.wait_for(look, "the pod to be ready")
    api.close()
    return found


def in_runtime(node: LabNode, uid: str) -> bool:
    access = node.access
    return pod_exists(
        uid, cgroup_fs=node.settings.cgroup_fs, cgroup_root=access.cgroup_root, driver=access.cgroup_driver
    )


def test_the_manifest_s_uid_is_the_pod_s(node: LabNode) -> None:
    uid = str(uuid.uuid4())
    put(node, "own", main(run(FOREVER)), uid=uid)
    status = ready(node, uid)
    assert status.name == f"own-{node.name}"
    assert status.annotations["kubernetes.io/config.hash"] == uid
    assert in_runtime(node, uid)
    assert not in_runtime(node, str(uuid.uuid4()))


@pytest.mark.parametrize(
    "quality", [{}, {"requests": {"memory": "1Mi"}}, {"limits": {"memory": "32Mi", "cpu": "100m"}}]
)
def test_a_pod_is_gone_when_its_control_group_is(node: LabNode, quality: dict[str, Any]) -> None:
    """In each quality of service: best effort, burstable, guaranteed."""
    spec = main(run("trap 'exit 0' TERM; sleep 3600 & wait", resources=quality))
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    file = put(node, "again", spec, uid=first)
    ready(node, first)
    assert in_runtime(node, first)
    file.unlink()
    node.wait_for(lambda: not in_runtime(node, first), "the pod to be gone")
    assert not node.running_containers()
    put(node, "again", spec, uid=second)
    status = ready(node, second)
    assert status.name == f"again-{node.name}"


def test_a_certificate_that_the_kubelet_does_not_know(node: LabNode, tmp_path: Path) -> None:
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=stranger", "-keyout", "key", "-out", "cert")
    subprocess.run(["openssl", *made], cwd=tmp_path, check=True, capture_output=True)
    stranger = replace(node.access, client_cert=tmp_path / "cert", client_key=tmp_path / "key")
    with pytest.raises(KubeletRefusedError, match=r"401.*clientCAFile must have signed \[kubelet\] client_cert"):
        KubeletApi(stranger).pods()
    with pytest.raises(KubeletRefusedError, match="401"):
        KubeletApi(replace(node.access, client_cert=None, client_key=None)).pods()
    with pytest.raises(KubeletRefusedError, match=r"\[kubelet\] ca"):
        KubeletApi(replace(node.access, ca=tmp_path / "cert")).pods()
    assert KubeletApi(stranger).healthy()


def test_a_kubelet_that_is_down(node: LabNode) -> None:
    api = KubeletApi(node.access)
    assert api.healthy()
    assert api.pods() == ()
    node.stop_kubelet()
    assert not api.healthy()
    with pytest.raises(KubeletError, match="does not answer") as caught:
        api.pods()
    assert not isinstance(caught.value, KubeletRefusedError)
    node.start_kubelet()
    assert api.pods() == ()


def test_no_log_of_a_container_that_never_ran(node: LabNode) -> None:
    uid = str(uuid.uuid4())
    put(node, "none", main(pull(images.ABSENT)), uid=uid)
    api = KubeletApi(node.access)
    node.wait_for(lambda: any(pod.uid == uid and pod.containers for pod in api.pods()), "the pod to be shown")
    with pytest.raises(KubeletError, match=f"none-{node.name}"):
        api.container_log("default", f"none-{node.name}", "main", tail=5)
    with pytest.raises(KubeletError, match="404"):
        api.container_log("default", "nobody", "main", tail=5)
