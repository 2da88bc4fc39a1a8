"""Several servers of one stack, each with a node of its own, side by side."""

from __future__ import annotations

from heatlab import templates
from lab import deployments as heat

from .conftest import Site

SERVERS = {"one": "POLL_SERVER_CFN", "two": "POLL_SERVER_HEAT", "three": "ZAQAR_MESSAGE"}
SECONDS = 60


def test_a_group_and_deployments_of_their_own_on_three_nodes(site: Site) -> None:
    servers = [templates.server(transport, name) for name, transport in SERVERS.items()]
    own = [
        templates.deployment(f"own-{name}", heat.pod(f"own-{name}"), "TEMP_URL_SIGNAL", server=name, outputs=["pod_ip"])
        for name in SERVERS
    ]
    values = {name: {"get_attr": [f"own-{name}", "pod_ip"]} for name in SERVERS}
    values["group"] = {"get_attr": ["every", "deploy_stdouts"]}
    shared = templates.group("every", heat.pod("every"), "CFN_SIGNAL", SERVERS)
    stack = site.create(templates.template(*servers, *own, shared, outputs=values))
    for name in SERVERS:
        site.guest(name).boot(stack, name)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    outputs = stack.outputs()
    before = {name: site.guest(name).containers() for name in SERVERS}
    for name in SERVERS:
        pods = site.guest(name).running_pods()
        assert sorted(pods) == ["every", f"own-{name}"]
        assert outputs[name] == pods[f"own-{name}"]["status"]["podIP"]
        assert "default/every  1/1    Running" in outputs["group"][name]

    changed = templates.group("every", heat.pod("every", "echo changed; exec sleep 3600"), "CFN_SIGNAL", SERVERS)
    stack.update(templates.template(*servers, *own, changed, outputs=values))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    for name in SERVERS:
        after = site.guest(name).containers()
        assert after[f"own-{name}"] == before[name][f"own-{name}"]
        assert after["every"] != before[name]["every"]

    stack.update(templates.template(*servers, *own, outputs={name: values[name] for name in SERVERS}))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    for name in SERVERS:
        guest = site.guest(name)
        guest.wait_until_only(f"own-{name}")
        assert guest.containers() == {f"own-{name}": before[name][f"own-{name}"]}
