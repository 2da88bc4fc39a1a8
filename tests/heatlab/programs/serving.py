"""Serves WSGI applications with waitress, each of which can be stopped and started while the process goes on.

The lab says by lines on standard input what is to be done, "stop NAME" and "start NAME", and gets "done NAME";
when that ends, because the lab has ended in whatever way, so does the process. The first line out is "ready".
Runs with the services' Python.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from waitress import wasyncore
from waitress.server import create_server

faulthandler.register(signal.SIGUSR1)
"""Its threads go to the log, to see why it hangs."""


class Server:
    """An application on a place of this machine, ADDRESS:PORT."""

    def __init__(self, application: Callable[..., Any], place: str, scheme: str) -> None:
        self._application = application
        self._place = place
        self._scheme = scheme
        self._server: Any = None
        self._map: dict[int, Any] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and answer."""
        self._map = {}
        self._server = create_server(
            self._application,
            map=self._map,
            listen=self._place,
            url_scheme=self._scheme,
            threads=16,
            connection_limit=4000,
            asyncore_use_poll=True,
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection at once; what is being worked on gets no answer."""
        assert self._thread
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._map))
        self._thread.join()
        self._server.task_dispatcher.shutdown(timeout=0)


def serve(servers: Mapping[str, Server]) -> None:
    """Start all, then do what the lab says until it ends."""
    for server in servers.values():
        server.start()
    print("ready", flush=True)
    for line in sys.stdin:
        what, _, name = line.strip().partition(" ")
        getattr(servers[name], {"stop": "stop", "start": "start"}[what])()
        print(f"done {name}", flush=True)
    os._exit(0)
