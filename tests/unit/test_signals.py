"""What each answer to a signal means; the network is a session given as an argument."""

from __future__ import annotations

import io
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter
from samples import PASSWORD, SIGNED_AT, TEMP_URL, deployment

from heat_config_kubelet.settings import Settings
from heat_config_kubelet.signals import AnswerKind, Sender, body_limit, names_resource, system_cas, url_expiry
from heat_config_kubelet.values import Deployment

BODY = b'{"deploy_status_code": 0}'
NOW = SIGNED_AT + 60
PLANTED = (
    "PlantedSig",
    "PlantedTempSig0123",
    PASSWORD,
    "planted-Pass%20word",
    "planted-Pass+word",
    "AKIDAKID0123",
    "planted-token",
    "env-secret-1",
)
ALL = ("CFN_SIGNAL", "TEMP_URL_SIGNAL", "HEAT_SIGNAL", "ZAQAR_SIGNAL")
CATALOG: list[dict[str, Any]] = [
    {
        "type": kind,
        "name": kind,
        "id": kind,
        "endpoints": [
            {
                "interface": "internal",
                "region": "RegionOne",
                "region_id": "RegionOne",
                "url": "http://internal",
                "id": "i",
            },
            {
                "interface": "public",
                "region": "Elsewhere",
                "region_id": "Elsewhere",
                "url": "http://elsewhere",
                "id": "e",
            },
            {"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": url, "id": "p"},
        ],
    }
    for kind, url in (
        ("orchestration", "http://heat.example:8004/v1/project-id"),
        ("messaging", "http://zaqar.example:8888"),
    )
]


