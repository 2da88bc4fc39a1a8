"""Stands for Heat, Swift, Zaqar and Keystone where a test wants to see signals, and to let them fail.

It answers as the real ones do (seen with Heat 27.0.1, Keystone 30.0.0, Zaqar 23.0.1, Swift 2.38.3): also where they
take a signal and drop it, which reads as success. Swift's objects can be read too, as os-collect-config's collector
"request" does; and it is a registry without images. Where a test needs what Heat then does with a signal, it needs a
real Heat.
"""

from __future__ import annotations

import email.utils
import json
import re
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from heat_config_kubelet import pki

PROJECT = "3bb25dedb0694e07a1ac5161edfe08e8"
USER = "4637bcf3fdb14f7bbb4b3ea8c210d460"
PASSWORD = "lab-password-$ecret"
REGION = "RegionOne"

HEAT_LIMIT = 1048576
ZAQAR_LIMIT = 262144


@dataclass(frozen=True)
class Fault:
    """What is done to a request instead of answering it as usual."""

    status: int = 0
    """The status to answer with; 0: none at all, see `end`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    end: str = ""
    """"hang": no answer until the receiver stops; "reset": the connection is reset; "late": taken, then reset."""


HANG = Fault(end="hang")
RESET = Fault(end="reset")
LATE = Fault(end="late")
"""The signal is taken, but its sender never learns it."""


@dataclass(frozen=True)
class Request:
    """One request that was received."""

    method: str
    path: str
    """Unquoted, without the query."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    raw: bytes
    at: float
    """time.monotonic()."""
    status: int
    """What it was answered with; 0 for none."""
    resource: str = ""
    """The deployment that it signals, empty where it is no signal."""
    signal: Mapping[str, Any] = field(default_factory=dict)
    """What arrived at the service as the signal's body."""
    accepted: bool = False
    """Whether Heat would see this signal; one that is answered 200 need not be."""


