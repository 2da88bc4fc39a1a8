"""Signals over real connections: TLS with a private CA, servers that refuse, reset, hang or fail, and a Keystone."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from samples import PASSWORD, TOKEN_INPUTS, deployment

from heat_config_kubelet.settings import Settings
from heat_config_kubelet.signals import Answer, AnswerKind, Sender
from heat_config_kubelet.values import Deployment

BODY = json.dumps({"deploy_status_code": 0, "deploy_stdout": "ä" * 100}).encode()


@dataclass
class Request:
    """What a server was sent."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """A threaded HTTP server whose answers are a function of the request."""

    reply: Callable[[Request], tuple[int, dict[str, str], bytes] | None]
    tls: ssl.SSLContext | None = None
    seen: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                request = Request(self.command, self.path, dict(self.headers), self.rfile.read(length))
                server.seen.append(request)
                found = server.reply(request)
                if found is None:  # a reset instead of an answer
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.close()
                    return
                status, headers, body = found
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hangs up is part of the tests."""

        self.http = Quiet(("127.0.0.1", 0), Handler)
        if self.tls:
            self.http.socket = self.tls.wrap_socket(self.http.socket, server_side=True)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.http.server_port}"

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test."""
    servers: list[Server] = []

    def start(reply: Callable[[Request], tuple[int, dict[str, str], bytes] | None], **options: Any) -> Server:
        servers.append(Server(reply, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True)
class Authority:
    """A private CA, and a server's TLS with a certificate of it for 127.0.0.1."""

    ca: Path
    other_ca: Path
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Made by openssl, as an operator would make it."""
    place = tmp_path_factory.mktemp("ca")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    for name in ("ca", "other"):
        openssl(
            "req",
            "-x509",
            *new,
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            "-addext",
            "keyUsage=critical,keyCertSign",
        )
    openssl("req", *new[:-2], "-subj", "/CN=heat", "-keyout", "heat.key", "-out", "heat.csr")
    (place / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        "x509",
        "-req",
        "-in",
        "heat.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "ext",
        "-out",
        "heat.pem",
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "heat.pem", place / "heat.key")
    return Authority(place / "ca.pem", place / "other.pem", context)


def accept(_: Request) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, b""


def sender(**settings: Any) -> Sender:
    return Sender(Settings(Path("/none"), **{"signal_timeout": 5.0, **settings}))


def signed(url: str, transport: str = "CFN_SIGNAL") -> Deployment:
    return deployment(transport, inputs={"deploy_signal_id": f"{url}/v1/signal/arn%3Ax/dep?Signature=PlantedSig%2F1"})


def until_final(send: Callable[[], Answer], most: int = 5) -> list[AnswerKind]:
    kinds = []
    for _ in range(most):
        kinds.append(send().kind)
        if kinds[-1] is not AnswerKind.RETRY:
            break
    return kinds


def test_a_server_that_fails_twice_gets_the_signal_the_third_time(serve: Serve) -> None:
    """Today's agents look at no answer, and never send a POST again."""
    answers = iter([(500, {}, b"oops"), (503, {"Retry-After": "3"}, b""), (200, {}, b"")])
    server = serve(lambda _: next(answers))
    mine, wanted = sender(), signed(server.url)
    found = [mine.send(wanted, BODY) for _ in range(3)]
    assert [answer.kind for answer in found] == [AnswerKind.RETRY, AnswerKind.RETRY, AnswerKind.ACCEPTED]
    assert "oops" in found[0].detail and found[1].retry_after == 3.0
    assert [(request.verb, request.body) for request in server.seen] == [("POST", BODY)] * 3
    assert server.seen[0].path == "/v1/signal/arn%3Ax/dep?Signature=PlantedSig%2F1"
    assert server.seen[0].headers["Content-Type"] == "application/json"
    assert server.seen[0].headers["Content-Length"] == str(len(BODY))
    assert "Transfer-Encoding" not in server.seen[0].headers


def test_a_temp_url_is_put(serve: Serve) -> None:
    server = serve(lambda _: (201, {}, b""))
    assert sender().send(signed(server.url, "TEMP_URL_SIGNAL"), BODY).kind is AnswerKind.ACCEPTED
    assert [request.verb for request in server.seen] == ["PUT"]


def test_a_server_that_is_not_there_is_tried_again(serve: Serve) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        found = sender().send(signed(url), BODY)
    assert (
        found.kind is AnswerKind.RETRY
        and "refused" in found.detail
        and "127.0.0.1" in found.detail
        and "PlantedSig" not in found.detail
    )


@pytest.mark.parametrize("transport", ["HEAT_SIGNAL", "ZAQAR_SIGNAL"])
def test_a_keystone_that_is_not_there_is_tried_again(transport: str) -> None:
    found = sender().send(with_token("http://127.0.0.1:1", transport), BODY)
    assert found.kind is AnswerKind.RETRY
    assert found.detail == "http://127.0.0.1:1/v3: ConnectionRefusedError: Connection refused"