def answer(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> requests.Response:
    """A response as an adapter gives it."""
    response = requests.Response()
    response.status_code = status
    response.reason = {200: "OK", 403: "Forbidden", 404: "Not Found", 503: "Unavailable"}.get(status, "")
    response.headers.update(headers or {})
    response.raw = io.BytesIO(body)
    return response


def token() -> requests.Response:
    """Keystone's answer to a good password."""
    body = {
        "token": {
            "methods": ["password"],
            "user": {"id": "user-id", "name": "u", "domain": {"id": "d", "name": "d"}},
            "project": {"id": "project-id", "name": "p", "domain": {"id": "d", "name": "d"}},
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "roles": [],
            "catalog": CATALOG,
        }
    }
    return answer(
        201, json.dumps(body).encode(), {"X-Subject-Token": "planted-token", "Content-Type": "application/json"}
    )


class Network(BaseAdapter):
    """Answers requests by a function, and keeps them."""

    def __init__(self, reply: Callable[[requests.PreparedRequest], requests.Response]) -> None:
        super().__init__()
        self.reply = reply
        self.seen: list[tuple[requests.PreparedRequest, dict[str, Any]]] = []

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        self.seen.append((request, options))
        response = self.reply(request)
        response.request = request
        response.url = str(request.url)
        return response

    def close(self) -> None:
        """Nothing is open."""

    def session(self) -> requests.Session:
        session = requests.Session()
        session.mount("http://", self)
        session.mount("https://", self)
        return session

    def sender(self, *, now: float = NOW, **settings: Any) -> Sender:
        return Sender(Settings(Path("/none"), **settings), self.session, now=lambda: now)

    def signals(self) -> list[requests.PreparedRequest]:
        """The requests that are not for a token."""
        return [request for request, _ in self.seen if not str(request.url).endswith("/auth/tokens")]


def network(*replies: requests.Response | Exception) -> Network:
    """Give tokens to whoever asks, and these answers, the last one over and over, to signals."""
    left = list(replies)

    def reply(request: requests.PreparedRequest) -> requests.Response:
        if str(request.url).endswith("/auth/tokens"):
            return token()
        given = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(given, Exception):
            raise given
        return given

    return Network(reply)


@pytest.fixture(autouse=True)
def _no_proxies_or_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


# --- what is sent


@pytest.mark.parametrize(
    ("transport", "verb", "url"),
    [
        ("CFN_SIGNAL", "POST", str(deployment("CFN_SIGNAL").inputs["deploy_signal_id"])),
        ("TEMP_URL_SIGNAL", "PUT", TEMP_URL),
        ("HEAT_SIGNAL", "POST", "http://heat.example:8004/v1/project-id/stacks/st/uuid/resources/dep/signal"),
        ("ZAQAR_SIGNAL", "POST", "http://zaqar.example:8888/v2/queues/queue-id/messages"),
    ],
)
def test_each_transport_is_called_as_heat_wants_it(transport: str, verb: str, url: str) -> None:
    net = network(answer(200))
    found = net.sender().send(deployment(transport), BODY)
    assert (found.kind, found.status) == (AnswerKind.ACCEPTED, 200)
    (request,) = net.signals()
    assert (request.method, request.url) == (verb, url)
    assert request.headers["Content-Type"] == "application/json"
    assert isinstance(request.body, bytes)
    assert request.headers["Content-Length"] == str(len(request.body))


def test_a_message_for_zaqar_is_of_version_2() -> None:
    """Zaqar has removed v1.1, which today's agents speak."""
    net = network(answer(201))
    assert net.sender().send(deployment("ZAQAR_SIGNAL"), BODY).kind is AnswerKind.ACCEPTED
    (request,) = net.signals()
    assert json.loads(request.body or "") == {"messages": [{"body": {"deploy_status_code": 0}, "ttl": 3600}]}
    assert request.headers["X-Project-Id"] == "project-id"
    assert len(request.headers["Client-ID"]) == 36
    assert request.headers["X-Auth-Token"] == "planted-token"


@pytest.mark.parametrize("ending", ["", "/", "/v2", "/v2/", "/v1.1", "/v1"])
def test_the_messaging_endpoint_may_end_with_a_version(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOG[1]["endpoints"][2], "url", "http://zaqar.example:8888" + ending)
    net = network(answer(201))
    net.sender().send(deployment("ZAQAR_SIGNAL"), BODY)
    assert net.signals()[0].url == "http://zaqar.example:8888/v2/queues/queue-id/messages"


@pytest.mark.parametrize("ending", ["", "/", "/v3", "/v3/", "/v2.0", "/v2.0/"])
def test_keystone_is_asked_in_version_3_by_ids_alone(ending: str) -> None:
    net = network(answer(200))
    auth_url = "http://keystone.example/identity" + ending
    net.sender().send(deployment("HEAT_SIGNAL", inputs={"deploy_auth_url": auth_url}), BODY)
    request = net.seen[0][0]
    assert request.url == "http://keystone.example/identity/v3/auth/tokens"
    assert json.loads(request.body or "")["auth"] == {
        "identity": {"methods": ["password"], "password": {"user": {"id": "user-id", "password": PASSWORD}}},
        "scope": {"project": {"id": "project-id"}},
    }


def test_names_in_urls_are_quoted() -> None:
    net = network(answer(200))
    odd = {"deploy_stack_id": "st ä/uuid", "deploy_resource_name": "a/b?c"}
    net.sender().send(deployment("HEAT_SIGNAL", inputs=odd), BODY)
    assert str(net.signals()[0].url).endswith("/stacks/st%20%C3%A4/uuid/resources/a%2Fb%3Fc/signal")


def test_a_token_serves_all_attempts_of_a_deployment_until_its_end() -> None:
    net = network(answer(503), answer(200))
    sender = net.sender()
    assert [sender.send(deployment("HEAT_SIGNAL"), BODY).kind for _ in range(3)] == [
        AnswerKind.RETRY,
        AnswerKind.ACCEPTED,
        AnswerKind.ACCEPTED,
    ]
    assert len(net.seen) - len(net.signals()) == 2


def test_a_token_that_is_refused_is_replaced_at_once() -> None:
    net = network(answer(401), answer(200))
    assert net.sender().send(deployment("HEAT_SIGNAL"), BODY).kind is AnswerKind.ACCEPTED
    assert len(net.seen) - len(net.signals()) == 2


def test_without_a_transport_nothing_is_sent() -> None:
    net = network(answer(200))
    assert net.sender().send(deployment("NO_SIGNAL"), BODY).kind is AnswerKind.NOTHING
    assert net.seen == []


# --- what an answer means


@pytest.mark.parametrize("transport", ALL)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_overloaded_or_failing_server_is_asked_again(transport: str, status: int) -> None:
    """Today's agents never send a POST again, which the default transport uses."""
    found = network(answer(status)).sender().send(deployment(transport), BODY)
    assert (found.kind, found.status) == (AnswerKind.RETRY, status)
    assert str(status) in found.detail


@pytest.mark.parametrize("transport", ALL)
@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 413, 415, 422])
def test_a_refusal_is_final(transport: str, status: int) -> None:
    found = network(answer(status)).sender().send(deployment(transport), BODY)
    assert (found.kind, found.status, found.final) == (AnswerKind.REFUSED, status, True)


def test_a_stack_that_is_gone_is_said_to_be() -> None:
    found = network(answer(404, b'{"error": {"message": "The Stack could not be found."}}')).sender()
    detail = found.send(deployment("HEAT_SIGNAL"), BODY).detail
    assert "The Stack could not be found." in detail and "gone" in detail