class Receiver:
    """A service on 127.0.0.1, as a context manager. With `tls` (a folder) it speaks TLS by a CA of its own."""

    def __init__(self, *, tls: Path | None = None) -> None:
        self.ca: Path | None = None
        self._tls: Path | None = None
        if tls:
            pki.renew_if_old(tls)
            self.ca, self._tls = pki.Pki(tls).ca, pki.Pki(tls).server
        self._condition = threading.Condition()
        self._requests: list[Request] = []
        self._faults: list[tuple[str, Fault, float]] = []
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._tokens: set[str] = set()
        self._stopped = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.clock_ahead = 0.0
        """Seconds that its own clock, in the header Date, is ahead of the machine's."""

    def __enter__(self) -> Receiver:
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self.refuse()

    # --- where it is

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}{path}"

    @property
    def absent_image(self) -> str:
        """The name of an image of which its registry, this service, says that there is no such image."""
        return f"127.0.0.1:{self.port}/absent:1"

    @property
    def private_image(self) -> str:
        """The name of an image that this registry gives to nobody whom it does not know."""
        return f"127.0.0.1:{self.port}/private/app:1"

    @property
    def auth_url(self) -> str:
        """Keystone's, as deployments have it."""
        return self.url("/v3/")

    # --- what it has seen

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order of their answers."""
        with self._condition:
            return list(self._requests)

    def signals(self, resource: str) -> list[Request]:
        """The signals for one deployment that were accepted."""
        return [item for item in self.requests if item.resource == resource and item.accepted]

    def wait_for_signal(self, resource: str, *, count: int = 1, timeout: float = 60.0) -> Request:
        """Wait until `count` signals for this deployment were accepted, and give that one.

        Raises TimeoutError that says what came instead.
        """

        def look() -> Request | None:
            found = self.signals(resource)
            return found[count - 1] if len(found) >= count else None

        return self.wait_for(look, f"signal {count} for {resource}", timeout)

    def wait_for(self, look: Callable[[], Request | None], what: str, timeout: float = 60.0) -> Request:
        """Wait until `look`, called after each request, gives one; TimeoutError where it does not."""
        end = time.monotonic() + timeout
        with self._condition:
            while True:
                found = look()
                if found:
                    return found
                if not self._condition.wait(end - time.monotonic()):
                    seen = "".join(f"\n  {item.method} {item.path}: {item.status}" for item in self._requests[-10:])
                    raise TimeoutError(f"no {what} within {timeout:g} s; seen:{seen or ' nothing'}")

    def forget(self) -> None:
        """Begin anew: no requests, faults or tokens; objects stay."""
        with self._condition:
            self._requests.clear()
            self._faults.clear()
            self._tokens.clear()

    # --- what it does

    def fail(self, part: str, fault: Fault, *, times: float = float("inf")) -> None:
        """Do `fault` to the next `times` requests whose path holds `part`."""
        with self._condition:
            self._faults.append((part, fault, times))

    def mend(self) -> None:
        """Answer everything as usual again, and listen if it does not."""
        with self._condition:
            self._faults.clear()
        self.listen()

    def refuse(self) -> None:
        """Stop listening: connections are refused."""
        if self._server:
            server, self._server = self._server, None
            server.shutdown()
            server.server_close()

    def listen(self) -> None:
        """Listen, on the same port as before."""
        if self._server:
            return
        handler = type("Handler", (_Handler,), {"receiver": self})
        server = _Server(("127.0.0.1", self.port), handler)
        if self._tls:
            server.use(self._tls)
        self._server, self.port = server, int(server.server_address[1])
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def put(self, path: str, content: Any) -> str:
        """Keep `content` as JSON at `path`, as Swift does, and give its URL."""
        with self._condition:
            self._objects[path] = (json.dumps(content).encode(), time.time())
        return self.url(path)

    def expire_tokens(self) -> None:
        """Let no token be valid any more."""
        with self._condition:
            self._tokens.clear()

    # --- for the handler

    def fault_for(self, path: str) -> Fault | None:
        """Take the fault that is due for a request."""
        with self._condition:
            for place, (part, fault, times) in enumerate(self._faults):
                if part in path and times > 0:
                    self._faults[place] = (part, fault, times - 1)
                    return fault
        return None

    def record(self, request: Request) -> None:
        """Take note of a request."""
        with self._condition:
            self._requests.append(request)
            self._condition.notify_all()

    def token(self) -> str:
        """Make a token."""
        token = uuid.uuid4().hex
        with self._condition:
            self._tokens.add(token)
        return token

    def knows(self, token: str) -> bool:
        """Whether a token is valid."""
        with self._condition:
            return token in self._tokens

    def object_at(self, path: str) -> tuple[bytes, float] | None:
        """Give what is kept at a path, and since when (seconds since the epoch)."""
        with self._condition:
            return self._objects.get(path)

    def store(self, path: str, content: bytes) -> None:
        """Keep what was PUT."""
        with self._condition:
            self._objects[path] = (content, time.time())

    def hang(self) -> None:
        """Wait for the receiver's end."""
        self._stopped.wait()


@dataclass
class _Answer:
    """An answer in the making."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    resource: str = ""
    signal: Mapping[str, Any] = field(default_factory=dict)
    accepted: bool = False

    @classmethod
    def json(cls, status: int, content: object, **headers: str) -> _Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, json.dumps(content).encode(), {"Content-Type": "application/json", **named})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def use(self, certificate: Path) -> None:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to talk about."""


