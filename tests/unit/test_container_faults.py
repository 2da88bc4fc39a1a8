"""Registries' and runtimes' messages: which are final, and how they are shortened."""

from __future__ import annotations

from dataclasses import replace

import pytest
from samples import container

from heat_config_kubelet.container_faults import MESSAGE_CHARACTERS, failed_before, pull_refused, shortened

PULL = 'failed to pull and unpack image "127.0.0.1:5000/denied:1": '


@pytest.mark.parametrize(
    "message",
    [
        f"rpc error: code = NotFound desc = {PULL}failed to resolve image: 127.0.0.1:5000/missing:1: not found",
        'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/nope:1": failed to '
        'resolve reference "docker.io/library/nope:1": docker.io/library/nope:1: not found',
        f"{PULL}failed to resolve image: pull access denied, repository does not exist or may require authorization: "
        "authorization failed: no basic auth credentials",
        f"{PULL}failed to resolve image: unexpected status from HEAD request to http://r/v2/x: 403 Forbidden",
        f"{PULL}failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
        "https://auth/token?scope=x: 401 Unauthorized",
        "reading manifest 1 in quay.io/lab/nope: manifest unknown",
        "initializing source docker://quay.io/lab/nope:1: reading manifest: unauthorized: access is not authorized",
        "Error: initializing source docker://x: requested access to the resource is denied",
        "no match for platform in manifest: not found",
    ],
)
def test_final_answers_of_a_registry(message: str) -> None:
    assert pull_refused(message)


@pytest.mark.parametrize(
    "message",
    [
        f'{PULL}failed to resolve image: failed to do request: Head "https://127.0.0.1:5000/v2/denied/manifests/1": '
        "dial tcp 127.0.0.1:5000: connect: connection refused",
        'failed to do request: Head "https://registry.invalid/v2/x": dial tcp: lookup registry.invalid: no such host',
        f"{PULL}failed to resolve image: unexpected status from HEAD request to http://127.0.0.1:5000/v2/denied/"
        "manifests/1: 429 Too Many Requests",
        f"{PULL}unexpected status from HEAD request to http://r/v2/unauthorized/manifests/1: 500 Internal Server Error",
        'rpc error: code = DeadlineExceeded desc = failed to do request: Head "http://r/v2/not found": net/http: '
        "timeout awaiting response headers",
        "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        'fork/exec: "docker-credential-x": executable file not found in $PATH',
        "write /var/lib/x: no space left on device",
        "unexpected EOF",
        "",
    ],
)
def test_answers_that_may_change(message: str) -> None:
    assert not pull_refused(message)


@pytest.mark.parametrize(
    ("message", "short"),
    [
        (
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
            'failed: unable to start container process: exec: "/bin/nothing": stat /bin/nothing: no such file',
            'exec: "/bin/nothing": stat /bin/nothing: no such file',
        ),
        (
            'rpc error: code = NotFound desc = failed to pull and unpack image "a:1": failed to resolve reference '
            '"a:1": a:1: not found',
            "a:1: not found",
        ),
        ("the reason\n  on two lines\n", "the reason on two lines"),
        ("plain", "plain"),
    ],
)
def test_shortened(message: str, short: str) -> None:
    assert shortened(message) == short


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    short = shortened("begin " + "x" * 5000 + " end")
    assert len(short) <= MESSAGE_CHARACTERS + 3
    assert short.startswith("begin x") and short.endswith("x end") and " … " in short


def test_a_container_that_was_lost_with_its_node_has_not_failed() -> None:
    running = replace(container(), restart_count=1, last_exit_code=255, last_reason="Unknown")
    assert not failed_before(running)
    assert failed_before(replace(running, last_reason="Error"))
    assert failed_before(replace(running, last_exit_code=1))
    assert not failed_before(replace(running, restart_count=0, last_exit_code=None, last_reason=""))