def test_a_name_that_is_not_known_is_tried_again() -> None:
    found = sender().send(signed("http://no-such-host.invalid"), BODY)
    assert found.kind is AnswerKind.RETRY and "PlantedSig" not in found.detail


def test_a_connection_that_is_reset_is_tried_again(serve: Serve) -> None:
    answers: list[tuple[int, dict[str, str], bytes] | None] = [None, (200, {}, b"")]
    server = serve(lambda _: answers.pop(0))
    mine, wanted = sender(), signed(server.url)
    assert until_final(lambda: mine.send(wanted, BODY)) == [AnswerKind.RETRY, AnswerKind.ACCEPTED]


def test_a_server_that_hangs_is_left_after_the_timeout(serve: Serve) -> None:
    """A server, like a hook, that hangs must not stop everything else."""
    release = threading.Event()

    def hang(_: Request) -> tuple[int, dict[str, str], bytes]:
        release.wait(10)
        return 200, {}, b""

    server = serve(hang)
    began = time.monotonic()
    found = sender(signal_timeout=0.3).send(signed(server.url), BODY)
    release.set()
    assert found.kind is AnswerKind.RETRY and "[signals] timeout" in found.detail
    assert time.monotonic() - began < 5


def test_a_redirect_is_followed_with_verb_and_body(serve: Serve) -> None:
    target = serve(accept)
    server = serve(lambda _: (302, {"Location": target.url + "/new"}, b""))
    assert sender().send(signed(server.url), BODY).kind is AnswerKind.ACCEPTED
    assert [(request.verb, request.path, request.body) for request in target.seen] == [("POST", "/new", BODY)]


def test_a_private_ca_is_a_setting(serve: Serve, authority: Authority) -> None:
    server = serve(accept, tls=authority.context)
    found = sender(signal_ca=authority.ca).send(signed(server.url), BODY)
    assert found.kind is AnswerKind.ACCEPTED and len(server.seen) == 1


@pytest.mark.parametrize("given", ["none", "wrong", "absent", "no certificate"])
def test_an_unknown_ca_sends_nothing_and_names_the_setting(
    serve: Serve, authority: Authority, given: str, tmp_path: Path
) -> None:
    """TLS verification is off in one of today's collectors, and another has no setting for a CA."""
    (tmp_path / "junk.pem").write_text("junk")
    ca = {
        "none": None,
        "wrong": authority.other_ca,
        "absent": tmp_path / "absent.pem",
        "no certificate": tmp_path / "junk.pem",
    }
    server = serve(accept, tls=authority.context)
    for wanted in (signed(server.url), with_token(server.url, "HEAT_SIGNAL")):
        found = sender(signal_ca=ca[given]).send(wanted, BODY)
        assert found.kind is AnswerKind.RETRY and "[signals] ca" in found.detail, found
        assert "PlantedSig" not in found.detail and "planted" not in found.detail
    assert server.seen == []


def test_the_environment_cannot_override_the_ca_of_the_settings(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests prefers REQUESTS_CA_BUNDLE to a session's own CA."""
    server = serve(accept, tls=authority.context)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.other_ca))
    assert sender(signal_ca=authority.ca).send(signed(server.url), BODY).kind is AnswerKind.ACCEPTED
    assert sender().send(signed(server.url), BODY).kind is AnswerKind.RETRY
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca))
    assert sender().send(signed(server.url), BODY).kind is AnswerKind.ACCEPTED


def test_a_ca_in_the_systems_store_is_trusted(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(accept, tls=authority.context)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    for wanted in (signed(server.url), with_token(server.url, "HEAT_SIGNAL")):
        assert "certificate" not in sender().send(wanted, BODY).detail
    assert server.seen != []


def test_a_proxy_of_the_environment_is_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve(accept)
    monkeypatch.setenv("http_proxy", proxy.url)
    assert sender().send(signed("http://heat.invalid"), BODY).kind is AnswerKind.ACCEPTED
    assert proxy.seen[0].path.startswith("http://heat.invalid/v1/signal/")


# --- Keystone, Heat and Zaqar in one


class Cloud:
    """Answers as Keystone does for one user, and keeps what the other services are sent."""

    def __init__(self, serve: Serve, **options: Any) -> None:
        self.tokens = 0
        self.password = PASSWORD
        self.lifetime = 3600.0
        self.service_answers: list[tuple[int, dict[str, str], bytes]] = []
        self.calls: list[Request] = []
        self.server = serve(self.reply, **options)

    def reply(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        if request.path == "/v3/auth/tokens":
            return self.authenticate(json.loads(request.body))
        if not request.headers.get("X-Auth-Token", "").startswith("planted-token-"):
            return 401, {}, b'{"error": {"message": "token"}}'
        self.calls.append(request)
        return self.service_answers.pop(0) if self.service_answers else (200, {}, b"null")

    def authenticate(self, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        user = body["auth"]["identity"]["password"]["user"]
        if user != {"id": "user-id", "password": self.password}:
            return 401, {}, json.dumps({"error": {"message": f"not you: {user}"}}).encode()
        self.tokens += 1
        services = {"orchestration": "/heat/v1/project-id", "messaging": "/zaqar"}
        catalog = [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {
                        "id": kind,
                        "interface": "public",
                        "region": "RegionOne",
                        "region_id": "RegionOne",
                        "url": self.server.url + path,
                    },
                ],
            }
            for kind, path in services.items()
        ]
        ends = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + self.lifetime))
        token = {
            "methods": ["password"],
            "expires_at": ends,
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "catalog": catalog,
            "user": {"id": "user-id", "name": "u", "domain": {"id": "d", "name": "d"}},
            "project": {"id": "project-id", "name": "p", "domain": {"id": "d", "name": "d"}},
            "roles": [],
        }
        headers = {"X-Subject-Token": f"planted-token-{self.tokens}", "Content-Type": "application/json"}
        return 201, headers, json.dumps({"token": token}).encode()