class _Handler(BaseHTTPRequestHandler):
    """Routes by path; names of routes are those of the services' own API references."""

    protocol_version = "HTTP/1.1"
    timeout = 120
    receiver: Receiver

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The header Date, by the receiver's own clock."""
        return super().date_time_string((time.time() if timestamp is None else timestamp) + self.receiver.clock_ahead)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `Receiver.requests` is the log."""

    def handle(self) -> None:
        """Say in plain HTTP, as Go's server does, that TLS is not spoken here: then containerd speaks HTTP too."""
        if not self.receiver.ca and self.connection.recv(1, socket.MSG_PEEK) == b"\x16":
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
            return
        super().handle()

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        length = self.headers.get("Content-Length")
        raw = self.rfile.read(int(length)) if length else b""
        fault = self.receiver.fault_for(path)
        answer = _Answer(0) if fault and fault.end in ("hang", "reset") else self._route(path, raw, length)
        if fault and not fault.end:
            answer = _Answer(fault.status, fault.body, dict(fault.headers), answer.resource)
        self.receiver.record(
            Request(
                self.command,
                path,
                parts.query,
                {name.lower(): value for name, value in self.headers.items()},
                raw,
                time.monotonic(),
                0 if fault and fault.end else answer.status,
                answer.resource,
                answer.signal,
                answer.accepted,
            )
        )
        if fault and fault.end:
            self._end(fault.end)
        else:
            self._answer(answer)

    def _end(self, how: str) -> None:
        if how == "hang":
            self.receiver.hang()
        linger = struct.pack("ii", 1, 0)  # with it, close() sends a reset
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def _answer(self, answer: _Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _route(self, path: str, raw: bytes, length: str | None) -> _Answer:
        if path == "/v3/auth/tokens" and self.command == "POST":
            return self._token(raw)
        if path in ("/", "/v3", "/v3/") and self.command == "GET":
            return self._versions(path)
        if found := re.fullmatch(r"/v1/signal/.+/resources/([^/]+)", path):
            return self._heat_signal(found[1], raw, length, too_large=500, body=b"")
        if found := re.fullmatch(rf"/heat/v1/{PROJECT}/stacks/[^/]+/[^/]+/resources/([^/]+)/signal", path):
            refused = self._unauthorized()
            return refused or self._heat_signal(found[1], raw, length, too_large=400, body=b"null")
        if found := re.fullmatch(r"/zaqar/v2/queues/([^/]+)/messages", path):
            return self._unauthorized() or self._zaqar_signal(found[1], raw)
        if path.startswith("/v2/"):  # a registry, of the OCI's distribution specification
            if path.startswith("/v2/private/"):
                errors = [{"code": "UNAUTHORIZED", "message": "authentication required"}]
                return _Answer.json(401, {"errors": errors}, WWW_Authenticate='Basic realm="lab"')
            return _Answer.json(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})
        return self._object(path, raw)

    def _heat_signal(self, resource: str, raw: bytes, length: str | None, *, too_large: int, body: bytes) -> _Answer:
        """A body over max_json_body_size is refused; one without JSON's content type or a length is dropped."""
        if self.command != "POST":
            return _Answer(404)
        if len(raw) > HEAT_LIMIT:
            message = f"JSON body size ({len(raw)} bytes) exceeds maximum allowed size ({HEAT_LIMIT} bytes)."
            return _Answer(too_large, json.dumps({"code": too_large, "error": {"message": message}}).encode())
        typed = self.headers.get("Content-Type", "").split(";")[0] == "application/json"
        signal = _map(raw) if typed and length else None
        return _Answer(200, body, {"Content-Type": "application/json"}, resource, signal or {}, signal is not None)

    def _zaqar_signal(self, queue: str, raw: bytes) -> _Answer:
        """Zaqar's v2: needs Client-ID (a UUID) and X-Project-Id; the resource is the queue's name up to "--".

        DELETE gives what was put at the queue's path, as the collector "zaqar" takes its message with `pop`.
        """
        kept = self.receiver.object_at(f"/zaqar/v2/queues/{queue}")
        if self.command == "DELETE" and kept:
            message = {"id": uuid.uuid4().hex, "ttl": 60, "age": 1, "body": json.loads(kept[0])}
            return _Answer.json(200, {"messages": [message]})
        messages = _map(raw).get("messages") if self.command == "POST" else None
        try:
            uuid.UUID(self.headers.get("Client-ID", ""))
        except ValueError:
            return _Answer.json(400, {"title": "Bad request", "description": "Missing parameter 'Client-ID'"})
        if not self.headers.get("X-Project-Id"):
            return _Answer.json(400, {"title": "Bad request", "description": "The header X-PROJECT-ID was missing"})
        if not isinstance(messages, list) or len(messages) != 1 or len(raw) > ZAQAR_LIMIT:
            return _Answer.json(
                400, {"title": "Invalid API request", "description": "Message collection size is too large"}
            )
        answer = _Answer.json(201, {"resources": [f"/v2/queues/{queue}/messages/{uuid.uuid4().hex}"]})
        body = messages[0].get("body")
        answer.resource, answer.signal, answer.accepted = queue.split("--")[0], body, isinstance(body, dict)
        return answer

    def _object(self, path: str, raw: bytes) -> _Answer:
        """Swift: a signal is PUT to /v1/AUTH_<project>/<resource>--<anything>/<object>."""
        found = re.fullmatch(rf"/v1/AUTH_{PROJECT}/(.+?)--[^/]*/[^/]+", path)
        if self.command == "PUT" and found:
            self.receiver.store(path, raw)
            return _Answer(201, resource=found[1], signal=_map(raw), accepted=bool(_map(raw)))
        kept = self.receiver.object_at(path)
        if self.command not in ("GET", "HEAD") or not kept:
            return _Answer(404, b"<html><h1>Not Found</h1></html>", {"Content-Type": "text/html"})
        when = email.utils.formatdate(kept[1], usegmt=True)
        return _Answer(200, kept[0], {"Content-Type": "application/json", "Last-Modified": when})

    def _unauthorized(self) -> _Answer | None:
        if self.receiver.knows(self.headers.get("X-Auth-Token", "")):
            return None
        return _Answer.json(
            401, {"error": {"code": 401, "title": "Unauthorized", "message": "Authentication required"}}
        )

    def _versions(self, path: str) -> _Answer:
        version = {
            "id": "v3.14",
            "status": "stable",
            "updated": "2020-04-07T00:00:00Z",
            "links": [{"rel": "self", "href": self.receiver.auth_url}],
            "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
        }
        return (
            _Answer.json(300, {"versions": {"values": [version]}})
            if path == "/"
            else _Answer.json(200, {"version": version})
        )

    def _token(self, raw: bytes) -> _Answer:
        """Keystone's POST /v3/auth/tokens for a user's and a project's id."""
        try:
            auth = _map(raw)["auth"]
            user, project = auth["identity"]["password"]["user"], auth["scope"]["project"]["id"]
            right = (user["id"], user["password"], project) == (USER, PASSWORD, PROJECT)
        except (KeyError, TypeError):
            return _Answer.json(400, {"error": {"code": 400, "title": "Bad Request", "message": "not valid"}})
        if not right:
            message = "The request you have made requires authentication."
            return _Answer.json(401, {"error": {"code": 401, "title": "Unauthorized", "message": message}})
        services = {"orchestration": f"/heat/v1/{PROJECT}", "messaging": "/zaqar", "identity": "/v3"}
        token = {
            "methods": ["password"],
            "expires_at": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + 3600)),
            "issued_at": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()),
            "user": {"id": USER, "name": "lab", "domain": {"id": "heat", "name": "heat"}},
            "project": {"id": PROJECT, "name": "lab", "domain": {"id": "heat", "name": "heat"}},
            "roles": [{"id": "1", "name": "heat_stack_user"}],
            "catalog": [self._service(name, path) for name, path in services.items()],
        }
        return _Answer.json(201, {"token": token}, X_Subject_Token=self.receiver.token())

    def _service(self, name: str, path: str) -> dict[str, Any]:
        other = {"interface": "internal", "url": "http://192.0.2.1/", "region": REGION, "region_id": REGION, "id": "i"}
        elsewhere = {"interface": "public", "url": "http://192.0.2.2/", "region": "Two", "region_id": "Two", "id": "e"}
        here = {"interface": "public", "url": self.receiver.url(path), "region": REGION, "region_id": REGION, "id": "p"}
        return {"id": name, "name": name, "type": name, "endpoints": [other, elsewhere, here]}


def _map(raw: bytes) -> dict[str, Any]:
    """Read a JSON object; an empty one where it is none."""
    try:
        content = json.loads(raw)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