@pytest.mark.parametrize("transport", ALL)
@pytest.mark.parametrize("status", [401, 403])
def test_a_suspended_stack_is_waited_for(transport: str, status: int) -> None:
    found = network(answer(status)).sender().send(deployment(transport), BODY)
    assert found.kind is AnswerKind.RETRY
    assert "so it is while a stack is suspended" in found.detail or transport in ("HEAT_SIGNAL", "ZAQAR_SIGNAL")
    assert ("[credential] auth_ttl (minutes), here taken for 900 s" in found.detail) is (transport == "CFN_SIGNAL")


@pytest.mark.parametrize(("transport", "after"), [("CFN_SIGNAL", 901), ("TEMP_URL_SIGNAL", 3601)])
@pytest.mark.parametrize("status", [401, 403])
def test_an_expired_url_is_final_and_says_why(transport: str, after: int, status: int) -> None:
    """A CFN URL ends 15 minutes after its Timestamp; today the stack then waits for its timeout in silence."""
    net = network(answer(status))
    assert net.sender(now=SIGNED_AT + after - 2).send(deployment(transport), BODY).kind is AnswerKind.RETRY
    found = net.sender(now=SIGNED_AT + after).send(deployment(transport), BODY)
    assert (found.kind, found.final) == (AnswerKind.EXPIRED, True)
    assert "ended at 2026-11-22T1" in found.detail
    assert ("auth_ttl" in found.detail) is (transport == "CFN_SIGNAL")


def test_the_servers_clock_counts_where_it_says_what_it_is() -> None:
    late = answer(403, headers={"Date": "Sun, 22 Nov 2026 10:30:00 GMT"})
    assert network(late).sender(now=SIGNED_AT).send(deployment(), BODY).kind is AnswerKind.EXPIRED


def test_a_longer_lifetime_is_a_setting() -> None:
    net = network(answer(403))
    assert net.sender(now=SIGNED_AT + 1000, cfn_url_lifetime=3600.0).send(deployment(), BODY).kind is AnswerKind.RETRY


def test_the_end_of_a_pre_signed_url_is_read_from_it() -> None:
    assert url_expiry(deployment("CFN_SIGNAL"), 900.0) == SIGNED_AT + 900
    assert url_expiry(deployment("TEMP_URL_SIGNAL"), 900.0) == 1795345200.0
    assert url_expiry(deployment("HEAT_SIGNAL"), 900.0) is None
    for url in ("http://h/x", "http://[", "http://h/?Timestamp=yesterday"):
        assert url_expiry(deployment(inputs={"deploy_signal_id": url}), 900.0) is None
    iso = deployment("TEMP_URL_SIGNAL", inputs={"deploy_signal_id": "http://h/o?temp_url_expires=2026-11-22T10:00:00Z"})
    assert url_expiry(iso, 900.0) == SIGNED_AT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("17", 17.0), ("Sun, 22 Nov 2026 10:01:30 GMT", 30.0), ("Sun, 22 Nov 2026 09:00:00 GMT", 0.0), ("soon", None)],
)
@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "HEAT_SIGNAL"])
def test_retry_after_is_read_as_seconds_or_date(transport: str, header: str, seconds: float | None) -> None:
    net = network(answer(429, headers={"Retry-After": header}))
    assert net.sender().send(deployment(transport), BODY).retry_after == seconds


@pytest.mark.parametrize("transport", ALL)
@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectionError("refused"),
        requests.exceptions.ConnectTimeout("slow"),
        requests.exceptions.ReadTimeout("slow"),
        requests.exceptions.ChunkedEncodingError("cut"),
        requests.exceptions.ProxyError("proxy"),
    ],
)
def test_a_network_that_fails_is_tried_again(transport: str, error: Exception) -> None:
    found = network(error).sender().send(deployment(transport), BODY)
    assert (found.kind, found.status) == (AnswerKind.RETRY, None)


