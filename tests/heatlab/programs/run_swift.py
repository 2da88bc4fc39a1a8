"""Runs Swift in one process: run_swift.py FOLDER, with the rings and NAME-server.conf for its four servers.

Ends with its standard input, which the lab holds. Runs with the services' Python.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import eventlet
import eventlet.wsgi

eventlet.monkey_patch()

SERVERS = ("account", "container", "object", "proxy")


def main(folder: str) -> None:
    from swift.common import wsgi

    for name in SERVERS:
        file = str(Path(folder, f"{name}-server.conf"))
        config, _, global_config, _ = wsgi.check_config(file, f"{name}-server")
        application = wsgi.loadapp(file, global_conf=global_config)
        # Not wsgi.run_server, which gives the process another hub each time.
        eventlet.spawn(
            eventlet.wsgi.server,
            wsgi.get_socket(config),
            application,
            wsgi.NullLogger(),
            protocol=wsgi.SwiftHttpProtocol,
            capitalize_response_headers=False,
        )
    print("ready", flush=True)
    eventlet.hubs.trampoline(sys.stdin.fileno(), read=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
