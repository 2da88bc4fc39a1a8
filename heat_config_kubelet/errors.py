"""The errors that a person or a stack is shown: a message and what to do about it.

Every fault that is not a bug of ours is one of these; `cli` prints it in one line,
without a traceback, and exits with its `status`.
"""

from __future__ import annotations

UNWRITABLE = "there is no room, or it may not be written: heat-config-kubelet doctor disk read-only"
"""The hint of an error of the system's that comes with a store which was well before."""


class AgentError(Exception):
    """A fault outside the agent.

    `message` says what is wrong and where (file, field); `hint` says how to mend it,
    empty where the message says it already. `status` is the exit status of a command.
    """

    status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SettingsError(AgentError):
    """The node's settings file cannot be read or holds a bad value."""

    status = 2


class MetadataError(AgentError):
    """A file of os-collect-config or a deployment in it is not what Heat sends."""


class PodError(AgentError):
    """A deployment's config cannot be run as static pods; `faults` names each cause on its own."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class ManifestError(AgentError):
    """The manifest directory cannot be read or written."""


class KubeletError(AgentError):
    """The kubelet does not run, does not answer, or is set up in a way that hides the pods' status."""


class KubeletRefusedError(KubeletError):
    """The kubelet's API answers and refuses us (401, 403, or TLS): a setting has to change, waiting is no use."""


class StoreError(AgentError):
    """The store cannot be opened, is damaged, or was written by a newer release."""


class DamagedStoreError(StoreError):
    """The store's file is no SQLite database any more."""


class ReplacedStoreError(StoreError):
    """Another process has found the store damaged and begun a new one: everything is to be read anew."""


class ModeError(AgentError):
    """Both ways in, `run` and `hook`, are used on one node."""
