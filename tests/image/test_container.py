"""The container: what its image holds, and what it does beside a real kubelet, as static pod and by its unit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from imagelab import beside
from imagelab.beside import Beside
from imagelab.container import NAME, Container, Podman
from lab import binaries
from lab import deployments as heat
from lab.folders import temporary_folder
from lab.node import LabNode
from lab.progress import Progress
from lab.receiver import Receiver
from support import identity

from heat_config_kubelet import collector
from heat_config_kubelet.manifest_dir import MARK
from heat_config_kubelet.pki import Pki
from heat_config_kubelet.pods import pods_of

from .conftest import Record
from .test_content import files, traces

MOST_MB = 60
"""Of all layers as a registry keeps them, 10^6 bytes."""
GRACE = 2
STAYS = "trap '' TERM; exec sleep 3600"
"""A container's command that ends with its grace period only."""


# --- what is in it


@pytest.fixture(scope="module")
def podman(container: Container, node: LabNode) -> Iterator[Podman]:
    """Podman with the image; what it runs ends with the node."""
    with temporary_folder("podman-") as folder:
        found = Podman(folder, f"/{node.slot.cgroup.name}/agent")
        found.run("load", "--input", str(container.archive))
        yield found


@pytest.fixture(scope="module")
def root(podman: Podman) -> Iterator[Path]:
    """The image's file system."""
    with podman.mounted() as found:
        yield found


@pytest.fixture(scope="module")
def config(podman: Podman) -> Any:
    """What the image says of itself."""
    (found,) = json.loads(podman.run("image", "inspect", NAME).stdout)
    return found


def test_it_is_small(container: Container, record_property: Record) -> None:
    record_property(
        "container: layers as a registry keeps them, MB", [round(size / 1e6, 1) for size in container.layers]
    )
    assert sum(container.layers) <= MOST_MB * 1e6


def test_nothing_of_the_build_machine_is_in_it(root: Path, container: Container) -> None:
    told = {what: text.encode() for what, text in traces().items()}
    with tarfile.open(container.archive) as archive:
        texts = {name: archive.extractfile(name) for name in archive.getnames() if name.endswith(".json")}
        contents = {f"archive: {name}": stream.read() for name, stream in texts.items() if stream}
    contents |= {str(path.relative_to(root)): path.read_bytes() for path in files(root)}
    assert {
        f"{place}: {what}" for place, content in contents.items() for what, text in told.items() if text in content
    } == set()
    for name in (
        "home",
        "run/secrets",
        "tmp",
        "var/tmp",
        "etc/pip.conf",
        "etc/hostname",
        "var/lib/apt/lists",
    ):
        place = root / name
        left = sorted(path.name for path in place.iterdir()) if place.is_dir() else place.exists() and place.read_text()
        assert not left, name
    assert [path.name for path in (root / "var/log").iterdir()] == ["os-apply-config.log"], "a link to /dev/null"


def test_no_compiler_and_no_pip_is_in_it(root: Path) -> None:
    for name in ("pip", "pip3", "gcc", "git", "curl"):
        assert list(root.glob(f"usr/*bin/{name}")) == list(root.glob(f"opt/heat-config-kubelet/bin/{name}")) == []
    assert not list(root.glob("**/dist-packages/pip")) and not list(root.glob("opt/**/site-packages/pip"))


def test_modes_and_owners(root: Path) -> None:
    odd = []
    for path in root.rglob("*"):
        about = path.lstat()
        sticky = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX
        if about.st_mode & stat.S_IWOTH and not sticky and not stat.S_ISLNK(about.st_mode):
            odd.append(str(path))
        if path.is_relative_to(root / "opt") and (about.st_uid or about.st_gid):
            odd.append(str(path))
    assert odd == []


def test_the_hooks_that_need_nothing_but_python_are_in_it(root: Path) -> None:
    hooks = sorted((root / "usr/libexec/heat-config/hooks").iterdir())
    assert [path.name for path in hooks] == ["apply-config", "hiera", "json-file", "script"]
    assert {path.read_text().splitlines()[0] for path in hooks} == {"#!/usr/bin/env python3"}


def test_labels_and_health_check(config: Any) -> None:
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == "heat-config-kubelet" and labels["licenses"] == "Apache-2.0"
    assert {"description", "version", "revision"} <= labels.keys()
    assert config["Healthcheck"]["Test"] == ["CMD", "heat-config-kubelet", "health"]
    assert config["Config"]["Entrypoint"][:2] == ["tini", "--"]


# --- what is shipped to run it


def test_the_static_pod_is_one_that_our_own_checks_accept() -> None:
    (pod,) = pods_of(beside.POD.read_text(), identity=identity())
    assert (str(pod.key), pod.warnings) == ("kube-system/heat-config-kubelet", ())


