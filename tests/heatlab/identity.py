"""Makes the users, roles, services and endpoints of the lab in Keystone, by its ordinary API."""

from __future__ import annotations

from typing import Any

from keystoneauth1.adapter import Adapter
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from .plan import PROJECT, REGION, STACK_DOMAIN, USER, Plan

_SERVICES = {
    "identity": ("keystone", "/v3"),
    "orchestration": ("heat-api", "/v1/%(project_id)s"),
    "cloudformation": ("heat-api-cfn", "/v1"),
    "messaging": ("zaqar", ""),
    "object-store": ("swift", "/v1/AUTH_%(project_id)s"),
    "compute": ("nova", "/v2.1"),
}
"""By type: the service, and the path of its endpoints."""

_TIMEOUT = 60.0


def session(plan: Plan, user: str, project: str) -> Session:
    """Give a session of a user of the default domain."""
    auth = v3.Password(
        auth_url=f"{plan.url('keystone')}/v3",
        username=user,
        password=plan.password,
        project_name=project,
        user_domain_id="default",
        project_domain_id="default",
    )
    return Session(auth=auth, verify=str(plan.ca) if plan.ca else True, timeout=_TIMEOUT)


def adapter(plan: Plan, service_type: str, user: str = USER, project: str = PROJECT) -> Adapter:
    """Give what calls one service as this user."""
    return Adapter(session(plan, user, project), service_type=service_type, interface="public", region_name=REGION)


def set_up(plan: Plan) -> None:
    """Make everything; the user admin is there already."""
    _Maker(plan).make()


class _Maker:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        url = f"{plan.url('keystone')}/v3"  # the catalog has no endpoint yet
        self._keystone = Adapter(session(plan, "admin", "admin"), endpoint_override=url)
        self._roles = {role["name"]: role["id"] for role in self._keystone.get("/roles").json()["roles"]}

    def make(self) -> None:
        self._post("region", id=REGION)
        domain = self._post("domain", name=STACK_DOMAIN)
        for role in ("heat_stack_owner", "heat_stack_user"):
            self._roles[role] = self._post("role", name=role)["id"]
        demo = self._post("project", name=PROJECT, domain_id="default")
        service = self._post("project", name="service", domain_id="default")
        self._user(USER, "default", {f"/projects/{demo['id']}": ["member", "heat_stack_owner"]})
        for name in ("heat", "swift", "zaqar"):
            self._user(name, "default", {f"/projects/{service['id']}": ["service", "admin"]})
        self._user("heat_domain_admin", domain["id"], {f"/domains/{domain['id']}": ["admin"]})
        for kind, (name, path) in _SERVICES.items():
            made = self._post("service", name=name, type=kind)
            for interface in ("public", "internal", "admin"):
                url = f"{self._plan.url(name)}{path}"
                self._post("endpoint", service_id=made["id"], interface=interface, url=url, region_id=REGION)

    def _user(self, name: str, domain: str, roles: dict[str, list[str]]) -> None:
        made = self._post("user", name=name, domain_id=domain, password=self._plan.password)
        for place, names in roles.items():
            for role in names:
                self._keystone.put(f"{place}/users/{made['id']}/roles/{self._roles[role]}")

    def _post(self, kind: str, **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = self._keystone.post(f"/{kind}s", json={kind: fields}).json()[kind]
        return made
