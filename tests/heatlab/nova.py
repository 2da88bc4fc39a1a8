"""Stands for Nova, which Heat asks one thing: whether a deployment's server is still there, when it is deleted.

Every server is, but those in `Nova.gone`: a deployment's DELETE on such a one is not waited for.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Nova:
    """Listens until `stop`."""

    def __init__(self, address: str, port: int) -> None:
        self.gone: set[str] = set()
        """Ids of servers that it does not know."""
        nova = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server = self.path.partition("?")[0].rstrip("/").rpartition("/servers/")[2]
                if "/servers/" not in self.path:
                    self._answer(200, _VERSION)
                elif server in nova.gone:
                    self._answer(404, {"itemNotFound": {"code": 404, "message": "Instance could not be found."}})
                else:
                    self._answer(200, {"server": {"id": server, "name": server, "status": "ACTIVE"}})

            def _answer(self, status: int, content: object) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer((address, port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()


_VERSION = {"version": {"id": "v2.1", "status": "CURRENT", "version": "2.1", "min_version": "2.1", "links": []}}
