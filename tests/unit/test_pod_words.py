"""What is said of a pod's own probes and host ports."""

from __future__ import annotations

from typing import Any

import pytest

from heat_config_kubelet import pod_words


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ({"httpGet": {"port": 8080, "path": "/health"}}, "readiness probe, httpGet :8080/health"),
        ({"httpGet": {"port": "web", "path": "health", "host": "db"}}, "readiness probe, httpGet db:web/health"),
        ({"httpGet": {"port": 80}}, "readiness probe, httpGet :80/"),
        ({"tcpSocket": {"port": 22}}, "readiness probe, tcpSocket :22"),
        ({"grpc": {"port": 9000}}, "readiness probe, grpc :9000"),
        ({"exec": {"command": ["test", "-e", "/x"]}}, "readiness probe, exec test -e /x"),
        ({"exec": {"command": ["x" * 200]}}, f"readiness probe, exec {'x' * 99}…"),
    ],
)
def test_a_probe_is_named_as_the_manifest_has_it(probe: dict[str, Any], said: str) -> None:
    assert pod_words.probe({"readinessProbe": probe, "livenessProbe": None}, "livenessProbe", "readinessProbe") == said


def test_a_container_without_that_probe() -> None:
    assert pod_words.probe({"readinessProbe": {"grpc": {"port": 1}}}, "livenessProbe") == ""


def test_ports_of_the_host() -> None:
    spec = {
        "initContainers": [{"name": "i", "ports": [{"containerPort": 1, "hostPort": 53, "protocol": "UDP"}]}],
        "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]}, {}],
    }
    assert pod_words.host_ports(spec) == {"53/UDP", "8080/TCP"}
    assert pod_words.host_ports({**spec, "hostNetwork": True}) == {"53/UDP", "8080/TCP", "81/TCP"}
