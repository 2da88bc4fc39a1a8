"""Runs Keystone: run_keystone.py CONFIG ADDRESS:PORT SCHEME PASSWORD.

Makes its tables and its first user, admin with this password, where they are not there yet.
Runs with the services' Python.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)  # must come before all other modules of OpenStack

sys.path.append(str(Path(__file__).resolve().parents[2]))
from heatlab.programs import databases, serving  # noqa: E402


def main(config: str, place: str, scheme: str, password: str) -> None:
    databases.prepare_for_threads()
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = config
    sys.argv[1:] = []
    from keystone.common.sql import upgrades
    from keystone.server import wsgi

    application = wsgi.initialize_public_application()
    upgrades.offline_sync_database_to_version()
    _make_first_user(password)
    serving.serve({"keystone": serving.Server(application, place, scheme)})


def _make_first_user(password: str) -> None:
    """Do what `keystone-manage bootstrap` does, in a process whose backends are loaded already."""
    from keystone.cmd import bootstrap
    from keystone.common import provider_api

    provider_api.ProviderAPIs._clear_registry_instances()
    maker = bootstrap.Bootstrapper()
    maker.admin_username = maker.project_name = maker.admin_role_name = "admin"
    maker.admin_password = password
    maker.bootstrap()


if __name__ == "__main__":
    main(*sys.argv[1:])
