"""What one container's status says is wrong with it, and says it to a person. Pure functions, no history.

Reasons and messages: kubernetes/kubernetes pkg/kubelet/images/types.go and image_manager.go,
pkg/kubelet/container/sync_result.go, pkg/kubelet/kuberuntime/kuberuntime_container.go; registries' messages as
containerd and CRI-O pass them on. Seen with kubelet 1.37.2 and containerd 2.4.2.
Not for: how often something has to happen before it is a failure (`status.py`).
"""

from __future__ import annotations

import re

from .values import ContainerState, ContainerStatus

HOPELESS_REASONS = frozenset({"ErrImageNeverPull", "InvalidImageName"})
"""Waiting reasons that the same manifest on the same node can never get out of."""
PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed", "ImageInspectError"}
)
"""Waiting reasons of a container whose image is not there."""
CREATION_REASONS = frozenset(
    {"CreateContainerError", "CreateContainerConfigError", "PreCreateHookError", "PreStartHookError"}
)
"""Start errors that leave no container behind and so are not in its restartCount: they are tried every 10 to 15 s."""
_SILENT_ENDS = frozenset({"StartError", "ContainerCannotRun", "ContainerStatusUnknown"})
"""Ends of containers that never ran, or whose log is gone."""
_LOST_CODE = 255

MESSAGE_CHARACTERS = 400

_REFUSED = re.compile(
    r"not found|manifest unknown|name unknown|does not exist|denied|unauthorized|authentication required"
    r"|forbidden|insufficient_scope|authorization failed|no basic auth credentials|no match for platform"
    r"|signature validation failed",
    re.IGNORECASE,
)
_UNREACHABLE = re.compile(
    r"failed to do request|dial tcp|i/o timeout|connection re|no such host|TLS handshake|x509:|too ?many ?requests"
    r"|deadline exceeded|\b5\d\d [A-Z]|EOF|no space left|executable file not found",
    re.IGNORECASE,
)
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(?:: \w+)?(?:: )?')
_NOISE = re.compile(
    r"^rpc error: code = \w+ desc = |^failed to pull and unpack image \"[^\"]*\": |^failed to resolve (?:image|"
    r"reference \"[^\"]*\"): |^failed to create containerd (?:task|container): |^failed to create shim task: "
    r"|^OCI runtime create failed: |^runc create failed: |^unable to start container process: "
)


def image_there(status: ContainerStatus) -> bool:
    """Whether this container's image is known to be on the node: a container was made of it, or would be."""
    if status.reason in PULL_REASONS | HOPELESS_REASONS:
        return False
    return bool(
        status.image_id
        or status.container_id
        or status.state in (ContainerState.RUNNING, ContainerState.TERMINATED)
        or status.reason in CREATION_REASONS
    )


def pull_message(status: ContainerStatus) -> str:
    """Give the registry's or runtime's own words of a failed pull; "" where a back-off does not repeat them."""
    return shortened(_BACK_OFF.sub("", status.message))


def pull_refused(message: str) -> bool:
    """Whether a pull's message is the registry's word that there is no such image or that we may not have it.

    Names in it are not read: an image may well be called "denied".
    """
    words = re.sub(r'"[^"]*"|https?://\S+|\S+/\S+:\S*', " ", message)
    return bool(_REFUSED.search(words)) and not _UNREACHABLE.search(words)


def ended(status: ContainerStatus, policy: str) -> bool:
    """Whether the container is down now after having failed; a good end under OnFailure or Never is none.

    `policy` is the container's own restart policy. Under Always even exit code 0 is a failure.
    """
    code = status.exit_code if status.state is ContainerState.TERMINATED else status.last_exit_code
    down = status.state in (ContainerState.TERMINATED, ContainerState.WAITING)
    return down and code is not None and (code != 0 or policy == "Always")


def failures(status: ContainerStatus, policy: str) -> int:
    """Give how many times the container has ended in failure, this one included; 0 while it is not down.

    A start error (RunContainerError, exit code 128) counts as one: the kubelet counts it in restartCount too.
    """
    return status.restart_count + 1 if ended(status, policy) else 0


def failed_before(status: ContainerStatus) -> bool:
    """Whether a container that runs has failed before, and so may do it again.

    One that was lost with its node or runtime has not: the runtime says of it no more than "Unknown", exit code 255
    (containerd: internal/cri/server/restart.go).
    """
    lost = status.last_reason == "Unknown" and status.last_exit_code == _LOST_CODE
    again = status.state is ContainerState.RUNNING and status.restart_count > 0
    return again and status.last_exit_code is not None and not lost


def has_log(status: ContainerStatus) -> bool:
    """Whether the container ran, so that its last lines may explain what happened to it."""
    if status.state is ContainerState.RUNNING:
        return True
    reason = status.reason if status.state is ContainerState.TERMINATED else status.last_reason
    code = status.exit_code if status.state is ContainerState.TERMINATED else status.last_exit_code
    return code is not None and reason not in _SILENT_ENDS


def said(status: ContainerStatus, times: int = 1) -> str:
    """Give, for a person, what a container that is down says: waiting reason, exit code and messages, shortened.

    `times` is how often it has happened.
    """
    often = f", {times} times" if times > 1 else ""
    if status.state is ContainerState.TERMINATED:
        return _ended(status.exit_code, status.reason, status.message, often)
    if status.last_exit_code is not None and status.reason in ("CrashLoopBackOff", "", "ContainerCreating"):
        return _ended(status.last_exit_code, status.last_reason, status.last_message, often)
    code = "" if status.last_exit_code is None else f" (exit code {status.last_exit_code})"
    return _with(f"{status.reason or 'no state yet'}{code}{often}", shortened(status.message))


def _ended(code: int | None, reason: str, message: str, often: str) -> str:
    more = f" ({reason})" if reason not in ("", "Error", "Completed") else ""
    signal = f" (signal {code - 128})" if code is not None and 128 < code < 160 and not more else ""
    return _with(f"exited with code {code}{more}{signal}{often}", shortened(message))


def _with(text: str, message: str) -> str:
    return f"{text}: {message}" if message else text


def shortened(message: str) -> str:
    """Give a message on one line, without the programs' nested prefixes, cut in its middle where it is long."""
    text = " ".join(message.split())
    while (shorter := _NOISE.sub("", text)) != text:
        text = shorter
    if len(text) <= MESSAGE_CHARACTERS:
        return text
    return f"{text[: MESSAGE_CHARACTERS // 2]} … {text[-MESSAGE_CHARACTERS // 2 :]}"
