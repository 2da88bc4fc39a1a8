"""What the kubelet's API is asked, how its answers are read, and what each refusal says. No network."""

from __future__ import annotations

import calendar
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from heat_config_kubelet.errors import KubeletError, KubeletRefusedError
from heat_config_kubelet.kubelet_api import LOG_BYTES, KubeletApi, parse_pods
from heat_config_kubelet.kubelet_config import KubeletAccess
from heat_config_kubelet.values import ContainerState

DATA = Path(__file__).parent / "data" / "pods"
CA, CERT, KEY = Path("/etc/ca.crt"), Path("/etc/client.crt"), Path("/etc/client.key")


def access(**fields: Any) -> KubeletAccess:
    known: dict[str, Any] = {
        "manifest_dir": Path("/etc/kubernetes/manifests"),
        "port": 10250,
        "healthz_port": 10248,
        "ca": CA,
        "client_cert": CERT,
        "client_key": KEY,
        "cgroup_root": "/",
        "cgroup_driver": "cgroupfs",
        "config_file": None,
    }
    return KubeletAccess(**{**known, **fields})


class Answer:
    def __init__(self, status: int = 200, content: bytes = b"") -> None:
        self.status_code = status
        self.content = content

    def iter_content(self, size: int | None) -> Iterator[bytes]:
        size = size or 64
        for start in range(0, len(self.content), size):
            yield self.content[start : start + size]

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FakeSession:
    """Gives what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.mounted: list[str] = []
        self.trust_env = True

    def get(self, url: str, **arguments: Any) -> Answer:
        self.asked.append((url, arguments))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def mount(self, prefix: str, _: object) -> None:
        self.mounted.append(prefix)


def api(session: FakeSession, *, node_name: str = "", **fields: Any) -> KubeletApi:
    return KubeletApi(access(**fields), session=cast("requests.Session", session), timeout=3.0, node_name=node_name)


def failed_handshake(reason: Exception) -> requests.exceptions.SSLError:
    """Give an error wrapped as requests wraps those of a handshake."""
    from urllib3.exceptions import MaxRetryError
    from urllib3.exceptions import SSLError as PoolSSLError

    return requests.exceptions.SSLError(MaxRetryError(None, "/pods", PoolSSLError(reason)))  # type: ignore[arg-type]


def wrong_name() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: X] certificate verify failed: IP address mismatch (_ssl.c:1006)")
    error.verify_code = 64
    return error


# --- asking


def test_pods_are_asked_for_with_our_certificate_and_nothing_of_the_environment() -> None:
    session = FakeSession(Answer(content=b'{"kind":"PodList","items":null}'))
    assert api(session).pods() == ()
    ((url, arguments),) = session.asked
    assert url == "https://127.0.0.1:10250/pods"
    assert arguments["verify"] == str(CA)
    assert arguments["cert"] == (str(CERT), str(KEY))
    assert arguments["timeout"] == 3.0
    assert session.trust_env is False


def test_one_file_may_hold_certificate_and_key() -> None:
    session = FakeSession(Answer(content=b"{}"))
    api(session, client_key=None).pods()
    assert session.asked[0][1]["cert"] == str(CERT)


def test_a_kubelet_that_listens_on_ipv6() -> None:
    session = FakeSession(Answer(content=b"{}"))
    api(session, address="::1").pods()
    assert session.asked[0][0] == "https://[::1]:10250/pods"


def test_a_log_s_last_lines() -> None:
    session = FakeSession(Answer(content=b"one\ntwo\xff\n"))
    assert api(session).container_log("kube/x", "web-node", "main", tail=20) == "one\ntwo�\n"
    url, arguments = session.asked[0]
    assert url == "https://127.0.0.1:10250/containerLogs/kube%2Fx/web-node/main"
    assert arguments["params"] == {"tailLines": "20"}


def streamed(session: FakeSession, **asked: Any) -> bytes:
    pieces: list[bytes] = []
    api(session).stream_log("default", "web-node", "main", pieces.append, **asked)
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("asked", "query", "timeout"),
    [
        ({}, {}, 3.0),
        ({"tail": 0}, {"tailLines": "0"}, 3.0),
        ({"follow": True, "tail": 5}, {"tailLines": "5", "follow": "true"}, (3.0, None)),
        ({"previous": True}, {"previous": "true"}, 3.0),
    ],
)
def test_a_log_as_it_comes(asked: dict[str, Any], query: dict[str, str], timeout: object) -> None:
    """Who follows it waits for ever for the next line."""
    session = FakeSession(Answer(content=b"one\ntwo\xff\n"))
    assert streamed(session, **asked) == b"one\ntwo\xff\n"
    arguments = session.asked[0][1]
    assert (arguments["params"], arguments["timeout"], arguments["stream"]) == (query, timeout, True)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(content=b"unable to retrieve container logs for containerd://1"), "says: unable to retrieve container"),
        (Answer(400, b'previous terminated container "main" in pod "web" not found'), "answers 400 .* terminated"),
        (requests.ConnectionError("refused"), "does not answer"),
    ],
)
def test_a_log_that_cannot_be_streamed(answer: Answer | Exception, told: str) -> None:
    with pytest.raises(KubeletError, match=told):
        streamed(FakeSession(answer), follow=True)


def test_a_log_without_end_costs_no_more_than_its_end() -> None:
    session = FakeSession(Answer(content=b"x" * 500_000 + b"the end"))
    text = api(session).container_log("default", "web-node", "main", tail=20, previous=True)
    assert len(text) == LOG_BYTES
    assert text.endswith("the end")
    assert session.asked[0][1]["params"] == {"tailLines": "20", "previous": "true"}
    assert session.asked[0][1]["stream"] is True


def test_a_log_that_is_gone_has_no_last_words() -> None:
    gone = Answer(content=b"unable to retrieve container logs for containerd://6f87ba48529a")
    assert api(FakeSession(gone, Answer(content=b"before\n"))).last_words("default", "a", "b", tail=5) == "before\n"
    assert api(FakeSession(gone, gone)).last_words("default", "a", "b", tail=5) == ""


def test_last_words_are_of_the_run_before_where_this_one_is_silent() -> None:
    session = FakeSession(Answer(content=b"\n"), Answer(content=b"before\n"))
    assert api(session).last_words("default", "web-node", "main", tail=5) == "before\n"
    assert "previous" in session.asked[1][1]["params"]
    none_before = FakeSession(Answer(content=b""), Answer(404, b"previous terminated container not found"))
    assert api(none_before).last_words("default", "web-node", "main", tail=5) == ""


def test_healthy() -> None:
    session = FakeSession(Answer(content=b"ok"), Answer(500), requests.ConnectionError("refused"))
    asked = api(session)
    assert [asked.healthy() for _ in range(3)] == [True, False, False]
    assert session.asked[0][0] == "http://127.0.0.1:10248/healthz"


def test_healthy_without_a_port_for_it_asks_the_api() -> None:
    session = FakeSession(Answer(content=b"ok"), Answer(401), requests.ConnectionError("refused"))
    asked = api(session, healthz_port=0)
    assert [asked.healthy() for _ in range(3)] == [True, True, False]
    assert session.asked[0][0] == "https://127.0.0.1:10250/healthz"


def test_importing_it_does_not_import_requests() -> None:
    code = "import sys, heat_config_kubelet.kubelet_api; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- refusals


@pytest.mark.parametrize(
    ("answer", "fields", "words"),
    [
        (Answer(401, b"Unauthorized"), {}, ("401 Unauthorized", "x509.clientCAFile", "[kubelet] client_cert")),
        (Answer(403, b"Forbidden (user=x)"), {}, ("403 Forbidden", "authorization.mode AlwaysAllow", "nodes/proxy")),
        (
            failed_handshake(ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")),
            {},
            ("self-signed certificate", "[kubelet] ca"),
        ),
        (
            failed_handshake(ssl.SSLError(1, "[X509: K] key values mismatch (_ssl.c:3926)")),
            {},
            ("key values mismatch",),
        ),
        (OSError("Could not find the TLS certificate file, invalid path: /none"), {}, ("/none", "client_cert")),
        (Answer(), {"ca": None}, ("set [kubelet] ca",)),
    ],
)
def test_refusals_name_the_setting(answer: Answer | Exception, fields: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(KubeletRefusedError) as caught:
        api(FakeSession(answer), **fields).pods()
    assert all(word in str(caught.value) for word in words)
    assert "_ssl.c" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            requests.ConnectionError("HTTPSConnection(host='127.0.0.1', port=1): [Errno 111] Connection refused"),
            "refused",
        ),
        (requests.ReadTimeout("HTTPSConnectionPool(host='127.0.0.1', port=1): Read timed out."), "Read timed out"),
        (failed_handshake(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")), "EOF occurred"),
        (Answer(503, b"not yet"), "answers 503 to /pods: not yet"),
        (Answer(200, b"<html>"), "no list of pods"),
        (Answer(200, b'["x"]'), "no list of pods"),
        (Answer(200, b'{"items": 5}'), "no list of pods"),
    ],
)
def test_a_kubelet_that_does_not_answer_is_no_refusal(answer: Answer | Exception, words: str) -> None:
    with pytest.raises(KubeletError, match=words) as caught:
        api(FakeSession(answer)).pods()
    assert not isinstance(caught.value, KubeletRefusedError)
    assert "HTTPSConnection" not in str(caught.value)


def test_a_certificate_for_the_node_s_name_is_taken() -> None:
    session = FakeSession(failed_handshake(wrong_name()), Answer(content=b"{}"), failed_handshake(wrong_name()))
    asked = api(session, node_name="node-a")
    assert asked.pods() == ()
    assert session.mounted == ["https://127.0.0.1:10250"]
    with pytest.raises(KubeletRefusedError, match="IP address mismatch"):
        asked.pods()
    with pytest.raises(KubeletRefusedError, match="IP address mismatch"):
        api(FakeSession(failed_handshake(wrong_name()))).pods()


# --- reading


def document(name: str, look: int = -1) -> dict[str, Any]:
    content = json.loads((DATA / f"{name}.json").read_text())
    return {**content["pod"], "status": content["looks"][look]["status"]}


def test_a_pod_that_runs() -> None:
    (pod,) = parse_pods(json.dumps({"items": [document("sidecar")]}).encode())
    assert (pod.namespace, pod.name, pod.phase, pod.ready, pod.sandbox_ready) == (
        "default",
        "sidecar-node-a",
        "Running",
        True,
        True,
    )
    assert pod.uid == pod.annotations["kubernetes.io/config.hash"]
    assert pod.pod_ip.startswith("10.97.") and pod.restart_policy == "Always"
    assert [(each.name, each.init, each.started) for each in pod.containers] == [
        ("side", True, True),
        ("main", False, True),
    ]
    assert all(each.state is ContainerState.RUNNING and each.container_id for each in pod.containers)


def moment(text: str) -> float:
    """A time of the kubelet in seconds since the epoch."""
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


def test_a_container_that_crashed() -> None:
    (pod,) = parse_pods(json.dumps({"items": [document("crashmsg")]}).encode())
    (main,) = pod.containers
    assert (main.state, main.exit_code, main.message, main.restart_count) == (
        ContainerState.TERMINATED,
        4,
        "the reason\n",
        2,
    )
    assert (main.last_exit_code, main.last_reason, main.last_message) == (4, "Error", "the reason\n")
    assert not main.ready and not pod.ready
    ended = document("crashmsg")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (main.started_at, main.ended_at) == (moment(ended["startedAt"]), moment(ended["finishedAt"]))
    times = {each["type"]: moment(each["lastTransitionTime"]) for each in document("crashmsg")["status"]["conditions"]}
    assert (pod.sandbox_at, pod.ready_at) == (times["PodReadyToStartContainers"], times["Ready"])


@pytest.mark.parametrize("text", [None, "", "soon"])
def test_a_time_that_is_none(text: str | None) -> None:
    status = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": text}]}
    (pod,) = parse_pods(json.dumps({"items": [{"status": status}]}).encode())
    assert pod.ready and pod.ready_at is None


def test_a_pod_that_was_rejected_has_no_containers() -> None:
    (pod,) = parse_pods(json.dumps({"items": [document("port2")]}).encode())
    assert (pod.phase, pod.reason, pod.containers, pod.sandbox_ready) == ("Failed", "NodePorts", (), None)
    assert pod.message.startswith("Pod was rejected: Predicate NodePorts failed")
    assert pod.start_time == document("port2")["status"]["startTime"]


def test_containers_come_in_the_manifest_s_order() -> None:
    item = {
        "spec": {"containers": [{"name": "z"}, {"name": "a"}]},
        "status": {"containerStatuses": [{"name": "a"}, {"name": "x"}, {"name": "z"}]},
    }
    (pod,) = parse_pods(json.dumps({"items": [item]}).encode())
    assert [each.name for each in pod.containers] == ["z", "a", "x"]
    assert {each.state for each in pod.containers} == {ContainerState.UNKNOWN}


@pytest.mark.parametrize(
    "item", [{}, {"metadata": None, "spec": None, "status": None}, {"status": {"phase": "Pending"}}]
)
def test_missing_fields_read_as_empty(item: dict[str, Any]) -> None:
    (pod,) = parse_pods(json.dumps({"items": [item]}).encode())
    assert (pod.uid, pod.containers, pod.ready, pod.sandbox_ready, pod.restart_policy, pod.start_time) == (
        "",
        (),
        False,
        None,
        "Always",
        "",
    )


def test_the_sandbox_s_condition_under_its_old_name() -> None:
    item = {"status": {"conditions": [{"type": "PodHasNetwork", "status": "False"}]}}
    assert parse_pods(json.dumps({"items": [item]}).encode())[0].sandbox_ready is False


def test_a_hundred_pods_are_read_quickly() -> None:
    content = json.dumps({"items": [document("two")] * 100}).encode()
    best = min(_seconds(content) for _ in range(5))
    assert best < 0.05


def _seconds(content: bytes) -> float:
    began = time.perf_counter()
    assert len(parse_pods(content)) == 100
    return time.perf_counter() - began


def test_the_nodes_address_stands_in_where_the_kubelet_tells_none() -> None:
    items = [{"spec": {"hostNetwork": True}}, {}, {"status": {"hostIP": "192.0.2.7", "podIP": "10.0.0.1"}}]
    found = parse_pods(json.dumps({"items": items}).encode(), "192.0.2.1")
    assert [(each.host_ip, each.pod_ip) for each in found] == [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", ""),
        ("192.0.2.7", "10.0.0.1"),
    ]
