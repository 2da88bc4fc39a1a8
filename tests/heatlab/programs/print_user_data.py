"""Prints the user data that Heat gives to Nova for a server with user_data_format SOFTWARE_CONFIG.

Its metadata (JSON) come on standard input. Runs with the services' Python.
"""

from __future__ import annotations

import json
import sys

from heat.common import context
from heat.engine.clients.os import nova


def main() -> None:
    """Do what heat/engine/resources/openstack/nova/server.py does for a server without user data of its own."""
    request = context.RequestContext(is_admin=False)  # the plugin has only a weak reference to it
    plugin = nova.NovaClientPlugin(request)
    metadata = json.load(sys.stdin)
    sys.stdout.write(plugin.build_userdata(metadata, "", user_data_format="SOFTWARE_CONFIG"))


if __name__ == "__main__":
    main()
