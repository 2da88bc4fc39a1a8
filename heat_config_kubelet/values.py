"""The small frozen values that pass from one step to the next.

metadata → `Source` → `Deployment` → `Pod` → (manifest directory) → `PodStatus` → `Verdict` → `Result` → signal.
No behaviour beyond reading their own fields; no imports of other steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

REMOVING_ACTIONS = frozenset({"DELETE", "SUSPEND"})
"""Actions after which the pods must not run (heat/engine/resources/openstack/heat/software_deployment.py)."""

KUBELET_GROUP = "kubelet"


class Identity(NamedTuple):
    """What stays the same over a deployment's life, all its actions included.

    Not unique while Heat replaces a FAILED deployment: then two entries have it.
    """

    stack_id: str
    """`deploy_stack_id`: "name/uuid" of the stack; empty for metadata that is not Heat's."""
    resource_name: str
    """`deploy_resource_name`, or the deployment's name for metadata that is not Heat's."""

    def __str__(self) -> str:
        stack = self.stack_id.split("/")[0]
        return f"{stack}/{self.resource_name}" if stack else self.resource_name


class PodKey(NamedTuple):
    """The name of a pod as its manifest gives it; the kubelet adds "-<node name>"."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Source:
    """What one of os-collect-config's sources answered in this pass."""

    name: str
    """The name of its cache file without ".json": cfn, heat, heat_local, request, zaqar, or a local file's."""
    deployments: tuple[Mapping[str, Any], ...] | None
    """The entries as received; None where it says nothing about deployments: then nothing is removed."""
    problem: str = ""
    """Why it says nothing, for the log; empty where that is ordinary."""


@dataclass(frozen=True)
class Output:
    """An output that the config declares."""

    name: str
    error_output: bool = False


@dataclass(frozen=True)
class Deployment:
    """One entry of the metadata's `deployments`: one action on one identity.

    `id` is the id of the derived config, new for every action. `config` is a map, a text, or None.
    For the group `component` the group and config here are already those of the action's tool;
    `tool_missing` says that it has none for this action.
    """

    id: str
    name: str
    group: str
    identity: Identity
    action: str
    creation_time: str
    config: Any
    inputs: Mapping[str, Any]
    input_names: tuple[str, ...]
    outputs: tuple[Output, ...]
    options: Mapping[str, Any]
    raw: Mapping[str, Any] = field(repr=False)
    """The entry as received, for hooks of other groups; holds secrets."""
    component: bool = False
    tool_missing: bool = False

    @property
    def removes(self) -> bool:
        """Whether the pods must not run after this action."""
        return self.action in REMOVING_ACTIONS

    @property
    def transport(self) -> str:
        """`deploy_signal_transport`; NO_SIGNAL where there is none."""
        return str(self.inputs.get("deploy_signal_transport") or "NO_SIGNAL")


@dataclass(frozen=True)
class Pod:
    """One v1 Pod that a deployment wants, checked and ready to be written."""

    key: PodKey
    manifest: Mapping[str, Any]
    """The whole v1 Pod; `metadata.namespace` and `metadata.name` set; without the agent's own marks."""
    content_hash: str
    """SHA-256 (hex) of the document as the config gives it: what is compared to know that nothing changed."""
    warnings: tuple[str, ...] = ()

    @property
    def restart_policy(self) -> str:
        """`spec.restartPolicy`, by default Always."""
        return str(self.manifest["spec"].get("restartPolicy", "Always"))

    @property
    def grace_seconds(self) -> int:
        """`spec.terminationGracePeriodSeconds`, by default 30."""
        return int(self.manifest["spec"].get("terminationGracePeriodSeconds", 30))


class ContainerState(Enum):
    """The three states of a container in a v1 ContainerStatus; UNKNOWN where none is given yet."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ContainerStatus:
    """A container's status as the kubelet's `/pods` gives it (v1 ContainerStatus)."""

    name: str
    init: bool
    image: str
    image_id: str
    container_id: str
    ready: bool
    restart_count: int
    state: ContainerState
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    last_reason: str = ""
    last_message: str = ""
    last_exit_code: int | None = None
    started: bool | None = None
    started_at: float | None = None
    """When the run began that is under way or, where none is, the last one: seconds since the epoch, whole ones."""
    ended_at: float | None = None
    """When the last run that is over ended."""


@dataclass(frozen=True)
class PodStatus:
    """A pod's status as the kubelet's `/pods` gives it."""

    uid: str
    namespace: str
    name: str
    """With the node's name at its end, as the kubelet calls it."""
    annotations: Mapping[str, str]
    phase: str
    reason: str
    message: str
    ready: bool
    sandbox_ready: bool | None
    """Condition PodReadyToStartContainers: volumes mounted, sandbox and network there; None where not given."""
    pod_ip: str
    host_ip: str
    restart_policy: str
    containers: tuple[ContainerStatus, ...]
    """Init containers first, in the manifest's order."""
    sandbox_at: float | None = None
    """When `sandbox_ready` became what it is: seconds since the epoch, whole ones."""
    ready_at: float | None = None
    """When `ready` became what it is."""
    start_time: str = ""
    """When the kubelet took it up, as RFC 3339 in UTC; empty where not given."""


class Outcome(Enum):
    """What a pod's or a deployment's wait has come to."""

    WAITING = "waiting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """What is to be said about one pod now."""

    outcome: Outcome
    reason: str = ""
    """For a person: while WAITING what it waits for, when FAILED why."""
    log_of: str = ""
    """The container whose last lines explain the failure; empty where none does."""
    probe_of: str = ""
    """The container whose probes may explain it; empty where none does."""


@dataclass(frozen=True)
class Result:
    """What a deployment has come to, before it is shaped for a transport."""

    status_code: int
    stdout: str
    stderr: str
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """Declared outputs by name; an `error_output` is here only on failure."""
