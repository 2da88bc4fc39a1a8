"""What `doctor` says of endpoints: real sockets of this machine that refuse, drop, hang, lie, or are well."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faults.sick_node import Firewall
from lab.receiver import HANG, PASSWORD, PROJECT, REGION, USER, Fault, Receiver

from heat_config_kubelet import pki
from heat_config_kubelet.doctor.endpoints import Endpoint, Link, Login, Prober, asked
from heat_config_kubelet.doctor.finding import error

LOGIN = Login(USER, PASSWORD, PROJECT, REGION, "orchestration")


@pytest.fixture
def service() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tls=tmp_path / "tls") as found:
        yield found


def endpoint(service: Receiver, path: str = "/v1/signal", **changed: object) -> Endpoint:
    found = Endpoint(service.url(path), "the signal of shop/web", True, "[signals] ca in FILE", {})
    return replace(found, **changed)  # type: ignore[arg-type]


def said(wanted: Endpoint, *, step: float = 1.0, ahead: float = 0.0) -> str:
    """What is found at an endpoint; "" where it is well."""
    link = Prober(step).ask(wanted, time.time() + ahead)
    assert all("lab-password" not in str(finding) for finding in link.findings)
    return "\n".join(f"{finding.what} | {finding.mend}" for finding in link.findings)


def test_a_service_that_answers_is_well_whatever_it_answers(service: Receiver) -> None:
    assert said(endpoint(service)) == ""
    (request,) = service.requests
    assert (request.method, request.path, request.query) == ("GET", "/", "")


def test_what_is_refused_dropped_or_unknown(service: Receiver) -> None:
    service.refuse()
    assert "connection refused: nothing listens there" in said(endpoint(service))
    with Firewall(service.port):
        assert "no answer: most likely a firewall drops" in said(endpoint(service), step=0.3)
    unknown = Endpoint("http://no-such-host.invalid/", "the collector cfn", True, "", {})
    assert "the name no-such-host.invalid cannot be resolved" in said(unknown)


def test_a_service_that_takes_connections_and_hangs(service: Receiver) -> None:
    service.fail("", HANG)
    assert "connects, but says nothing within 0.3 s" in said(endpoint(service), step=0.3)


def test_a_certificate_is_verified_by_the_ca_that_is_set(secured: Receiver, tmp_path: Path) -> None:
    assert said(endpoint(secured, verify=str(secured.ca))) == ""
    assert said(endpoint(secured, verify=False)) == ""
    other = pki.Pki(tmp_path / "other")
    pki.renew_if_old(other.directory)
    told = said(endpoint(secured, verify=str(other.ca)))
    assert "its certificate cannot be verified: " in told and "put the CA that signed it into [signals] ca" in told


def test_a_service_without_tls_is_told_apart_from_one_that_is_not_trusted(service: Receiver) -> None:
    plain = endpoint(service)
    told = said(replace(plain, url=plain.url.replace("http:", "https:")))
    assert "no TLS: " in told and "openssl s_client -connect 127.0.0.1:" in told


@pytest.mark.parametrize(
    ("ahead", "words"), [(20, ""), (-20, ""), (3700, "1h01m ahead of"), (-95, "1m3.s behind"), (90000, "1d1h ahead of")]
)
def test_the_clock_is_compared(service: Receiver, ahead: float, words: str) -> None:
    told = said(endpoint(service), ahead=ahead + (0.5 if ahead > 0 else -0.5))
    assert re.search(words, told) and bool(told) is bool(words)


def test_keystones_catalog_leads_to_the_service(secured: Receiver) -> None:
    wanted = endpoint(secured, "/v3/", verify=str(secured.ca), login=LOGIN)
    link = Prober(2.0).ask(wanted, time.time())
    assert link.findings == () and link.next
    assert link.next.url == secured.url(f"/heat/v1/{PROJECT}")
    assert link.next.use == "orchestration, for the signal of shop/web" and link.next.verify == str(secured.ca)


def test_what_keystone_may_say_instead(secured: Receiver) -> None:
    wanted = endpoint(secured, "/v3", verify=str(secured.ca), login=LOGIN)
    assert "no public endpoint of orchestration in region Three" in said(
        replace(wanted, login=replace(LOGIN, region="Three"))
    )
    assert "Keystone refuses the credentials" in said(replace(wanted, login=replace(LOGIN, password="other")))
    secured.fail("/v3/auth/tokens", Fault(503))
    assert "Keystone gives no token: 503" in said(wanted)


def test_a_proxy_is_gone_through_unless_it_is_excluded(service: Receiver) -> None:
    with Receiver() as proxy:
        through = {"http_proxy": proxy.url(""), "NO_PROXY": "example.org, .example.com,192.0.2.0/24"}
        wanted = Endpoint("http://192.0.3.1/x", "the collector cfn", True, "", through)
        assert said(wanted) == ""
        assert [request.headers["host"] for request in proxy.requests] == ["192.0.3.1"]
        assert said(endpoint(service, proxies={**through, "NO_PROXY": "127.0.0.0/8"})) == ""
        assert len(proxy.requests) == 1
        proxy.refuse()
        told = said(wanted)
    assert "through the proxy 127.0.0.1:" in told and "connection refused" in told


def test_all_are_asked_at_once_and_nobody_is_waited_for_too_long(service: Receiver) -> None:
    release = threading.Event()
    fast, slow = endpoint(service), endpoint(service, use="the collector cfn")

    def probe(wanted: Endpoint, now: float) -> Link:
        if wanted is slow:
            release.wait(30)
        if wanted is fast:
            return Link((error("seen", why="w", mend="m"),), replace(wanted, use="what comes after"))
        return Link()

    told = {each.use: link for each, link in asked([slow, fast], probe, 0.5, time.time)}
    release.set()
    assert told["the collector cfn"] is None
    assert told["what comes after"] == Link()
    first = told["the signal of shop/web"]
    assert first and first.findings[0].what == "seen"
