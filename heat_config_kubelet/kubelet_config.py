"""A standalone kubelet's configuration: writes our own, and reads whichever is in force on the node.

Field names, defaults and meanings: kubelet.config.k8s.io/v1beta1 KubeletConfiguration
(kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1), as of kubelet 1.35 to 1.37.
Our own file is JSON, which the kubelet takes as the YAML that it is, so that reading it needs no YAML library.
Not for: starting or asking the kubelet (`kubelet_service.py`, `kubelet_api.py`), certificates (`pki.py`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import pki
from .errors import KubeletError, SettingsError
from .settings import Settings

API_VERSION = "kubelet.config.k8s.io/v1beta1"
KIND = "KubeletConfiguration"
DEFAULT_PORT = 10250
DEFAULT_HEALTHZ_PORT = 10248
DEFAULT_MANIFEST_DIR = Path("/etc/kubernetes/manifests")
DEFAULT_POD_LOGS_DIR = Path("/var/log/pods")
"""The default of podLogsDir (pkg/kubelet/apis/config/v1beta1/defaults.go)."""

WELL_KNOWN_FILES = (
    Path("/var/lib/kubelet/config.yaml"),  # kubeadm
    Path("/etc/kubernetes/kubelet/config.json"),
    Path("/etc/kubernetes/kubelet/kubelet-config.json"),
    Path("/etc/kubernetes/kubelet-config.yaml"),
    Path("/etc/kubernetes/kubelet.yaml"),
    Path("/etc/kubernetes/kubelet.conf"),  # of kubeadm this is a kubeconfig, and is passed over
)
KUBEADM_CLIENT = (
    Path("/etc/kubernetes/pki/apiserver-kubelet-client.crt"),
    Path("/etc/kubernetes/pki/apiserver-kubelet-client.key"),
)
"""What kubeadm gives its API server to call kubelets with; only on control plane nodes."""


@dataclass(frozen=True)
class KubeletAccess:
    """How to reach the node's kubelet and where it reads static pods."""

    manifest_dir: Path
    port: int
    healthz_port: int
    """0 where it answers none."""
    ca: Path | None
    """Whom to trust for its certificate; None where nothing says so: then the kubelet cannot be asked safely."""
    client_cert: Path | None
    client_key: Path | None
    """The same file as `client_cert` where that holds both."""
    cgroup_root: str
    cgroup_driver: str
    """What the file says. From 1.34 on a kubelet asks the runtime instead where that can tell (containerd 2)."""
    config_file: Path | None
    """None where only the settings describe the kubelet."""
    address: str = "127.0.0.1"
    """Where its API listens, from this node."""
    pod_logs_dir: Path = DEFAULT_POD_LOGS_DIR
    """Where it has the runtime write containers' logs."""
    runtime_endpoint: str = ""
    """Where the file says that the runtime listens; empty where it leaves that to the command line."""


@dataclass(frozen=True)
class Machine:
    """Where facts about the node are looked up; another `root` is for tests."""

    root: Path = Path("/")

    def at(self, path: str) -> Path:
        """Give the absolute `path` below the root."""
        return self.root / path.lstrip("/")

    @property
    def systemd(self) -> bool:
        """Whether systemd runs the node (sd_booted(3))."""
        return self.at("/run/systemd/system").is_dir()

    @property
    def cgroup_v1(self) -> bool:
        """Whether /sys/fs/cgroup is not the unified hierarchy alone, as `failCgroupV1` means it."""
        base = self.at("/sys/fs/cgroup")
        return base.is_dir() and not (base / "cgroup.controllers").exists()

    def runtime_endpoint(self) -> str:
        """Give the CRI socket that is there, else that of the runtime which is installed, else containerd's."""
        sockets = {"containerd": "/run/containerd/containerd.sock", "crio": "/run/crio/crio.sock"}
        for path in sockets.values():
            if self.at(path).exists():
                return f"unix://{path}"
        for program, path in sockets.items():
            if any(self.at(f"{folder}/{program}").exists() for folder in ("/usr/local/bin", "/usr/bin")):
                return f"unix://{path}"
        return f"unix://{sockets['containerd']}"

    def cgroup_driver(self, endpoint: str) -> str:
        """Find out the runtime's cgroup driver, which the kubelet's has to match; "cgroupfs" without systemd."""
        if not self.systemd:
            return "cgroupfs"
        if "crio" in endpoint:
            told = self._last(r'^\s*cgroup_manager\s*=\s*"(\w+)"', "/etc/crio/crio.conf", "/etc/crio/crio.conf.d")
            return told or "systemd"
        told = self._last(
            r"^\s*SystemdCgroup\s*=\s*(true|false)", "/etc/containerd/config.toml", "/etc/containerd/conf.d"
        )
        return "systemd" if told == "true" else "cgroupfs"

    def _last(self, pattern: str, file: str, folder: str) -> str:
        found = ""
        for path in [self.at(file), *sorted(self.at(folder).glob("*"))]:
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            for match in re.finditer(pattern, text, re.MULTILINE):
                found = match.group(1)
        return found

    def resolv_conf(self) -> str:
        """Give the file with name servers that pods can reach: systemd-resolved's stub is not one of them."""
        stub = self.at("/etc/resolv.conf").resolve().name == "stub-resolv.conf"
        return "/run/systemd/resolve/resolv.conf" if stub else "/etc/resolv.conf"


