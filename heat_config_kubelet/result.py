"""Shapes a deployment's `Result`, and makes the body of its signal: declared outputs only, blanked, then trimmed.

Not here: what a pod's state means (`status.py`) and how a body is sent (`signals.py`).

What Heat takes (heat/engine/resources/openstack/heat/software_deployment.py, heat/rpc/api.py): the declared
outputs, `deploy_stdout`, `deploy_stderr` and `deploy_status_code`; the deployment is FAILED where the status code is
truthy and not "0", or where an output declared with `error_output: true` is present as a key, even empty.

Outputs that a `group: kubelet` deployment fills where its config declares them:

- `pods`: JSON text, a list with a map for each pod: namespace, name, uid, phase, reason, ready, restarts, pod_ip,
  host_ip, and containers (name, init, image, image_id, state, reason, ready, restarts, exit_code);
- `pod_ip`, `host_ip`: text, of the first pod that has one, in the config's order;
- any output with `error_output: true`: the reason, on failure only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .secrets import Blanker
from .values import KUBELET_GROUP, ContainerState, ContainerStatus, Deployment, Pod, PodKey, PodStatus, Result

STDOUT, STDERR, STATUS_CODE = "deploy_stdout", "deploy_stderr", "deploy_status_code"
HOOK_ANSWER_LIMIT = 950000
"""Bytes of JSON above which heat-agents' heat-config-notify trims, and fails on Python 3."""

_NEVER_SENT = frozenset({"unset_hook"})  # Heat takes it as an order to clear one of the resource's hooks
_ERROR_OUTPUT_CHARACTERS = 4096
_NOTICE_ROOM = 80
_UNSAFE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL and MySQL refuse them in the stack's status reason
_COLUMNS = ("POD", "READY", "STATE", "RESTARTS", "IP", "IMAGES")

PodLines = Sequence[tuple[Pod, PodStatus | None]]
"""Each pod that a deployment wants, and what the kubelet says of it; None where that is nothing."""


# --- results of pods


def success(deployment: Deployment, lines: PodLines, *, warnings: Sequence[str] = ()) -> Result:
    """All pods are ready: their table, and warnings in `deploy_stderr`."""
    return Result(0, _table(lines), _lines(warnings), _pod_outputs(deployment, lines))


def failure(
    deployment: Deployment, lines: PodLines, reasons: Sequence[str], *, logs: str = "", warnings: Sequence[str] = ()
) -> Result:
    """The deployment failed: `deploy_stderr` holds warnings, `logs`, then `reasons`, the decisive one last.

    Every declared error output carries the reasons, the decisive one first.
    """
    stderr = _lines([*warnings, logs.rstrip("\n"), *reasons])
    outputs = _pod_outputs(deployment, lines) | _error_outputs(deployment, reasons)
    return Result(1, _table(lines), stderr, outputs)


def removed(deployment: Deployment, gone: Sequence[PodKey], *, warnings: Sequence[str] = ()) -> Result:
    """The pods of a deleted or suspended deployment are gone: says which."""
    what = "removed " + ", ".join(str(key) for key in gone) if gone else "no pod was there"
    return Result(0, f"{deployment.action}: {what}", _lines(warnings))


def nothing_to_do(deployment: Deployment, why: str) -> Result:
    """The action needs nothing of this node: says why."""
    return Result(0, f"{deployment.action}: {why}", "")


def refused(deployment: Deployment, reasons: Sequence[str]) -> Result:
    """The deployment failed before any pod was written, or its hook could not be run."""
    return failure(deployment, (), reasons)


def _error_outputs(deployment: Deployment, reasons: Sequence[str]) -> dict[str, Any]:
    text = "; ".join([*reasons[-1:], *reasons[:-1]])
    return {output.name: text for output in deployment.outputs if output.error_output}


def _pod_outputs(deployment: Deployment, lines: PodLines) -> dict[str, Any]:
    declared = {output.name for output in deployment.outputs if not output.error_output}
    statuses = [status for _, status in lines if status]
    filled = {
        "pods": json.dumps([_pod_map(pod.key, status) for pod, status in lines]),
        "pod_ip": next((status.pod_ip for status in statuses if status.pod_ip), ""),
        "host_ip": next((status.host_ip for status in statuses if status.host_ip), ""),
    }
    return {name: value for name, value in filled.items() if name in declared}