def test_unit_and_static_pod_mount_the_same() -> None:
    spec = pods_of(beside.POD.read_text(), identity=identity())[0].manifest["spec"]
    places = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume}
    (mounts,) = (each["volumeMounts"] for each in spec["containers"])
    of_pod = {
        (places[mount["name"]], mount["mountPath"], mount.get("readOnly", False))
        for mount in mounts
        if mount["name"] in places
    }
    text = beside.UNIT.read_text()
    for name, value in re.findall(r"^Environment=(\w+)=(.+)$", text, re.MULTILINE):
        text = text.replace(f"${{{name}}}", value)
    of_unit = re.findall(r"source=([^,]+),target=([^,\s]+)(,readonly)?", text)
    assert {(source, target, bool(only)) for source, target, only in of_unit} == of_pod


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    shutil.copy(beside.UNIT, folder)
    shutil.copytree("/usr/lib/systemd/system", tmp_path / "usr/lib/systemd/system", symlinks=True)
    (tmp_path / "usr/bin").mkdir()
    for name in ("env", "mkdir"):
        (tmp_path / "usr/bin" / name).touch(mode=0o755)
    command = ["systemd-analyze", "verify", "--man=no", f"--root={tmp_path}", beside.UNIT.name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")


# --- what it does


@pytest.fixture(scope="module")
def node(container: Container, progress: Progress) -> Iterator[LabNode]:
    """A node whose kubelet is not the agent's own."""
    programs = binaries.get(progress)
    with temporary_folder("lab-c-") as folder, LabNode(folder, "beside", programs, progress) as found:
        found.import_image(container.archive)
        yield found


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture(scope="class")
def agent(node: LabNode, receiver: Receiver) -> Iterator[Beside]:
    found = Beside(node, receiver, node.folder / "as-pod")
    with found.as_pod():
        yield found
        found.deploy()
        node.wait_for(lambda: not marked(node), "all manifests to be removed")


class TestStaticPod:
    def test_pods_are_deployed_updated_and_removed(self, agent: Beside, node: LabNode) -> None:
        own = agent.manifest.read_bytes()
        entry = agent.entry("web", heat.pod("web", STAYS, terminationGracePeriodSeconds=GRACE))
        agent.deploy(entry)
        told = agent.signal("web")
        assert told["deploy_status_code"] == 0, told
        assert "polling_interval = 1\n" in (agent.collected / "os-collect-config.conf").read_text()
        first = uid(node, "web")
        assert marked(node) == {"web"}, "the agent's own manifest is not one of its deployments'"
        changed = heat.pod("web", STAYS, labels={"v": "2"}, terminationGracePeriodSeconds=GRACE)
        agent.deploy(heat.again(entry, config=changed))
        assert agent.signal("web", 2)["deploy_status_code"] == 0
        second = uid(node, "web")
        assert first != second and first not in node.pods_left()
        agent.deploy(heat.again(entry, "DELETE", config=changed))
        assert agent.signal("web", 3)["deploy_status_code"] == 0
        assert second not in node.pods_left(), "its end was waited for, by its control group"
        assert agent.manifest.read_bytes() == own and not marked(node)

    def test_its_hooks_work(self, agent: Beside) -> None:
        script = agent.entry(
            "script",
            "#!/bin/sh\necho from $name\nprintf said > $heat_outputs_path.told\n",
            group="script",
            inputs={"name": "the input"},
            outputs=["told"],
        )
        written = agent.entry("file", {"/var/lib/heat-config/written/a.json": {"a": 1}}, group="json-file")
        applied = agent.entry("applied", "", group="apply-config")
        missing = agent.entry("missing", "", group="puppet")
        agent.deploy(script, written, applied, missing)
        told = agent.signal("script")
        assert (told["deploy_status_code"], told["deploy_stdout"], told["told"]) == (0, "from the input\n", "said")
        assert agent.signal("file")["deploy_status_code"] == 0
        assert json.loads((agent.hooks / "written/a.json").read_text()) == {"a": 1}
        told = agent.signal("applied")
        assert told["deploy_status_code"] == 0, told
        told = agent.signal("missing")
        assert (
            told["deploy_status_code"] == 1
            and "no executable puppet in /var/lib/heat-config/hooks" in told["deploy_stderr"]
        )

    def test_the_kubelets_own_words_are_told(self, agent: Beside) -> None:
        agent.write_settings(client="client.pem", node_name="n")  # so that the name does not look too long
        agent.deploy(agent.entry("long", heat.pod("x" * 250)))
        told = agent.signal("long")
        agent.write_settings(client="client.pem")
        assert told["deploy_status_code"] == 1
        assert "the kubelet refuses the manifest: invalid pod: " in told["deploy_stderr"]

    def test_a_kubelet_that_refuses_it_is_told(self, agent: Beside) -> None:
        agent.write_settings()
        agent.deploy(agent.entry("refused", heat.pod("refused")))
        told = agent.signal("refused")
        agent.write_settings(client="client.pem")
        assert told["deploy_status_code"] == 1
        assert "does not know our certificate (401" in told["deploy_stderr"]

    def test_a_kubelet_with_a_certificate_that_it_has_made_itself(self, agent: Beside, node: LabNode) -> None:
        """As kubeadm leaves it: for the node's name alone, by an authority that is in the same file."""
        with without_certificate(node) as certificate:
            agent.trust(certificate)
            agent.deploy(agent.entry("own", heat.pod("own")))
            told = agent.signal("own")
            assert told["deploy_status_code"] == 0, told
            agent.wait_until_idle()
        agent.trust(Pki(node.state_dir / "pki").ca)
        agent.wait_until_started()

    def test_an_os_collect_config_that_hangs_is_seen_and_started_anew(self, agent: Beside) -> None:
        before = agent.restarts
        done = agent.execute("heat-config-kubelet", "health")
        assert done.returncode == 0, done.stderr
        os.kill(agent.process(*COLLECTOR), signal.SIGSTOP)
        agent.node.wait_for(lambda: unhealthy(agent), "the health check to fail")
        agent.wait_until_restarted(before)
        agent.deploy(agent.entry("after-hang", heat.pod("after-hang")))
        assert agent.signal("after-hang")["deploy_status_code"] == 0

    def test_a_loop_that_is_killed_is_started_anew(self, agent: Beside, node: LabNode) -> None:
        gate = agent.hooks / "gate"
        gate.mkdir()
        probe = {"exec": {"command": ["/bin/test", "-e", "/gate/open"]}, "periodSeconds": 1}
        fields = {"volumeMounts": [{"name": "gate", "mountPath": "/gate"}], "readinessProbe": probe}
        volumes = [{"name": "gate", "hostPath": {"path": str(gate), "type": "Directory"}}]
        agent.deploy(agent.entry("gated", heat.pod("gated", container=fields, volumes=volumes)))
        node.wait_for(lambda: node.pod("gated"), "the pod")
        os.kill(agent.process("heat_config_kubelet", "loop"), signal.SIGKILL)
        (gate / "open").touch()
        told = agent.signal("gated")
        assert told["deploy_status_code"] == 0, told

    def test_what_it_has_is_for_root_alone(self, agent: Beside) -> None:
        for place in ("/var/lib/heat-config-kubelet", "/var/lib/os-collect-config"):
            found = agent.places[place]
            assert stat.S_IMODE(found.stat().st_mode) == 0o700
            assert [path for path in found.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077] == []


class TestUnit:
    def test_it_deploys_with_no_rights_but_its_mounts_and_ends_when_asked_to(
        self, node: LabNode, receiver: Receiver, podman: Podman
    ) -> None:
        agent = Beside(node, receiver, node.folder / "by-unit")
        with running(agent, node, podman) as process:
            agent.deploy(agent.entry("by-unit", heat.pod("by-unit")))
            assert agent.signal("by-unit")["deploy_status_code"] == 0
            assert healthy(podman)
            told = inside(podman, "heat-config-kubelet", "status")
            assert told.returncode == 0 and "by-unit" in told.stdout
            assert "Read-only file system" in inside(podman, "touch", "/usr/new").stderr
            rights = inside(podman, "grep", "-E", "^(CapEff|NoNewPrivs):", "/proc/1/status").stdout.split()
            assert rights == ["CapEff:", "0" * 16, "NoNewPrivs:", "1"]
            agent.deploy()
            node.wait_for(lambda: not marked(node), "the manifest to be removed")
            podman.run("stop", NAME_OF_UNIT)
            assert process.wait(30) == 143

    def test_it_ends_with_os_collect_config(self, node: LabNode, receiver: Receiver, podman: Podman) -> None:
        agent = Beside(node, receiver, node.folder / "ends")
        with running(agent, node, podman) as process:
            node.wait_for(lambda: healthy(podman), "the health check to pass")
            os.kill(agent.process(*COLLECTOR, part="agent"), signal.SIGKILL)
            assert process.wait(30) == 128 + signal.SIGKILL
            assert not healthy(podman)

    def test_another_user_may_run_it_whose_the_folders_are(
        self, node: LabNode, receiver: Receiver, podman: Podman
    ) -> None:
        agent = Beside(node, receiver, node.folder / "by-another")
        agent.give_to(NOBODY)
        try:
            with running(agent, node, podman, "--user", f"{NOBODY}:{NOBODY}"):
                script = agent.entry("by-nobody-script", "#!/bin/sh\nid -u\n", group="script")
                agent.deploy(agent.entry("by-nobody", heat.pod("by-nobody")), script)
                told = agent.signal("by-nobody")
                assert told["deploy_status_code"] == 0, told
                assert agent.signal("by-nobody-script")["deploy_stdout"] == f"{NOBODY}\n"
                agent.deploy()
                node.wait_for(lambda: not marked(node), "the manifest to be removed")
        finally:
            os.chown(node.manifests, 0, 0)

    def test_it_reads_the_hosts_journal(self, podman: Podman, tmp_path: Path) -> None:
        machine, boot = uuid.uuid4().hex, Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
        journal = tmp_path / "log/journal" / machine / "system.journal"
        journal.parent.mkdir(parents=True)
        (tmp_path / "machine-id").write_text(f"{machine}\n")
        entry = (
            f"__REALTIME_TIMESTAMP={time.time_ns() // 1000}\n__MONOTONIC_TIMESTAMP=1\n_BOOT_ID={boot}\n"
            f"_MACHINE_ID={machine}\n_SYSTEMD_UNIT=kubelet.service\nMESSAGE=its own words\n\n"
        )
        subprocess.run([JOURNAL_REMOTE, f"--output={journal}", "-"], input=entry, text=True, check=True)
        told = ran(
            podman,
            *("--mount", f"type=bind,source={tmp_path}/log,target=/run/log,readonly"),
            *("--mount", f"type=bind,source={tmp_path}/machine-id,target=/etc/machine-id,readonly"),
            *("--entrypoint", "/opt/heat-config-kubelet/bin/python", NAME, "-c", READ_LOG),
        )
        assert (told.stdout, told.returncode) == ("its own words\n", 0), told.stderr

    def test_without_its_mounts_it_says_which(self, podman: Podman) -> None:
        done = ran(podman, NAME)
        assert done.returncode == 1
        for place in ("/var/lib/heat-config-kubelet", "/var/lib/os-collect-config", "/var/lib/heat-config"):
            assert f"{place} is no mount" in done.stderr
        assert "no pods' control groups below /sys/fs/cgroup" in done.stderr
        assert "Read-only file system" in done.stderr


NAME_OF_UNIT = "heat-config-kubelet"
NOBODY = 65534
COLLECTOR = (collector.NAME, "--config-file")
"""Of its command line."""
JOURNAL_REMOTE = "/lib/systemd/systemd-journal-remote"
READ_LOG = """
from heat_config_kubelet.kubelet_log import KubeletLog, LogPosition
from heat_config_kubelet.settings import load
print(*KubeletLog.of(load()).lines_since(LogPosition()), sep="\\n")
"""


def ran(podman: Podman, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a container to its end, as the unit does, without the unit's mounts."""
    options = ["--rm", "--network=host", "--read-only", "--cap-drop=all", "--cgroupns=private", *podman.options]
    return podman.run("run", *options, *arguments, check=False)


@contextmanager
def running(agent: Beside, node: LabNode, podman: Podman, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have it run as the unit runs it, with these OPTIONS of its file of settings."""
    command = agent.unit_command(podman, *options)
    with (node.log / "unit.log").open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        podman.run("rm", "--force", NAME_OF_UNIT, check=False)
        process.wait(30)


def healthy(podman: Podman) -> bool:
    """Whether the image's health check passes in the unit's container."""
    return podman.run("healthcheck", "run", NAME_OF_UNIT, check=False).returncode == 0


def inside(podman: Podman, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the unit's container."""
    return podman.run("exec", NAME_OF_UNIT, *command, check=False)


@contextmanager
def without_certificate(node: LabNode) -> Iterator[Path]:
    """Give the node's kubelet none; gives the file of the one that it makes."""
    config = node.state_dir / "kubelet.json"
    before = config.read_text()
    fields = {name: value for name, value in json.loads(before).items() if not name.startswith("tls")}
    try:
        config.write_text(json.dumps(fields))
        node.stop_kubelet()
        node.start_kubelet()
        yield node.folder / "lib/kubelet/pki/kubelet.crt"
    finally:
        config.write_text(before)
        node.stop_kubelet()
        node.start_kubelet()


def marked(node: LabNode) -> set[str]:
    """The names of the pods whose manifests are the agent's."""
    found = [json.loads(path.read_text()) for path in node.manifests.glob("*.json")]
    return {
        pod["metadata"]["name"]
        for pod in found
        if any(name.startswith(MARK) for name in pod["metadata"].get("annotations", {}))
    }


def uid(node: LabNode, name: str) -> str:
    """The UID of a pod's manifest."""
    (found,) = (json.loads(path.read_text()) for path in node.manifests.glob(f"heat-{name}-*.json"))
    return str(found["metadata"]["uid"])


def unhealthy(agent: Beside) -> bool:
    """Whether the health check says that os-collect-config does not poll."""
    done = agent.execute("heat-config-kubelet", "health", "--patience", "2")
    return done.returncode == 1 and "no source was collected" in done.stderr