@dataclass(frozen=True)
class Written:
    """What `write_kubelet_config` has done."""

    file: Path
    changed: bool
    """Whether the file is new or other than before: then the kubelet has to be restarted."""
    certificates_renewed: pki.Renewal
    runtime_endpoint: str
    cgroup_driver: str
    manifest_dir: Path


def own_file(settings: Settings) -> Path:
    """Where `heat-config-kubelet kubelet-config` writes, if nothing else is asked for."""
    return settings.state_dir / "kubelet.json"


def own_pki(settings: Settings) -> pki.Pki:
    """The certificates that go with our own file."""
    return pki.Pki(settings.state_dir / "pki")


def write_kubelet_config(
    settings: Settings,
    *,
    output: Path | None = None,
    manifest_dir: Path | None = None,
    port: int | None = None,
    healthz_port: int = DEFAULT_HEALTHZ_PORT,
    runtime_endpoint: str | None = None,
    cgroup_driver: str | None = None,
    extra: Mapping[str, Any] | None = None,
    machine: Machine | None = None,
) -> Written:
    """Write the configuration of a standalone kubelet, and its certificates where they are missing or old.

    What is not given is taken from the settings, else found out about the node. `extra` are further fields of
    KubeletConfiguration, which win. Nothing is touched where all is as it should be, so it can run before every
    start of the kubelet. Raises KubeletError where a file cannot be written or openssl is missing.
    """
    node = machine or Machine()
    endpoint = runtime_endpoint or node.runtime_endpoint()
    driver = cgroup_driver or node.cgroup_driver(endpoint)
    manifests = manifest_dir or settings.manifest_dir or DEFAULT_MANIFEST_DIR
    content = {
        **_standalone(own_pki(settings)),
        **_node(node),
        "port": port or settings.kubelet_port or DEFAULT_PORT,
        "healthzPort": healthz_port,
        "staticPodPath": str(manifests),
        "containerRuntimeEndpoint": endpoint,
        "cgroupDriver": driver,
        **({"cgroupRoot": settings.cgroup_root} if settings.cgroup_root else {}),
        **(extra or {}),
    }
    file = output or own_file(settings)
    try:
        # The kubelet watches only a directory that is there when it starts.
        manifests.mkdir(parents=True, exist_ok=True, mode=0o700)
        changed = _write(file, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise KubeletError(f"{file}: the kubelet's configuration cannot be written: {error}") from error
    renewed = pki.renew_if_old(own_pki(settings).directory)
    return Written(file, changed, renewed, endpoint, driver, manifests)


def keep_certificates(settings: Settings) -> pki.Renewal:
    """Renew the certificates of a kubelet that is configured by our own file; cheap enough for every pass.

    Tells what was renewed. Raises KubeletError where that fails.
    """
    ours = own_file(settings).exists()
    return pki.renew_if_old(own_pki(settings).directory) if ours else pki.Renewal.NOTHING


def discover(
    settings: Settings,
    *,
    well_known: tuple[Path, ...] = WELL_KNOWN_FILES,
    kubeadm_client: tuple[Path, Path] = KUBEADM_CLIENT,
) -> KubeletAccess:
    """Find the node's kubelet: the settings' own values, then its configuration file, then its defaults.

    The file is `[kubelet] config`, else our own, else the first well-known one that is a KubeletConfiguration.
    Raises SettingsError where the settings name a file that is no such thing, KubeletError where no file is
    found or a field of it keeps static pods or their status from us.
    """
    file, content = _find(settings, well_known)
    fields = _Fields(file, content)
    if file and content.get("enableServer") is False:
        raise KubeletError(f"{file}: enableServer is false: nothing tells the pods' status", hint="set it to true")
    ours = own_pki(settings) if _uses(content, own_pki(settings)) else None
    cert, key = _client(settings, ours, kubeadm_client)
    return KubeletAccess(
        manifest_dir=settings.manifest_dir or fields.manifest_dir(),
        port=settings.kubelet_port or fields.port("port", DEFAULT_PORT),
        healthz_port=fields.port("healthzPort", DEFAULT_HEALTHZ_PORT),
        ca=settings.kubelet_ca or (ours.ca if ours else None),
        client_cert=cert,
        client_key=key,
        cgroup_root=settings.cgroup_root or fields.text("cgroupRoot", "/") or "/",
        cgroup_driver=fields.text("cgroupDriver", "cgroupfs") or "cgroupfs",
        config_file=file,
        address=fields.address(),
        pod_logs_dir=Path(fields.text("podLogsDir", str(DEFAULT_POD_LOGS_DIR))),
        runtime_endpoint=fields.text("containerRuntimeEndpoint", ""),
    )


def _standalone(certificates: pki.Pki) -> dict[str, Any]:
    """What a kubelet without API server needs, and what is wise on a node whose image holds its images."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "address": "127.0.0.1",
        "healthzBindAddress": "127.0.0.1",
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(certificates.ca)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": str(certificates.server),
        "tlsPrivateKeyFile": str(certificates.server),
        "tlsMinVersion": "VersionTLS12",
        "enableControllerAttachDetach": False,
        "failSwapOn": False,
        # A missed inotify event costs so many seconds.
        "fileCheckFrequency": "5s",
        # One slow pull must not hold up the pods of other deployments.
        "serializeImagePulls": False,
        "maxParallelImagePulls": 4,
        # 100 turns the collection of unused images off, and without imagefs thresholds eviction does not delete
        # them either before the disk is all but full: an image that the node was built with cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # From 1 on its log says what a failed probe answered: nothing else does without an API server.
        "logging": {"verbosity": 1},
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "100Mi", "nodefs.inodesFree": "2%"},
    }


def _node(machine: Machine) -> dict[str, Any]:
    """What depends on the node's kernel and distribution."""
    found: dict[str, Any] = {"resolvConf": machine.resolv_conf()}
    if machine.cgroup_v1:
        found["failCgroupV1"] = False  # known since 1.31, true by default since 1.35
    return found


def _write(file: Path, text: str) -> bool:
    """Replace `file` (0600) if it holds anything else; tell whether it did."""
    try:
        if file.read_text(encoding="utf-8") == text and file.stat().st_mode & 0o777 == 0o600:
            return False
    except (OSError, UnicodeDecodeError):
        pass
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        aside.rename(file)
    finally:
        aside.unlink(missing_ok=True)
    return True


def _find(settings: Settings, well_known: tuple[Path, ...]) -> tuple[Path | None, Mapping[str, Any]]:
    named = settings.kubelet_config
    if named:
        try:
            return named, read_configuration(named)
        except (OSError, ValueError) as error:
            raise SettingsError(f"{settings.file}: [kubelet] config = {named}: {_reason(error)}") from error
    for path in (own_file(settings), *well_known):
        try:
            return path, read_configuration(path)
        except FileNotFoundError:
            continue
        except ValueError as error:
            if path == own_file(settings):
                raise KubeletError(
                    f"{path}: {_reason(error)}", hint="write it anew with: heat-config-kubelet kubelet-config"
                ) from error
        except OSError as error:
            raise KubeletError(f"{path}: {_reason(error)}") from error
    if settings.manifest_dir:
        return None, {}
    raise KubeletError(
        "no configuration of a kubelet is found",
        hint=f"write one with: heat-config-kubelet kubelet-config; or name yours in {settings.file}: [kubelet] config",
    )


def read_configuration(path: Path) -> Mapping[str, Any]:
    """Read a KubeletConfiguration. Raises OSError, or ValueError where it is none."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("{"):
        content = json.loads(text)
    else:
        import yaml  # costs 20 ms; our own file does not need it

        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(f"is no {KIND}")
    return content


def _reason(error: OSError | ValueError) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)


def _uses(content: Mapping[str, Any], certificates: pki.Pki) -> bool:
    return content.get("tlsCertFile") == str(certificates.server)


def _client(settings: Settings, ours: pki.Pki | None, kubeadm: tuple[Path, Path]) -> tuple[Path | None, Path | None]:
    """Give the client certificate and its key: of the settings, our own, or kubeadm's for its API server."""
    cert, key = settings.kubelet_client_cert, settings.kubelet_client_key
    if key and not cert:
        raise SettingsError(f"{settings.file}: [kubelet] client_key without client_cert")
    if cert:
        return cert, key or cert
    if ours:
        return ours.client, ours.client
    return kubeadm if all(path.exists() for path in kubeadm) else (None, None)


@dataclass(frozen=True)
class _Fields:
    """Takes fields out of a configuration, naming file and field where one is not what it should be."""

    file: Path | None
    content: Mapping[str, Any] = field(repr=False)

    def text(self, name: str, default: str) -> str:
        value = self.content.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise KubeletError(f"{self.file}: {name}: {value!r} is no text")
        return value

    def port(self, name: str, default: int) -> int:
        value = self.content.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 65536:
            raise KubeletError(f"{self.file}: {name}: {value!r} is no port")
        return value or (0 if name == "healthzPort" else default)

    def manifest_dir(self) -> Path:
        value = self.text("staticPodPath", "")
        if not value:
            raise KubeletError(
                f"{self.file}: staticPodPath is not set: this kubelet runs no static pods",
                hint=f"set it, for example to {DEFAULT_MANIFEST_DIR}, and restart the kubelet",
            )
        if not value.startswith("/"):
            raise KubeletError(f"{self.file}: staticPodPath: {value}: must be an absolute path")
        return Path(value)

    def address(self) -> str:
        value = self.text("address", "")
        everywhere = value in ("", "0.0.0.0", "::")  # noqa: S104
        return "127.0.0.1" if everywhere else value
