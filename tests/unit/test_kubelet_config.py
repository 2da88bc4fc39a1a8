"""The kubelet's configuration: what is written for a standalone one, and what is read of any."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heat_config_kubelet import kubelet_config, pki
from heat_config_kubelet.errors import KubeletError, SettingsError
from heat_config_kubelet.kubelet_config import KubeletAccess, Machine, discover, own_file, write_kubelet_config
from heat_config_kubelet.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        tmp_path / "agent.conf", state_dir=tmp_path / "state", manifest_dir=tmp_path / "manifests", node_name="n"
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    root = tmp_path / "root"
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cgroup.controllers").touch()
    (root / "run").mkdir()
    (root / "etc").mkdir()
    return Machine(root)


def put(machine: Machine, path: str, text: str = "") -> Path:
    file = machine.at(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def written(settings: Settings, machine: Machine, **options: Any) -> dict[str, Any]:
    write_kubelet_config(settings, machine=machine, **options)
    content = json.loads(own_file(settings).read_text())
    assert isinstance(content, dict)
    return content


def found(settings: Settings, *well_known: Path) -> KubeletAccess:
    return discover(settings, well_known=well_known, kubeadm_client=(Path("/none"), Path("/none")))


def test_nobody_but_the_agent_is_let_in(settings: Settings, machine: Machine) -> None:
    content = written(settings, machine)
    certificates = pki.Pki(settings.state_dir / "pki")
    assert content["address"] == "127.0.0.1"
    assert content["readOnlyPort"] == 0
    assert content["authentication"] == {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": False},
        "x509": {"clientCAFile": str(certificates.ca)},
    }
    assert content["authorization"] == {"mode": "AlwaysAllow"}
    assert content["tlsCertFile"] == content["tlsPrivateKeyFile"] == str(certificates.server)


def test_files_are_closed_to_others_and_the_manifest_directory_is_there(settings: Settings, machine: Machine) -> None:
    assert settings.manifest_dir
    written(settings, machine)
    assert stat.S_IMODE(own_file(settings).stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.state_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(settings.manifest_dir.stat().st_mode) == 0o700


def test_a_second_call_changes_nothing(settings: Settings, machine: Machine) -> None:
    first = write_kubelet_config(settings, machine=machine)
    before = own_file(settings).stat().st_ino
    second = write_kubelet_config(settings, machine=machine)
    assert (first.changed, first.certificates_renewed) == (True, pki.Renewal.AUTHORITY)
    assert (second.changed, second.certificates_renewed) == (False, pki.Renewal.NOTHING)
    assert own_file(settings).stat().st_ino == before


def test_an_opened_mode_is_mended(settings: Settings, machine: Machine) -> None:
    write_kubelet_config(settings, machine=machine)
    own_file(settings).chmod(0o644)
    assert write_kubelet_config(settings, machine=machine).changed
    assert stat.S_IMODE(own_file(settings).stat().st_mode) == 0o600


def test_settings_and_arguments_reach_the_file(settings: Settings, machine: Machine, tmp_path: Path) -> None:
    own = replace(settings, kubelet_port=10300, cgroup_root="/lab")
    content = written(own, machine, healthz_port=10301, extra={"podLogsDir": "/logs", "fileCheckFrequency": "9s"})
    assert content["port"] == 10300
    assert content["healthzPort"] == 10301
    assert content["cgroupRoot"] == "/lab"
    assert content["staticPodPath"] == str(settings.manifest_dir)
    assert content["podLogsDir"] == "/logs"
    assert content["fileCheckFrequency"] == "9s"
    told = write_kubelet_config(own, machine=machine, output=tmp_path / "here" / "k.json", port=1234)
    assert told.file == tmp_path / "here" / "k.json"
    assert json.loads(told.file.read_text())["port"] == 1234


def test_preloaded_images_are_not_collected(settings: Settings, machine: Machine) -> None:
    content = written(settings, machine)
    assert content["imageGCHighThresholdPercent"] == 100
    assert not [name for name in content["evictionHard"] if name.startswith("imagefs")]


def test_it_is_the_yaml_that_the_kubelet_reads(settings: Settings, machine: Machine) -> None:
    import yaml

    content = written(settings, machine)
    assert yaml.safe_load(own_file(settings).read_text()) == content


def test_cgroup_v1_is_allowed_where_the_machine_has_it(settings: Settings, machine: Machine) -> None:
    assert "failCgroupV1" not in written(settings, machine)
    machine.at("/sys/fs/cgroup/cgroup.controllers").unlink()
    assert written(settings, machine)["failCgroupV1"] is False


def test_stub_resolver_is_passed_by(settings: Settings, machine: Machine) -> None:
    assert written(settings, machine)["resolvConf"] == "/etc/resolv.conf"
    put(machine, "/run/systemd/resolve/stub-resolv.conf")
    machine.at("/etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert written(settings, machine)["resolvConf"] == "/run/systemd/resolve/resolv.conf"


def test_runtime_is_the_one_whose_socket_is_there(machine: Machine) -> None:
    assert machine.runtime_endpoint() == "unix:///run/containerd/containerd.sock"
    put(machine, "/usr/bin/crio")
    assert machine.runtime_endpoint() == "unix:///run/crio/crio.sock"
    put(machine, "/run/containerd/containerd.sock")
    assert machine.runtime_endpoint() == "unix:///run/containerd/containerd.sock"


CONTAINERD = "unix:///run/containerd/containerd.sock"
CRIO = "unix:///run/crio/crio.sock"


def test_cgroup_driver_is_the_runtimes(machine: Machine) -> None:
    put(machine, "/etc/containerd/config.toml", "[x]\n  SystemdCgroup = true\n")
    assert machine.cgroup_driver(CONTAINERD) == "cgroupfs"  # no systemd, no systemd driver
    machine.at("/run/systemd/system").mkdir(parents=True)
    assert machine.cgroup_driver(CONTAINERD) == "systemd"
    assert machine.cgroup_driver(CRIO) == "systemd"
    put(machine, "/etc/containerd/conf.d/9.toml", "# SystemdCgroup = true\nSystemdCgroup = false\n")
    assert machine.cgroup_driver(CONTAINERD) == "cgroupfs"
    put(machine, "/etc/crio/crio.conf.d/10.conf", 'cgroup_manager = "cgroupfs"\n')
    assert machine.cgroup_driver(CRIO) == "cgroupfs"


def test_containerd_without_a_word_means_cgroupfs(machine: Machine) -> None:
    machine.at("/run/systemd/system").mkdir(parents=True)
    assert machine.cgroup_driver(CONTAINERD) == "cgroupfs"


def test_what_cannot_be_written_is_named(settings: Settings, machine: Machine) -> None:
    settings.state_dir.write_text("in the way")
    with pytest.raises(KubeletError, match=r"state/kubelet\.json: the kubelet's configuration cannot be written"):
        write_kubelet_config(settings, machine=machine)


def test_our_own_file_is_found_again(settings: Settings, machine: Machine) -> None:
    told = write_kubelet_config(settings, machine=machine, port=10333, healthz_port=10334, cgroup_driver="systemd")
    certificates = pki.Pki(settings.state_dir / "pki")
    assert found(replace(settings, manifest_dir=None)) == KubeletAccess(
        manifest_dir=told.manifest_dir,
        port=10333,
        healthz_port=10334,
        ca=certificates.ca,
        client_cert=certificates.client,
        client_key=certificates.client,
        cgroup_root="/",
        cgroup_driver="systemd",
        config_file=own_file(settings),
        runtime_endpoint=told.runtime_endpoint,
    )


def test_our_own_file_is_read_without_a_yaml_library(settings: Settings, machine: Machine) -> None:
    write_kubelet_config(settings, machine=machine)
    program = (
        "import sys, pathlib\n"
        "from heat_config_kubelet import kubelet_config, settings\n"
        "found = settings.Settings(pathlib.Path('x'), state_dir=pathlib.Path(sys.argv[1]))\n"
        "kubelet_config.discover(found)\n"
        "assert 'yaml' not in sys.modules and 'requests' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(settings.state_dir)], check=True)


FOREIGN = """\
# written by somebody else
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
staticPodPath: /srv/pods
port: 10299
cgroupDriver: systemd
cgroupRoot: /machine
tlsCertFile: /srv/kubelet.crt
"""


def test_a_foreign_kubelet_is_used_where_there_is_one(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "kubelet.conf").write_text("apiVersion: v1\nkind: Config\n")  # a kubeconfig
    (tmp_path / "config.yaml").write_text(FOREIGN)
    own = replace(settings, manifest_dir=None)
    access = found(own, tmp_path / "none", tmp_path / "kubelet.conf", tmp_path / "config.yaml")
    assert access.config_file == tmp_path / "config.yaml"
    assert (access.manifest_dir, access.port, access.healthz_port) == (Path("/srv/pods"), 10299, 10248)
    assert (access.cgroup_root, access.cgroup_driver) == ("/machine", "systemd")
    assert (access.ca, access.client_cert, access.client_key) == (None, None, None)
    assert access.address == "127.0.0.1"


def test_kubeadms_client_is_used_where_it_is(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(FOREIGN)
    client = (tmp_path / "c.crt", tmp_path / "c.key")
    for path in client:
        path.touch()
    access = discover(settings, well_known=(tmp_path / "config.yaml",), kubeadm_client=client)
    assert (access.client_cert, access.client_key) == client


def test_the_settings_own_values_win(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(FOREIGN)
    own = replace(
        settings,
        kubelet_config=tmp_path / "config.yaml",
        kubelet_port=1,
        kubelet_ca=Path("/ca"),
        kubelet_client_cert=Path("/cert"),
        kubelet_client_key=Path("/key"),
        cgroup_root="/other",
    )
    access = found(own)
    assert (access.manifest_dir, access.port, access.cgroup_root) == (settings.manifest_dir, 1, "/other")
    assert (access.ca, access.client_cert, access.client_key) == (Path("/ca"), Path("/cert"), Path("/key"))
    assert found(replace(own, kubelet_client_key=None)).client_key == Path("/cert")


def test_a_key_without_certificate_is_refused(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="client_key without client_cert"):
        found(replace(settings, kubelet_client_key=Path("/key")))


def test_a_manifest_directory_alone_is_enough(settings: Settings) -> None:
    access = found(settings)
    assert (access.manifest_dir, access.port, access.config_file) == (settings.manifest_dir, 10250, None)


def test_no_kubelet_is_an_error_that_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(KubeletError, match="write one with: heat-config-kubelet kubelet-config"):
        found(replace(settings, manifest_dir=None))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("kind: Config\n", "is no KubeletConfiguration"),
        ("a: [b\n", "not YAML"),
        ("{", "Expecting property name"),
    ],
)
def test_a_named_file_must_be_a_configuration(
    settings: Settings, tmp_path: Path, text: str | None, message: str
) -> None:
    file = tmp_path / "config.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=rf"agent\.conf: \[kubelet\] config = .*config\.yaml: .*{message}"):
        found(replace(settings, kubelet_config=file))


def test_our_own_file_damaged_says_how_to_mend_it(settings: Settings) -> None:
    settings.state_dir.mkdir()
    own_file(settings).write_text("")
    with pytest.raises(KubeletError, match=r"kubelet\.json: .* \(write it anew with"):
        found(settings)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("staticPodPath: ''", "staticPodPath is not set"),
        ("staticPodPath: etc/pods", "staticPodPath: etc/pods: must be an absolute path"),
        ("staticPodPath: 5", "staticPodPath: 5 is no text"),
        ("staticPodPath: /a\nport: '10250'", "port: '10250' is no port"),
        ("staticPodPath: /a\nhealthzPort: 70000", "healthzPort: 70000 is no port"),
        ("staticPodPath: /a\nenableServer: false", "enableServer is false"),
    ],
)
def test_fields_that_hide_pods_are_named(settings: Settings, tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"kind: KubeletConfiguration\n{line}\n")
    with pytest.raises(KubeletError, match=rf"config\.yaml: {message}"):
        found(replace(settings, manifest_dir=None), file)


def test_only_our_own_kubelets_certificates_are_kept(settings: Settings, machine: Machine) -> None:
    assert not kubelet_config.keep_certificates(settings)
    assert not settings.state_dir.exists()
    write_kubelet_config(settings, machine=machine)
    assert not kubelet_config.keep_certificates(settings)
    (settings.state_dir / "pki" / "client.pem").unlink()
    assert kubelet_config.keep_certificates(settings)
