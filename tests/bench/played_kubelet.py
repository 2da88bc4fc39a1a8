"""A kubelet that is played: it says of every manifest in its directory that the pod runs and is ready.

For the cost of agents without that of containers. It speaks TLS with the agent's own certificates, asks for the
agent's, and gives pods with all the fields that a real one gives.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from heat_config_kubelet.pki import Pki


class PlayedKubelet:
    """Answers `/pods` on 127.0.0.1, as a context manager; a pod is ready `start_seconds` after its manifest came."""

    def __init__(self, manifests: Path, start_seconds: float) -> None:
        self._manifests = manifests
        self._start_seconds = start_seconds
        handler = type("Handler", (_Handler,), {"kubelet": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def listen(self, certificates: Pki) -> None:
        """Begin to answer, with these certificates."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server)
        context.load_verify_locations(certificates.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def pods(self) -> list[dict[str, Any]]:
        """The pods of all manifests, as v1 PodList has them."""
        return [self._pod(file) for file in sorted(self._manifests.glob("*.json"))]

    def _pod(self, file: Path) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(file.read_text())
        came = file.stat().st_ctime
        ready = time.time() >= came + self._start_seconds
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(came))
        name = manifest["metadata"]["name"]
        metadata = {**manifest["metadata"], "name": f"{name}-played", "creationTimestamp": None}
        kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        early = ("Initialized", "PodScheduled")
        status = {
            "phase": "Running" if ready else "Pending",
            "conditions": [
                {"type": kind, "status": str(ready or kind in early), "lastTransitionTime": since} for kind in kinds
            ],
            "startTime": since,
            "qosClass": "BestEffort",
            "containerStatuses": [_container(each, ready, since) for each in manifest["spec"]["containers"]],
            **({"podIP": "10.88.0.2", "podIPs": [{"ip": "10.88.0.2"}]} if ready else {}),
        }
        return {"metadata": metadata, "spec": manifest["spec"], "status": status}


def _container(container: dict[str, Any], ready: bool, since: str) -> dict[str, Any]:
    state = {"running": {"startedAt": since}} if ready else {"waiting": {"reason": "ContainerCreating"}}
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"sha256:{'0' * 64}" if ready else "",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "lastState": {},
        "state": state,
        **({"containerID": f"containerd://{'0' * 64}"} if ready else {}),
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kubelet: PlayedKubelet

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        there = self.path.split("?")[0] == "/pods"
        items = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self.kubelet.pods() if there else []}
        body = json.dumps(items).encode()
        self.send_response(200 if there else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
