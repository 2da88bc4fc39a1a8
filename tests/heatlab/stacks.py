"""Stacks as the lab's ordinary user makes them, through Heat's own API."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keystoneauth1 import exceptions
from keystoneauth1.adapter import Adapter

from . import identity
from .plan import Plan
from .processes import HeatLabError

Template = Mapping[str, Any]

_SECONDS = 120.0
_POLL_SECONDS = 0.2


class Stack:
    """One stack; what it is waited for in vain is told with Heat's own reasons."""

    def __init__(self, heat: Adapter, name: str, id: str) -> None:
        self._heat = heat
        self.name = name
        self.id = id

    @property
    def path(self) -> str:
        """Its path in the API; behind its first part it is the `deploy_stack_id` of its deployments."""
        return f"/stacks/{self.name}/{self.id}"

    # --- what is done to it

    def update(self, template: Template | Path, **fields: Any) -> None:
        """Begin an update; `fields` are further ones of the request, such as `parameters` or `disable_rollback`."""
        self._heat.put(self.path, json={"template": _content(template), "timeout_mins": 10, **fields})

    def suspend(self) -> None:
        """Begin to suspend it."""
        self._heat.post(f"{self.path}/actions", json={"suspend": None})

    def resume(self) -> None:
        """Begin to resume it."""
        self._heat.post(f"{self.path}/actions", json={"resume": None})

    def cancel_update(self, *, rollback: bool) -> None:
        """Cancel the update that is going on."""
        action = "cancel_update" if rollback else "cancel_without_rollback"
        self._heat.post(f"{self.path}/actions", json={action: None})

    def delete(self) -> None:
        """Begin to delete it, if it is still there."""
        if self._status() != "DELETE_COMPLETE":
            self._heat.delete(self.path)

    # --- what it says

    def show(self) -> dict[str, Any]:
        """The stack as the API gives it."""
        found: dict[str, Any] = self._heat.get(self.path).json()["stack"]
        return found

    def wait_for(self, status: str, timeout: float = _SECONDS) -> float:
        """Wait until its status is this, CREATE_COMPLETE for example; give the seconds it took.

        Raises HeatLabError, with reasons and events, where it takes too long or ends in another way.
        """
        began = time.monotonic()
        while True:
            found = self._status()
            if found == status:
                return time.monotonic() - began
            late = time.monotonic() > began + timeout
            if late or not self._may_become(status, found):
                why = f"not within {timeout:g} s" if late else "it has ended otherwise"
                raise HeatLabError(f"stack {self.name}: waited for {status}: {why}: {found}\n{self.story()}")
            time.sleep(_POLL_SECONDS)

    def wait_for_resource(self, name: str, status: str, timeout: float = _SECONDS) -> float:
        """Wait until a resource's status is this, CREATE_COMPLETE for example; give the seconds it took.

        Raises HeatLabError, with reasons and events, where it takes too long or fails.
        """
        began = time.monotonic()
        while (found := self.resources().get(name, "not there")) != status:
            if found.endswith("_FAILED") or time.monotonic() > began + timeout:
                raise HeatLabError(f"stack {self.name}: waited for {name} {status}: {found}\n{self.story()}")
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - began

    def reason(self) -> str:
        """Why it is in its present status."""
        return str(self.show()["stack_status_reason"])

    def outputs(self) -> dict[str, Any]:
        """The values of its outputs by their names."""
        return {item["output_key"]: item.get("output_value") for item in self.show().get("outputs", [])}

    def resource(self, name: str) -> dict[str, Any]:
        """A resource as the API gives it, its attributes included."""
        found: dict[str, Any] = self._heat.get(f"{self.path}/resources/{name}").json()["resource"]
        return found

    def nested(self, resource: str) -> Stack:
        """The stack that a resource of it is, such as a group."""
        found = self.resource(resource)
        link = next(link["href"] for link in found["links"] if link["rel"] == "nested")
        return Stack(self._heat, link.rpartition("/")[0].rpartition("/")[2], found["physical_resource_id"])

    def attribute(self, resource: str, name: str) -> Any:
        """An attribute of a resource, also one that is shown only when it is asked for."""
        answer = self._heat.get(f"{self.path}/resources/{resource}", params={"with_attr": name})
        return answer.json()["resource"]["attributes"][name]

    def metadata(self, resource: str) -> dict[str, Any]:
        """A resource's metadata."""
        found: dict[str, Any] = self._heat.get(f"{self.path}/resources/{resource}/metadata").json()["metadata"]
        return found

    def resources(self) -> dict[str, str]:
        """The status of every resource by its name."""
        found = self._heat.get(f"{self.path}/resources").json()["resources"]
        return {item["resource_name"]: item["resource_status"] for item in found}

    def events(self) -> list[dict[str, Any]]:
        """Its events, oldest first."""
        found: list[dict[str, Any]] = self._heat.get(f"{self.path}/events", params={"sort_keys": "event_time"}).json()[
            "events"
        ]
        return found

    def story(self) -> str:
        """Its status, its resources' and its events, for a person."""
        try:
            shown = self.show()
            lines = [f"{shown['stack_status']}: {shown['stack_status_reason']}"]
            lines += [f"  {name}: {status}" for name, status in self.resources().items()]
            lines += [
                f"  {item['event_time']} {item['resource_name']} {item['resource_status']}: "
                f"{item['resource_status_reason']}"
                for item in self.events()[-12:]
            ]
        except exceptions.ClientException as error:
            lines = [str(error)]
        return "\n".join(lines)

    def _status(self) -> str:
        try:
            return str(self.show()["stack_status"])
        except exceptions.NotFound:
            return "DELETE_COMPLETE"

    @staticmethod
    def _may_become(wanted: str, found: str) -> bool:
        """Whether a stack may still come to one status from another: not if its own action has ended."""
        if not found.endswith(("_COMPLETE", "_FAILED")):
            return True
        return wanted.partition("_")[0] != found.partition("_")[0]


class Stacks:
    """The stacks of the lab's ordinary user."""

    def __init__(self, plan: Plan) -> None:
        self._heat = identity.adapter(plan, "orchestration")

    def create(self, name: str, template: Template | Path, **fields: Any) -> Stack:
        """Begin to create a stack; `fields` are further ones of the request, such as `parameters`."""
        body = {"stack_name": name, "template": _content(template), "timeout_mins": 10, **fields}
        return Stack(self._heat, name, self._heat.post("/stacks", json=body).json()["stack"]["id"])

    def get(self, name: str) -> Stack:
        """A stack that is there; raises keystoneauth1's NotFound."""
        return Stack(self._heat, name, self._heat.get(f"/stacks/{name}").json()["stack"]["id"])

    def list(self) -> dict[str, str]:
        """The status of every stack by its name."""
        found = self._heat.get("/stacks").json()["stacks"]
        return {item["stack_name"]: item["stack_status"] for item in found}


def _content(template: Template | Path) -> str | Template:
    """A template as the API takes it: a file's text as it is."""
    return template.read_text() if isinstance(template, Path) else json.loads(json.dumps(template))