def with_token(url: str, transport: str, **inputs: Any) -> Deployment:
    return deployment(transport, inputs={**TOKEN_INPUTS, "deploy_auth_url": f"{url}/v3/", **inputs})


def test_heat_is_signalled_with_a_token(serve: Serve, authority: Authority) -> None:
    cloud = Cloud(serve, tls=authority.context)
    found = sender(signal_ca=authority.ca).send(with_token(cloud.server.url, "HEAT_SIGNAL"), BODY)
    assert found.kind is AnswerKind.ACCEPTED
    (call,) = cloud.calls
    assert (call.verb, call.path) == ("POST", "/heat/v1/project-id/stacks/st/uuid/resources/dep/signal")
    assert call.body == BODY and call.headers["Content-Length"] == str(len(BODY))
    assert call.headers["Content-Type"] == "application/json"


def test_zaqar_is_signalled_with_a_message(serve: Serve) -> None:
    cloud = Cloud(serve)
    assert sender().send(with_token(cloud.server.url, "ZAQAR_SIGNAL"), BODY).kind is AnswerKind.ACCEPTED
    (call,) = cloud.calls
    assert (call.verb, call.path) == ("POST", "/zaqar/v2/queues/queue-id/messages")
    assert json.loads(call.body)["messages"] == [{"body": json.loads(BODY), "ttl": 3600}]


@pytest.mark.parametrize(("lifetime", "kept"), [(3600.0, True), (5.0, False)])
def test_a_token_is_kept_between_attempts_only_while_it_is_valid(serve: Serve, lifetime: float, kept: bool) -> None:
    cloud = Cloud(serve)
    cloud.lifetime = lifetime
    cloud.service_answers = [(503, {}, b""), (500, {}, b""), (200, {}, b"")]
    mine, wanted = sender(), with_token(cloud.server.url, "HEAT_SIGNAL")
    assert until_final(lambda: mine.send(wanted, BODY)) == [AnswerKind.RETRY] * 2 + [AnswerKind.ACCEPTED]
    assert cloud.tokens == 1 if kept else cloud.tokens >= 3


def test_a_user_who_is_disabled_while_the_stack_is_suspended_is_tried_again(serve: Serve) -> None:
    cloud = Cloud(serve)
    cloud.password = "another"
    mine, wanted = sender(), with_token(cloud.server.url, "HEAT_SIGNAL")
    found = mine.send(wanted, BODY)
    assert (found.kind, found.status) == (AnswerKind.RETRY, 401)
    assert PASSWORD not in found.detail
    cloud.password = PASSWORD
    assert mine.send(wanted, BODY).kind is AnswerKind.ACCEPTED


def test_a_stack_that_is_gone_is_final(serve: Serve) -> None:
    cloud = Cloud(serve)
    cloud.service_answers = [(404, {}, b'{"error": {"message": "The Stack (st) could not be found."}}')]
    found = sender().send(with_token(cloud.server.url, "HEAT_SIGNAL"), BODY)
    assert found.kind is AnswerKind.REFUSED and "could not be found" in found.detail


def test_many_deployments_are_signalled_at_once(serve: Serve) -> None:
    cloud, plain = Cloud(serve), serve(accept)
    mine, kinds = sender(), []

    def one(number: int) -> None:
        wanted = signed(plain.url) if number % 2 else with_token(cloud.server.url, "HEAT_SIGNAL")
        kinds.append(mine.send(replace(wanted, id=f"id-{number}"), BODY).kind)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert kinds == [AnswerKind.ACCEPTED] * 12
    assert (len(plain.seen), len(cloud.calls)) == (6, 6)
