"""Runs Zaqar: run_zaqar.py CONFIG ADDRESS:PORT SCHEME. Runs with the services' Python."""

from __future__ import annotations

import sys
from pathlib import Path

from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)  # must come before all other modules of OpenStack

sys.path.append(str(Path(__file__).resolve().parents[2]))
from heatlab.programs import serving  # noqa: E402


def main(config: str, place: str, scheme: str) -> None:
    """Do what zaqar.transport.wsgi.app does, with a configuration file that is named."""
    from oslo_config import cfg
    from oslo_log import log
    from zaqar import bootstrap

    log.register_options(cfg.CONF)
    cfg.CONF(["--config-file", config], project="zaqar", prog="zaqar-queues")
    log.setup(cfg.CONF, "zaqar")
    application = bootstrap.Bootstrap(cfg.CONF).transport.app
    serving.serve({"zaqar": serving.Server(application, place, scheme)})


if __name__ == "__main__":
    main(*sys.argv[1:])
