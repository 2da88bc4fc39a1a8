"""How often a node asks for news: os-collect-config's own default, or what the template says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from heatlab import templates
from heatlab.guest import Guest
from lab import deployments as heat

from .conftest import Site

SECONDS = 120


def whole(transport: str, pod: dict[str, Any], **settings: object) -> dict[str, Any]:
    """Give a template whose server has these settings of os-collect-config."""
    server = templates.server(transport, metadata={"os-collect-config": settings} if settings else None)
    return templates.template(server, templates.deployment("web", pod, "TEMP_URL_SIGNAL"))


def telling(site: Site, folder: Path) -> Guest:
    """Give a node whose image says nothing about polls, and whose os-collect-config logs every pause.

    With oslo.log 8 it would log warnings only, whatever its settings: os_collect_config/collect.py sets up its log
    where there is no handler, and `register_options` of oslo.log has made one.
    """
    (folder / "sitecustomize.py").write_text(
        'import logging\n\nlogging.getLogger("os-collect-config").setLevel("INFO")\n'
    )
    guest = site.guest(polling_interval=None, variables={"PYTHONPATH": str(folder)})
    guest.node.collector.log.unlink(missing_ok=True)
    return guest


def pauses(guest: Guest) -> list[float]:
    """The pauses between polls that os-collect-config has said, in seconds."""
    return [float(each) for each in re.findall(r"Sleeping ([0-9.]+) seconds", guest.node.collector.log.read_text())]


@pytest.mark.parametrize("transport", templates.SERVER_TRANSPORTS)
def test_the_template_says_the_interval_and_changes_it(site: Site, tmp_path: Path, transport: str) -> None:
    guest = telling(site, tmp_path)
    stack = site.create(whole(transport, heat.pod("web"), polling_interval=2))
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    guest.node.wait_for(lambda: pauses(guest)[-2:] == [2, 2], "polls every 2 s", SECONDS)

    stack.update(whole(transport, heat.pod("web", "echo changed; exec sleep 3600"), polling_interval=0.5))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    guest.node.wait_for(lambda: pauses(guest)[-2:] == [0.5, 0.5], "polls every 0.5 s", SECONDS)
    assert guest.node.collector.running


def test_the_default_is_30_seconds(site: Site, tmp_path: Path) -> None:
    guest = telling(site, tmp_path)
    stack = site.create(whole("POLL_SERVER_HEAT", heat.pod("web")))
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    assert "polling_interval" not in guest.node.collector.config_file.read_text()
    guest.node.wait_for(lambda: pauses(guest)[-1:] == [30], "a pause of 30 s", SECONDS)
    assert max(pauses(guest)) == 30
