"""Writes the services' configuration files. What is set, and why, where a service's own default does not do."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

from .plan import LOOPBACK, REGION, SEVERAL, STACK_DOMAIN, Plan

Sections = Mapping[str, Mapping[str, object]]

_SWIFT_PIPELINE = "catch_errors proxy-logging healthcheck tempurl authtoken keystoneauth proxy-logging proxy-server"

NODES_MAY_POLL = '"cloudformation:DescribeStackResource": "role:reader or role:heat_stack_user"\n'
"""Heat's default policy since 2024.1 refuses the nodes' polls by POLL_SERVER_CFN."""


def write_all(plan: Plan, paste: Path) -> None:
    """Write every service's files; `paste` is the api-paste.ini that Heat brings."""
    for name in ("keystone", "heat", "zaqar", "swift", "log", "redis"):
        (plan.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_keystone(plan)
    _write_heat(plan, paste)
    _write(plan.folder / "zaqar" / "zaqar.conf", _zaqar(plan))
    _write_swift(plan)


def database(plan: Plan, name: str) -> str:
    """The URL of a service's database."""
    if plan.shape == SEVERAL:
        return f"postgresql+psycopg2://lab:{plan.password}@127.0.0.1:{plan.ports['postgresql']}/{name}"
    return f"sqlite:///{plan.folder}/{name}/{name}.sqlite"


def _write_keystone(plan: Plan) -> None:
    folder = plan.folder / "keystone"
    for name in ("fernet-keys", "credential-keys", "receipt-keys"):
        keys = folder / name
        if not keys.is_dir():
            keys.mkdir(mode=0o700)
            for number in ("0", "1"):
                _write_private(keys / number, base64.urlsafe_b64encode(os.urandom(32)).decode())
    sections: dict[str, dict[str, object]] = {
        "DEFAULT": {"public_endpoint": plan.url("keystone"), "use_stderr": True, "debug": False},
        "auth": {"methods": "password,token,application_credential,ec2credential"},  # the last for CFN's URLs, else 503
        "cache": _cache(plan),
        "credential": {"key_repository": folder / "credential-keys", "auth_ttl": plan.auth_ttl},
        "database": _database(plan, "keystone"),
        "fernet_receipts": {"key_repository": folder / "receipt-keys"},  # else it writes to /etc
        "fernet_tokens": {"key_repository": folder / "fernet-keys"},
        # Heat makes a user for each server and deployment: cheap ones. It disables and enables them as stacks are
        # suspended and resumed, and the cache can keep what was read just before such a change, for 10 minutes.
        "identity": {"password_hash_rounds": 4, "caching": False},
        "oslo_policy": {"policy_file": folder / "policy.yaml"},
    }
    _write(folder / "keystone.conf", sections)
    (folder / "policy.yaml").write_text("")


def _write_heat(plan: Plan, paste: Path) -> None:
    folder = plan.folder / "heat"
    (folder / "policy.yaml").write_text(NODES_MAY_POLL)
    transport = (
        f"rabbit://lab:{plan.password}@127.0.0.1:{plan.ports['rabbitmq']}/" if plan.shape == SEVERAL else "fake://"
    )
    heat_user: dict[str, object] = {
        "auth_type": "password",
        "auth_url": f"{plan.url('keystone')}/v3",
        "username": "heat",
        "password": plan.password,
        "user_domain_id": "default",
    }
    in_project: dict[str, object] = {"project_name": "service", "project_domain_id": "default"}
    sections: dict[str, dict[str, object]] = {
        "DEFAULT": {
            "auth_encryption_key": plan.secret("heat"),
            "convergence_engine": plan.convergence,
            "heat_metadata_server_url": plan.url("heat-api-cfn"),
            "heat_waitcondition_server_url": f"{plan.url('heat-api-cfn')}/v1/waitcondition",
            "num_engine_workers": plan.engine_workers,
            "region_name_for_services": REGION,
            "stack_domain_admin": "heat_domain_admin",
            "stack_domain_admin_password": plan.password,
            "stack_user_domain_name": STACK_DOMAIN,
            "transport_url": transport,
            "use_stderr": True,
        },
        "cache": _cache(plan),
        "clients_keystone": {"auth_uri": plan.url("keystone")},
        "database": _database(plan, "heat"),
        # Full credentials of v3, and of Keystone's address what is before the version.
        "ec2authtoken": {**heat_user, **in_project, "endpoint_override": plan.url("keystone")},
        "keystone_authtoken": _authtoken(plan, "heat"),
        "oslo_policy": {"policy_file": folder / "policy.yaml"},
        "paste_deploy": {"api_paste_config": paste},
        "trustee": heat_user,  # without a project: it is for tokens of trusts
    }
    _write(folder / "heat.conf", sections)


def _zaqar(plan: Plan) -> Sections:
    redis = f"redis://127.0.0.1:{plan.ports['redis']}?socket_timeout=10"  # the driver's default is 0.1 s
    return {
        "DEFAULT": {"auth_strategy": "keystone", "unreliable": True, "use_stderr": True},
        "cache": _cache(plan),
        "drivers": {"transport": "wsgi", "message_store": "redis", "management_store": "redis"},
        "drivers:management_store:redis": {"uri": redis},
        "drivers:message_store:redis": {"uri": redis},
        "keystone_authtoken": _authtoken(plan, "zaqar"),
        "signed_url": {"secret_key": plan.secret("zaqar")},
    }


def _write_swift(plan: Plan) -> None:
    folder = plan.folder / "swift"
    (folder / "device" / "d").mkdir(parents=True, exist_ok=True)
    (folder / "swift.conf").write_text(f"[swift-hash]\nswift_hash_path_suffix = {plan.secret('swift')}\n")
    for name in ("account", "container", "object"):
        _write(
            folder / f"{name}-server.conf",
            {
                "DEFAULT": {
                    **_swift_defaults(plan, f"swift-{name}"),
                    "devices": folder / "device",
                    "mount_check": "no",
                },
                "pipeline:main": {"pipeline": f"{name}-server"},
                f"app:{name}-server": {"use": f"egg:swift#{name}"},
            },
        )
    _write(
        folder / "proxy-server.conf",
        {
            "DEFAULT": {**_swift_defaults(plan, "swift"), "bind_ip": plan.address},
            "pipeline:main": {"pipeline": _SWIFT_PIPELINE},
            "app:proxy-server": {"use": "egg:swift#proxy", "account_autocreate": True},
            "filter:catch_errors": {"use": "egg:swift#catch_errors"},
            "filter:healthcheck": {"use": "egg:swift#healthcheck"},
            "filter:proxy-logging": {"use": "egg:swift#proxy_logging"},
            "filter:tempurl": {"use": "egg:swift#tempurl"},
            "filter:authtoken": {
                "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
                **_authtoken(plan, "swift"),
                "delay_auth_decision": True,
            },
            "filter:keystoneauth": {"use": "egg:swift#keystoneauth", "operator_roles": "admin, member"},
        },
    )


def _swift_defaults(plan: Plan, service: str) -> dict[str, object]:
    return {
        "bind_ip": LOOPBACK,
        "bind_port": plan.ports[service],
        "swift_dir": plan.folder / "swift",
        "user": "root",
        "workers": 0,
        "log_address": "/nowhere",  # no syslog: standard error
    }


def _authtoken(plan: Plan, user: str) -> dict[str, object]:
    """How a service checks the tokens that it is given."""
    return {
        "www_authenticate_uri": plan.url("keystone"),
        "auth_type": "password",
        "auth_url": f"{plan.url('keystone')}/v3",
        "username": user,
        "password": plan.password,
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "service_token_roles_required": True,
    }


def _cache(plan: Plan) -> dict[str, object]:
    """A cache in the process's memory: a quarter of the work, seen with 25 servers."""
    return {"enabled": True, "backend": "oslo_cache.dict"} if plan.cache else {"enabled": False}


def _database(plan: Plan, name: str) -> dict[str, object]:
    return {"connection": database(plan, name), "sqlite_synchronous": False, "max_overflow": 60}


def _write(file: Path, sections: Sections) -> None:
    text = "".join(
        f"[{section}]\n"
        + "".join(f"{name} = {str(value).replace('$', '$$')}\n" for name, value in values.items())
        + "\n"
        for section, values in sections.items()
    )
    _write_private(file, text)


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
