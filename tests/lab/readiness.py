"""Whether a pod is ready, of what the kubelet's `/pods` gives (core/v1 Pod)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_ready(pod: Mapping[str, Any] | None) -> bool:
    """By its condition, or by its containers: a kubelet may leave a static pod's conditions behind for a while."""
    status: Mapping[str, Any] = (pod or {}).get("status") or {}
    told = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or [])
    containers = status.get("containerStatuses") or []
    return told or (bool(containers) and all(each["ready"] and "running" in each["state"] for each in containers))