@pytest.mark.parametrize("transport", ALL)
def test_a_certificate_that_cannot_be_verified_names_the_setting(transport: str) -> None:
    found = (
        network(requests.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED")).sender().send(deployment(transport), BODY)
    )
    assert found.kind is AnswerKind.RETRY
    assert "[signals] ca" in found.detail and "CERTIFICATE_VERIFY_FAILED" in found.detail


@pytest.mark.parametrize("transport", ALL)
@pytest.mark.parametrize(
    ("reason", "of_the_ca"),
    [
        (ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate"), True),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), False),
        (ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed (EOF)"), False),
        (ssl.SSLError(1, "[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate or crl found"), True),
    ],
)
def test_only_a_certificates_fault_is_called_one(transport: str, reason: ssl.SSLError, of_the_ca: bool) -> None:
    """A connection that a proxy cuts is an error of TLS too."""
    found = network(requests.exceptions.SSLError(reason)).sender().send(deployment(transport), BODY)
    assert found.kind is AnswerKind.RETRY
    assert ("[signals] ca" in found.detail) is of_the_ca
    assert str(reason.strerror) in found.detail


@pytest.mark.parametrize("transport", ALL)
def test_the_ca_of_the_settings_wins_over_the_environment(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """requests lets REQUESTS_CA_BUNDLE override a session's own CA; and verification is never off."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/environment/ca.pem")
    net = network(answer(200))
    net.sender(signal_ca=Path("/settings/ca.pem")).send(deployment(transport), BODY)
    assert {options["verify"] for _, options in net.seen} == {"/settings/ca.pem"}
    net = network(answer(200))
    net.sender().send(deployment(transport), BODY)
    assert {options["verify"] for _, options in net.seen} == {"/environment/ca.pem"}


@pytest.mark.parametrize("transport", ALL)
def test_without_a_setting_the_systems_store_is_trusted(
    transport: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of itself requests knows certifi's list only, and no CA that an operator has added."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "store.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "store.pem"))
    net = network(answer(200))
    net.sender().send(deployment(transport), BODY)
    assert {options["verify"] for _, options in net.seen} == {str(tmp_path / "store.pem")}


def test_the_systems_store_may_be_a_folder_or_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert system_cas({}) == str(tmp_path)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    assert system_cas({}) is True


@pytest.mark.parametrize("transport", ALL)
def test_every_request_has_the_timeout_of_the_settings(transport: str) -> None:
    net = network(answer(200))
    net.sender(signal_timeout=7.0).send(deployment(transport), BODY)
    assert {options["timeout"] for _, options in net.seen} == {7.0}


@pytest.mark.parametrize(
    ("transport", "missing"),
    [
        ("CFN_SIGNAL", "deploy_signal_id"),
        ("TEMP_URL_SIGNAL", "deploy_signal_id"),
        ("HEAT_SIGNAL", "deploy_auth_url"),
        ("HEAT_SIGNAL", "deploy_user_id"),
        ("HEAT_SIGNAL", "deploy_password"),
        ("HEAT_SIGNAL", "deploy_stack_id"),
        ("ZAQAR_SIGNAL", "deploy_project_id"),
        ("ZAQAR_SIGNAL", "deploy_queue_id"),
    ],
)
def test_a_missing_input_is_named(transport: str, missing: str) -> None:
    found = network(answer(200)).sender().send(deployment(transport, inputs={missing: None}), BODY)
    assert found.kind is AnswerKind.REFUSED and missing in found.detail


@pytest.mark.parametrize(
    ("transport", "name"), [("CFN_SIGNAL", "deploy_signal_id"), ("HEAT_SIGNAL", "deploy_auth_url")]
)
@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://h/x", "http://a..b/", "http://[broken", "http://h:99999/", "http://é ü/"]
)
def test_what_is_no_url_is_refused(transport: str, name: str, url: str) -> None:
    found = Sender(Settings(Path("/none"))).send(deployment(transport, inputs={name: url}), BODY)
    assert found.kind is AnswerKind.REFUSED and name in found.detail


def test_an_unknown_transport_or_verb_is_refused() -> None:
    sender = network(answer(200)).sender()
    assert "PIGEON" in sender.send(deployment(inputs={"deploy_signal_transport": "PIGEON"}), BODY).detail
    assert "DELETE" in sender.send(deployment(inputs={"deploy_signal_verb": "DELETE"}), BODY).detail


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AnswerKind.RETRY),
        (403, AnswerKind.RETRY),
        (503, AnswerKind.RETRY),
        (400, AnswerKind.REFUSED),
        (404, AnswerKind.REFUSED),
    ],
)
def test_a_token_that_is_not_given_counts_like_a_signals_answer(status: int, kind: AnswerKind) -> None:
    found = Network(lambda _: answer(status)).sender().send(deployment("HEAT_SIGNAL"), BODY)
    assert (found.kind, found.status) == (kind, status)
    assert ("so it is while a stack is suspended" in found.detail) is (status in (401, 403))


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"token": 1}', b'{"token": {"catalog": []}}'])
def test_a_keystone_that_answers_nonsense_is_asked_again(body: bytes) -> None:
    found = Network(lambda _: answer(200, body, {"Content-Type": "application/json"})).sender()
    assert found.send(deployment("HEAT_SIGNAL"), BODY).kind is AnswerKind.RETRY


def test_a_catalog_without_the_service_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (
        network(answer(200)).sender().send(deployment("HEAT_SIGNAL", inputs={"deploy_region_name": "Nowhere"}), BODY)
    )
    assert found.kind is AnswerKind.RETRY and "orchestration" in found.detail


def test_a_redirect_keeps_verb_and_body() -> None:
    """requests makes a GET without a body of a redirected POST, which reads as success."""
    moved = answer(301, headers={"Location": "https://heat.example/moved"})
    net = network(moved, answer(200))
    assert net.sender().send(deployment(), BODY).kind is AnswerKind.ACCEPTED
    assert [(request.method, request.body) for request in net.signals()] == [("POST", BODY)] * 2
    assert net.signals()[1].url == "https://heat.example/moved"


@pytest.mark.parametrize("target", ["https://heat.example/again", ""])
def test_redirects_have_an_end(target: str) -> None:
    net = network(answer(307, headers={"Location": target} if target else {}))
    assert net.sender().send(deployment(), BODY).kind is AnswerKind.REFUSED
    assert len(net.seen) <= 6


def test_a_redirect_never_leaves_tls() -> None:
    net = network(answer(307, headers={"Location": "http://heat.example/plain"}))
    secure = deployment(inputs={"deploy_signal_id": "https://heat.example/signal"})
    assert net.sender().send(secure, BODY).kind is AnswerKind.REFUSED
    assert len(net.seen) == 1


def test_signals_that_name_the_resource_are_known() -> None:
    assert [names_resource(transport) for transport in (*ALL, "NO_SIGNAL")] == [True, False, True, False, False]


def test_limits_leave_room_for_the_envelope() -> None:
    """Heat answers 400 above 1 MiB, Zaqar above 256 KiB, its envelope included."""
    assert all(body_limit(transport) < 1048576 for transport in ALL)
    assert body_limit("ZAQAR_SIGNAL") < 262144 - 100


# --- no secret is in what is said


def planted(transport: str) -> Deployment:
    config = {"spec": {"containers": [{"env": [{"name": "APP_SECRET", "value": "env-secret-1"}]}]}}
    return deployment(transport, config=config, inputs={"db_password": PASSWORD})


def echoing(request: requests.PreparedRequest, status: int) -> requests.Response:
    """A server that gives back all that it was sent."""
    said = f"{request.url} {request.body!r} {request.headers} env-secret-1 {PASSWORD} " * 3
    return answer(status, said.encode())


def raising(request: requests.PreparedRequest, kind: type[requests.RequestException]) -> requests.Response:
    raise kind(f"HTTPConnectionPool: Max retries exceeded with url: {request.url} {PASSWORD} env-secret-1")


@pytest.mark.parametrize("transport", ALL)
@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 413, 429, 500, 503])
@pytest.mark.parametrize("where", ["keystone", "signal"])
@pytest.mark.parametrize("now", [NOW, SIGNED_AT + 10**6])
def test_no_secret_is_in_an_answer(transport: str, status: int, where: str, now: float) -> None:
    def reply(request: requests.PreparedRequest) -> requests.Response:
        keystone = str(request.url).endswith("/auth/tokens")
        return token() if keystone and where == "signal" else echoing(request, status)

    found = Network(reply).sender(now=now).send(planted(transport), BODY)
    assert not [secret for secret in PLANTED if secret in repr(found)]


@pytest.mark.parametrize("transport", ALL)
@pytest.mark.parametrize(
    "kind",
    [
        requests.exceptions.ConnectionError,
        requests.exceptions.SSLError,
        requests.exceptions.Timeout,
        requests.exceptions.InvalidURL,
        requests.exceptions.MissingSchema,
        requests.exceptions.TooManyRedirects,
        requests.exceptions.RequestException,
    ],
)
@pytest.mark.parametrize("where", ["keystone", "signal"])
def test_no_secret_is_in_a_failure(transport: str, kind: type[requests.RequestException], where: str) -> None:
    def reply(request: requests.PreparedRequest) -> requests.Response:
        keystone = str(request.url).endswith("/auth/tokens")
        return token() if keystone and where == "signal" else raising(request, kind)

    found = Network(reply).sender().send(planted(transport), BODY)
    assert found.detail and not [secret for secret in PLANTED if secret in repr(found)]


def test_libraries_log_no_urls(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    network(answer(200)).sender().send(deployment("HEAT_SIGNAL"), BODY)
    assert not [secret for secret in PLANTED if secret in caplog.text]