def _pod_map(key: PodKey, status: PodStatus | None) -> dict[str, Any]:
    if status is None:
        return {"namespace": key.namespace, "name": key.name, "ready": False}
    return {
        "namespace": key.namespace,
        "name": key.name,
        "uid": status.uid,
        "phase": status.phase,
        "reason": status.reason,
        "ready": status.ready,
        "restarts": _restarts(status),
        "pod_ip": status.pod_ip,
        "host_ip": status.host_ip,
        "containers": [_container_map(container) for container in status.containers],
    }


def _container_map(container: ContainerStatus) -> dict[str, Any]:
    return {
        "name": container.name,
        "init": container.init,
        "image": container.image,
        "image_id": container.image_id,
        "state": container.state.value,
        "reason": container.reason,
        "ready": container.ready,
        "restarts": container.restart_count,
        "exit_code": container.exit_code,
    }


def _table(lines: PodLines) -> str:
    """The pods for a person, in columns as wide as they need; empty without pods."""
    if not lines:
        return ""
    rows = [_COLUMNS, *(_row(pod, status) for pod, status in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    padded = (map(str.ljust, row, widths) for row in rows)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _row(pod: Pod, status: PodStatus | None) -> tuple[str, ...]:
    wanted = pod.manifest["spec"].get("containers") or ()
    images = ",".join(str(container.get("image", "-")) for container in wanted) or "-"
    if status is None:
        return (str(pod.key), f"0/{len(wanted)}", "NotSeen", "0", "-", images)
    ready = sum(container.ready for container in status.containers if not container.init)
    return (
        str(pod.key),
        f"{ready}/{len(wanted)}",
        _state(status),
        str(_restarts(status)),
        status.pod_ip or "-",
        images,
    )


def _state(status: PodStatus) -> str:
    """The pod's own reason, else that of its first container in trouble, else its phase: as kubectl's STATUS."""
    if status.reason:
        return status.reason
    for container in status.containers:
        if container.state is ContainerState.WAITING and container.reason:
            return f"Init:{container.reason}" if container.init else container.reason
        if container.state is ContainerState.TERMINATED and container.exit_code:
            return container.reason or f"Exit:{container.exit_code}"
    return status.phase or "Unknown"


def _restarts(status: PodStatus) -> int:
    return sum(container.restart_count for container in status.containers)


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(text for text in texts if text)


# --- results of other groups' hooks


def from_hook(deployment: Deployment, returncode: int, stdout: bytes, stderr: bytes) -> Result:
    """Read what a hook of another group left, by the contract of heat-agents' 55-heat-config.

    A JSON object on stdout holds outputs, of which the declared ones are kept, and `deploy_*`. Where it has no
    `deploy_status_code` the process's own counts, so that a hook that dies after its answer is not taken for a
    success. Anything else on stdout is `deploy_stdout` as it is, with `deploy_stderr` and the return code; an empty
    stdout with return code 0 is a success with nothing to say. A negative code is the signal that ended the hook.
    """
    answer = _json_object(stdout)
    if answer is None:
        quiet = not stdout.strip() and not returncode
        return Result(returncode, _decoded(stdout), "" if quiet else _decoded(stderr))
    outputs = {output.name: answer[output.name] for output in deployment.outputs if output.name in answer}
    code = _code(answer[STATUS_CODE]) if STATUS_CODE in answer else returncode
    return Result(code, _as_text(answer.get(STDOUT)), _as_text(answer.get(STDERR)), outputs)


def _json_object(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(_decoded(data), parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _code(value: object) -> int:
    """Read a status code as Heat does: null, false, 0, "0" and "" are success, every other value is a failure."""
    try:
        number = int(str(value).strip()) if not isinstance(value, bool) else int(value)
    except ValueError:
        return 1 if value else 0
    return number


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# --- the body


def signal_body(result: Result, deployment: Deployment, blank: Blanker, limit: int) -> bytes:
    """Make the JSON body of a signal, of at most `limit` bytes (`signals.body_limit`), in ASCII.

    Only declared outputs and the three `deploy_*` go in. All is blanked first, then trimmed: the beginning of
    `deploy_stdout` and `deploy_stderr` is left out and said how much; other outputs only where that is not enough.
    Outputs of other groups' hooks are the template's own data, made to be read by other resources: there only the
    signal's credentials are blanked.
    """
    return _encoded(hook_answer(result, deployment, blank, limit))


def hook_answer(
    result: Result, deployment: Deployment, blank: Blanker, limit: int = HOOK_ANSWER_LIMIT
) -> dict[str, Any]:
    """Give what `heat-config-kubelet hook` prints for heat-agents' 55-heat-config: a signal's body as a map."""
    answer = _outputs(result, deployment, blank)
    stdout, stderr = _safe(blank.text(result.stdout)), _safe(blank.text(result.stderr))
    fixed = {STATUS_CODE: result.status_code, STDOUT: "", STDERR: ""}
    _trim_outputs(answer, limit - _size(fixed) - 4 * _NOTICE_ROOM)
    room = limit - _size(fixed | answer)
    texts = _shared(stdout, stderr, room)
    return {**answer, STDOUT: texts[0], STDERR: texts[1], STATUS_CODE: result.status_code}


def _outputs(result: Result, deployment: Deployment, blank: Blanker) -> dict[str, Any]:
    """The declared outputs that there are, blanked."""
    others = blank if deployment.group == KUBELET_GROUP else Blanker.of_credentials(deployment)
    answer: dict[str, Any] = {}
    for output in deployment.outputs:
        if output.name in result.outputs and output.name not in _NEVER_SENT:
            value = _safe_value((blank if output.error_output else others).value(result.outputs[output.name]))
            if output.error_output and isinstance(value, str):
                value = _head(value, _ERROR_OUTPUT_CHARACTERS)
            answer[output.name] = value
    return answer


def _trim_outputs(answer: dict[str, Any], room: int) -> None:
    """Cut the largest outputs, as JSON text where they are not text, until all of them fit into `room` bytes."""
    for name in sorted(answer, key=lambda name: _size(answer[name]), reverse=True):
        excess = _size(answer) - room
        if excess <= 0:
            return
        value = answer[name]
        text = value if isinstance(value, str) else json.dumps(value)
        answer[name] = _tail(text, max(_size(text) - 2 - excess, 0))


def _shared(stdout: str, stderr: str, room: int) -> tuple[str, str]:
    """Trim both to fit into `room` bytes together; each may use what the other leaves of its half."""
    sizes = _size(stdout) - 2, _size(stderr) - 2
    if sum(sizes) <= room:
        return stdout, stderr
    for_stderr = min(sizes[1], max(room // 2, room - sizes[0]))
    return _tail(stdout, room - for_stderr), _tail(stderr, for_stderr)


def _tail(text: str, room: int) -> str:
    """The end of a text in at most `room` bytes of JSON, with how much was cut in its first line."""
    if _size(text) - 2 <= room:
        return text
    kept = text[len(text) - max(room - _NOTICE_ROOM, 0) :] if room > _NOTICE_ROOM else ""
    low, high = 0, len(kept)
    while low < high:
        middle = (low + high) // 2
        if _size(kept[middle:]) - 2 <= room - _NOTICE_ROOM:
            high = middle
        else:
            low = middle + 1
    kept = kept[low:]
    cut = len(text[: len(text) - len(kept)].encode("utf-8", "replace"))
    notice = f"[{cut} bytes cut here]\n"
    return (notice + kept) if _size(notice) <= room else ""


def _head(text: str, characters: int) -> str:
    """The beginning of an error output: it ends up in the stack's one-line status reason."""
    if len(text) <= characters:
        return text
    return f"{text[:characters]}… [{len(text) - characters} characters cut here]"


def _safe(text: str) -> str:
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def _safe_value(value: Any) -> Any:
    if isinstance(value, str):
        return _safe(value)
    if isinstance(value, Mapping):
        return {_safe(str(name)): _safe_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_safe_value(item) for item in value]
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        return str(value)
    return value


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode("ascii")


def _size(value: Any) -> int:
    """Bytes of a value as JSON, in the form that heat-agents' heat-config-notify also sends."""
    return len(_encoded(value))
