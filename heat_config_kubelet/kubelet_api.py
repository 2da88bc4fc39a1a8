"""Asks the node's kubelet over its own API: the pods' status, containers' logs, and whether it is healthy.

Paths and parameters: kubernetes/kubernetes pkg/kubelet/server/server.go (`/pods`, `/containerLogs`);
the fields of a pod: core/v1 PodStatus and ContainerStatus (staging/src/k8s.io/api/core/v1/types.go).
Not for: what the answers mean (`status.py`), the kubelet's own log (`kubelet_log.py`).
"""

from __future__ import annotations

import datetime
import json
import re
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .errors import KubeletError, KubeletRefusedError
from .kubelet_config import KubeletAccess
from .values import ContainerState, ContainerStatus, PodStatus

if TYPE_CHECKING:
    import requests

LOG_BYTES = 65536
"""No more than so much of a container's log is kept, whatever the number of lines: its end."""

_SANDBOX_CONDITIONS = ("PodReadyToStartContainers", "PodHasNetwork")
"""The condition's name from 1.28 on, and the one of 1.25 to 1.27."""
_EMPTY: Mapping[str, Any] = {}
_NO_LOG = "unable to retrieve container logs for "
_Take = Callable[["requests.Response"], bytes]
_Timeout = tuple[float, float | None] | None
_WRONG_NAME = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH (openssl/x509_vfy.h)."""


class KubeletApi:
    """The kubelet's API on this node, over one kept-alive connection with a client certificate.

    `timeout` is seconds for connecting and for each read. Without `session` one is made at the first call;
    `requests` is imported only then. The environment's proxies and REQUESTS_CA_BUNDLE have no say.
    The kubelet's certificate must be for its address or for `node_name`: one that it has made itself
    (kubelet.crt, see InitializeTLS in cmd/kubelet/app/server.go) is for the node's name alone.
    `node_address` is the address of the node for those pods whose status has none (see `parse_pods`).
    """

    def __init__(
        self,
        access: KubeletAccess,
        *,
        session: requests.Session | None = None,
        timeout: float = 5.0,
        node_name: str = "",
        node_address: str = "",
    ) -> None:
        self.node_name = node_name
        self._node_address = node_address
        self.access = access
        self.timeout = timeout
        self._session = session
        self._by_name = False
        self._base = f"https://{_in_url(access.address)}:{access.port}"

    def pods(self) -> tuple[PodStatus, ...]:
        """Give the status of every pod that the kubelet knows from its sources.

        Raises KubeletError where it does not answer, KubeletRefusedError where it refuses us.
        """
        content = self._get("/pods")
        try:
            return parse_pods(content, self._node_address)
        except (ValueError, AttributeError, TypeError) as error:
            raise KubeletError(f"the kubelet's {self._base}/pods is no list of pods: {error}") from error

    def container_log(self, namespace: str, pod_name: str, container: str, *, tail: int, previous: bool = False) -> str:
        """Give the last `tail` lines that a container wrote, LOG_BYTES at most; also of one that has ended.

        `pod_name` is the kubelet's name for it, with the node's at its end. `previous` asks for the run before.
        Raises KubeletError where there is none (its message is the kubelet's), or as `pods` does.
        """
        query = {"tailLines": str(tail)} | ({"previous": "true"} if previous else {})
        path = _log_path(namespace, pod_name, container)
        return self._get(path, query, lambda answer: _end(answer, LOG_BYTES)).decode("utf-8", "replace")

    def stream_log(
        self,
        namespace: str,
        pod_name: str,
        container: str,
        take: Callable[[bytes], None],
        *,
        tail: int | None = None,
        previous: bool = False,
        follow: bool = False,
    ) -> None:
        """Give what a container wrote to `take`, piece by piece; with `follow` until it ends.

        The last `tail` lines, all without it. Raises as `container_log` does, also where the log is gone.
        """
        query = {"tailLines": str(tail)} if tail is not None else {}
        query |= {name: "true" for name, wanted in (("previous", previous), ("follow", follow)) if wanted}

        def pass_on(answer: requests.Response) -> bytes:
            begun = False
            for piece in answer.iter_content(None):
                if not begun and piece.decode("utf-8", "replace").startswith(_NO_LOG):
                    return bytes(piece)
                begun = True
                take(piece)
            return b""

        timeout = (self.timeout, None) if follow else None
        said = self._get(_log_path(namespace, pod_name, container), query, pass_on, timeout)
        if said:
            raise KubeletError(f"the kubelet says: {said[:300].decode('utf-8', 'replace').strip()}")

    def last_words(self, namespace: str, pod_name: str, container: str, *, tail: int) -> str:
        """Give the last `tail` lines of a container that fails: of the run before where this one is silent.

        Raises as `container_log` does.
        """
        text = _lines_of(self.container_log(namespace, pod_name, container, tail=tail))
        if text.strip():
            return text
        try:
            return _lines_of(self.container_log(namespace, pod_name, container, tail=tail, previous=True))
        except KubeletRefusedError:
            raise
        except KubeletError:
            return text

    def healthy(self) -> bool:
        """Whether the kubelet runs and says "ok": at 127.0.0.1:`healthz_port`, else at its API.

        A kubelet that refuses us runs all the same: that is True too.
        """
        import requests

        try:
            if self.access.healthz_port:
                url = f"http://127.0.0.1:{self.access.healthz_port}/healthz"
                with self._open().get(url, timeout=self.timeout, allow_redirects=False) as answer:
                    return bool(answer.status_code == 200)
            self._get("/healthz")
        except KubeletRefusedError:
            return True
        except (KubeletError, requests.RequestException):
            return False
        return True

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        if self._session is not None:
            self._session.close()

    def _get(
        self, path: str, query: Mapping[str, str] = _EMPTY, take: _Take | None = None, timeout: _Timeout = None
    ) -> bytes:
        """Give the body of a 200 answer, or what `take` makes of it as it comes; or raise.

        `timeout` is seconds for connecting and for each read, None the usual one.
        """
        import requests

        try:
            status, body = self._asked(path, query, take, timeout)
        except requests.exceptions.SSLError as error:
            reason = _innermost(error)
            if getattr(reason, "verify_code", 0) in _WRONG_NAME:
                self._content_with_name(reason)
                return self._get(path, query, take, timeout)
            if isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                raise self._silent(reason) from error
            raise self._untrusted(reason) from error
        except requests.RequestException as error:
            raise self._silent(_innermost(error)) from error
        except OSError as error:
            raise KubeletRefusedError(
                f"the certificates for the kubelet's API cannot be read: {error}",
                hint="[kubelet] ca, client_cert and client_key",
            ) from error
        return self._checked(status, path, body)

    def _content_with_name(self, reason: BaseException) -> None:
        """From now on be content with a certificate for the node's name; raise where we are already."""
        from requests.adapters import HTTPAdapter

        if not self.node_name or self._by_name:
            raise self._untrusted(reason)
        self._by_name = True
        adapter = HTTPAdapter()
        adapter.init_poolmanager(1, 1, assert_hostname=self.node_name)
        self._open().mount(self._base, adapter)

    def _asked(self, path: str, query: Mapping[str, str], take: _Take | None, timeout: _Timeout) -> tuple[int, bytes]:
        ca, client = self._credentials()
        with self._open().get(
            self._base + path,
            params=dict(query),
            verify=ca,
            cert=client,
            timeout=timeout or self.timeout,
            allow_redirects=False,
            stream=take is not None,
        ) as answer:
            return answer.status_code, take(answer) if take and answer.status_code == 200 else answer.content

    def _silent(self, reason: BaseException) -> KubeletError:
        return KubeletError(
            f"the kubelet does not answer at {self._base}: {_plain(reason)}",
            hint="does it run, and is [kubelet] port the port of its configuration?",
        )

    def _untrusted(self, reason: BaseException) -> KubeletRefusedError:
        return KubeletRefusedError(
            f"no trusted connection to the kubelet at {self._base}: {_plain(reason)}",
            hint="[kubelet] ca must hold the certificate that signed the kubelet's own (its tlsCertFile), "
            "client_cert and client_key a pair that its clientCAFile has signed",
        )

    def _checked(self, status: int, path: str, body: bytes) -> bytes:
        if status == 200:
            return body
        said = body[:300].decode("utf-8", "replace").strip()
        if status == 401:
            raise KubeletRefusedError(
                f"the kubelet at {self._base} does not know our certificate (401 {said})",
                hint="its authentication.x509.clientCAFile must have signed [kubelet] client_cert",
            )
        if status == 403:
            raise KubeletRefusedError(
                f"the kubelet at {self._base} forbids us {path} (403 {said})",
                hint="its configuration needs authorization.mode AlwaysAllow, "
                "or an API server that allows [kubelet] client_cert nodes/proxy",
            )
        raise KubeletError(f"the kubelet answers {status} to {path}: {said}")

    def _credentials(self) -> tuple[str, str | tuple[str, str] | None]:
        access = self.access
        if access.ca is None:
            raise KubeletRefusedError(
                f"nothing says which certificate to expect of the kubelet at {self._base}",
                hint="set [kubelet] ca",
            )
        if access.client_cert is None:
            return str(access.ca), None
        if access.client_key is None:
            return str(access.ca), str(access.client_cert)
        return str(access.ca), (str(access.client_cert), str(access.client_key))

    def _open(self) -> requests.Session:
        if self._session is None:
            import requests

            self._session = requests.Session()
        self._session.trust_env = False
        return self._session


def _lines_of(text: str) -> str:
    """What the container wrote; of one whose log is gone the kubelet answers 200 and says so in its place.

    kubernetes/kubernetes pkg/kubelet/kuberuntime/kuberuntime_container.go and kubelet.go, GetKubeletContainerLogs.
    """
    return "" if text.startswith(_NO_LOG) else text


def parse_pods(content: bytes, node_address: str = "") -> tuple[PodStatus, ...]:
    """Read a v1 PodList (JSON) as `/pods` gives it; fields that are missing read as empty.

    A kubelet without an API server does not know its node's address: `node_address` is the hostIP then, and the
    podIP of pods in the host's network. Raises ValueError, AttributeError or TypeError where it is no such list.
    """
    return tuple(_pod(item, node_address) for item in json.loads(content).get("items") or ())


def _pod(item: Mapping[str, Any], node_address: str) -> PodStatus:
    meta = item.get("metadata") or _EMPTY
    spec = item.get("spec") or _EMPTY
    status = item.get("status") or _EMPTY
    conditions = {each.get("type"): each for each in status.get("conditions") or ()}
    sandbox = next((conditions[name] for name in _SANDBOX_CONDITIONS if name in conditions), None)
    ready = conditions.get("Ready") or _EMPTY
    inits = _in_order(status.get("initContainerStatuses"), spec.get("initContainers"))
    mains = _in_order(status.get("containerStatuses"), spec.get("containers"))
    host_ip = status.get("hostIP") or node_address
    return PodStatus(
        uid=meta.get("uid") or "",
        namespace=meta.get("namespace") or "",
        name=meta.get("name") or "",
        annotations=meta.get("annotations") or _EMPTY,
        phase=status.get("phase") or "",
        reason=status.get("reason") or "",
        message=status.get("message") or "",
        ready=_is_true(ready),
        sandbox_ready=_is_true(sandbox) if sandbox else None,
        pod_ip=status.get("podIP") or (host_ip if spec.get("hostNetwork") else ""),
        host_ip=host_ip,
        restart_policy=spec.get("restartPolicy") or "Always",
        containers=(*(_container(each, True) for each in inits), *(_container(each, False) for each in mains)),
        start_time=status.get("startTime") or "",
        sandbox_at=_time(sandbox.get("lastTransitionTime")) if sandbox else None,
        ready_at=_time(ready.get("lastTransitionTime")),
    )


def _is_true(condition: Mapping[str, Any]) -> bool:
    return bool(condition.get("status") == "True")


def _time(text: str | None) -> float | None:
    """Read a metav1.Time: RFC 3339, whole seconds, null where there is none."""
    try:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None
    except ValueError:
        return None


def _in_order(statuses: list[dict[str, Any]] | None, specs: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Put statuses into the manifest's order: the kubelet sorts those of containers by name."""
    place = {spec.get("name"): index for index, spec in enumerate(specs or ())}
    return sorted(statuses or (), key=lambda status: place.get(status.get("name"), len(place)))


def _container(item: Mapping[str, Any], init: bool) -> ContainerStatus:
    state, now = _state(item.get("state"))
    _, last = _state(item.get("lastState"))
    return ContainerStatus(
        name=item.get("name") or "",
        init=init,
        image=item.get("image") or "",
        image_id=item.get("imageID") or "",
        container_id=item.get("containerID") or "",
        ready=bool(item.get("ready")),
        restart_count=item.get("restartCount") or 0,
        state=state,
        reason=now.get("reason") or "",
        message=now.get("message") or "",
        exit_code=now.get("exitCode"),
        last_reason=last.get("reason") or "",
        last_message=last.get("message") or "",
        last_exit_code=last.get("exitCode"),
        started=item.get("started"),
        started_at=_time(now.get("startedAt") or last.get("startedAt")),
        ended_at=_time(now.get("finishedAt") or last.get("finishedAt")),
    )


def _state(item: Mapping[str, Any] | None) -> tuple[ContainerState, Mapping[str, Any]]:
    for state in (ContainerState.RUNNING, ContainerState.TERMINATED, ContainerState.WAITING):
        if item and state.value in item:
            return state, item[state.value] or _EMPTY
    return ContainerState.UNKNOWN, _EMPTY


def _end(answer: requests.Response, keep: int) -> bytes:
    """Read a body to its end, holding no more than its last `keep` bytes and one piece."""
    kept = b""
    for piece in answer.iter_content(16384):
        kept = (kept + piece)[-keep:]
    return kept


def _log_path(namespace: str, pod_name: str, container: str) -> str:
    return f"/containerLogs/{quote(namespace, safe='')}/{quote(pod_name, safe='')}/{quote(container, safe='')}"


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _innermost(error: BaseException) -> BaseException:
    """Give the error at the bottom of those that the HTTP library wraps into one another."""
    inner = getattr(error, "reason", None)
    if not isinstance(inner, BaseException):
        inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
    return error if inner is None else _innermost(inner)


def _plain(error: BaseException) -> str:
    """Give an error's text without the HTTP library's own objects in front, and without OpenSSL's line number."""
    text = re.sub(r"^.*\[Errno -?\d+\] |^.*Connection(?:Pool)?\([^)]*\): ", "", str(error))
    return re.sub(r"^\[\w+: \w+\] | \(_ssl\.c:\d+\)$", "", text)
