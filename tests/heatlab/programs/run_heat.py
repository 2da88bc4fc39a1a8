"""Runs Heat in one process: run_heat.py CONFIG SCHEME NAME=PLACE…, with NAME of heat-engine, heat-api, heat-api-cfn.

A place is ADDRESS:PORT; heat-engine has none. In one process the APIs reach it through oslo.messaging's in-process
transport (fake://).
Runs with the services' Python.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)  # must come before all other modules of OpenStack

sys.path.append(str(Path(__file__).resolve().parents[2]))
from heatlab.programs import databases, serving  # noqa: E402


def main(config: str, scheme: str, *wanted: str) -> None:
    databases.prepare_for_threads()
    _configure(config)
    names = dict(item.partition("=")[::2] for item in wanted)
    if "heat-engine" in names:
        _start_engine()
    servers = {name: serving.Server(_application(name), place, scheme) for name, place in names.items() if place}
    serving.serve(servers)


def _configure(file: str) -> None:
    """Do what each of Heat's programs does first."""
    import oslo_i18n
    from heat.common import config, messaging
    from oslo_config import cfg
    from oslo_log import log

    oslo_i18n.enable_lazy()
    log.register_options(cfg.CONF)
    cfg.CONF(["--config-file", file], project="heat", prog="heat-engine")
    log.setup(cfg.CONF, "heat")
    config.set_config_defaults()
    messaging.setup()


def _start_engine() -> None:
    """Do what heat-engine does, without workers of its own."""
    from heat.common import config
    from heat.db import migration
    from heat.engine import service, template
    from heat.rpc import api
    from oslo_config import cfg

    migration.db_sync()
    config.startup_sanity_check()
    template._get_template_extension_manager()
    service.EngineService(cfg.CONF.host, api.ENGINE_TOPIC).start()


def _application(name: str) -> Any:
    from heat.common import config

    return config.load_paste_app(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
