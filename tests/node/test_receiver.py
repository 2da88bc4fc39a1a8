"""The stand-in for Heat, Swift, Zaqar and Keystone takes what the real ones take, through the agent's own sender."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from lab import deployments
from lab.receiver import HANG, LATE, RESET, Fault, Receiver

from heat_config_kubelet.deployments import read
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.signals import Answer, AnswerKind, Sender

BODY = b'{"deploy_status_code": 0, "deploy_stdout": "ok"}'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def send(receiver: Receiver, transport: str = "CFN_SIGNAL", **settings: object) -> Answer:
    entry = deployments.deployment("web", deployments.pod("web"), receiver, transport=transport)
    sender = Sender(Settings(Path("none"), signal_timeout=2.0, **settings))  # type: ignore[arg-type]
    return sender.send(read(entry, "lab"), BODY)


@pytest.mark.parametrize("transport", deployments.TRANSPORTS[:-1])
def test_each_transport_arrives(receiver: Receiver, transport: str) -> None:
    assert send(receiver, transport).kind is AnswerKind.ACCEPTED
    signal = receiver.wait_for_signal("web", timeout=1)
    assert signal.signal == {"deploy_status_code": 0, "deploy_stdout": "ok"}


def test_tls_needs_its_own_ca(tmp_path: Path) -> None:
    with Receiver(tls=tmp_path / "tls") as receiver:
        assert send(receiver).kind is AnswerKind.RETRY
        assert not receiver.signals("web")
        for transport in ("CFN_SIGNAL", "HEAT_SIGNAL"):
            assert send(receiver, transport, signal_ca=receiver.ca).kind is AnswerKind.ACCEPTED
        assert len(receiver.signals("web")) == 2


def test_faults_come_as_often_as_asked(receiver: Receiver) -> None:
    receiver.fail("/v1/signal/", Fault(429, {"Retry-After": "3"}), times=2)
    assert [send(receiver).status for _ in range(3)] == [429, 429, 200]
    assert [item.status for item in receiver.requests] == [429, 429, 200]
    assert len(receiver.signals("web")) == 1


@pytest.mark.parametrize(("fault", "accepted"), [(HANG, 0), (RESET, 0), (LATE, 1)])
def test_connections_fail(receiver: Receiver, fault: Fault, accepted: int) -> None:
    receiver.fail("/v1/signal/", fault)
    assert send(receiver).kind is AnswerKind.RETRY
    assert len(receiver.signals("web")) == accepted
    receiver.mend()
    assert send(receiver).kind is AnswerKind.ACCEPTED


def test_connections_are_refused_and_taken_again(receiver: Receiver) -> None:
    receiver.refuse()
    assert send(receiver).kind is AnswerKind.RETRY
    assert receiver.requests == []
    receiver.mend()
    assert send(receiver).kind is AnswerKind.ACCEPTED


def test_what_heat_drops_silently_is_not_accepted(receiver: Receiver) -> None:
    entry = deployments.deployment("web", {}, receiver)
    url = next(item["value"] for item in entry["inputs"] if item["name"] == "deploy_signal_id")
    assert requests.post(url, data=BODY, headers={"Content-Type": "text/plain"}, timeout=5).status_code == 200
    assert requests.post(url, data=b"x" * 1048577, timeout=5).status_code == 500
    assert receiver.signals("web") == []
    with pytest.raises(TimeoutError, match=r"no signal 1 for web within 0\.1 s; seen:\n  POST /v1/signal/"):
        receiver.wait_for_signal("web", timeout=0.1)


def test_an_expired_token_is_refused(receiver: Receiver) -> None:
    assert send(receiver, "HEAT_SIGNAL").kind is AnswerKind.ACCEPTED
    token = receiver.requests[-1].headers["x-auth-token"]
    receiver.expire_tokens()
    path = receiver.requests[-1].path
    answer = requests.post(receiver.url(path), json={}, headers={"X-Auth-Token": token}, timeout=5)
    assert answer.status_code == 401


def test_objects_can_be_polled(receiver: Receiver) -> None:
    url = receiver.put("/v1/AUTH_p/metadata/object", deployments.metadata())
    answer = requests.get(url, timeout=5)
    assert answer.json() == {"deployments": []}
    assert answer.headers["Last-Modified"]
    assert requests.head(url, timeout=5).status_code == 200
    assert requests.get(url + "x", timeout=5).status_code == 404


def test_it_is_a_registry_without_images(receiver: Receiver) -> None:
    host, name = receiver.absent_image.split("/")
    answer = requests.get(f"http://{host}/v2/{name.replace(':', '/manifests/')}", timeout=5)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"https://{host}/v2/", timeout=5)


def test_the_next_action_is_the_same_deployment(receiver: Receiver) -> None:
    first = deployments.deployment("web", {"a": 1}, receiver, created=time.time() - 100)
    second = deployments.again(first, "UPDATE", {"a": 2})
    one, two = read(first, "lab"), read(second, "lab")
    assert one.identity == two.identity
    assert one.id != two.id
    assert (two.action, two.config) == ("UPDATE", {"a": 2})
    assert two.creation_time > one.creation_time
