"""What `doctor` checks, where no real node is needed to break it; the rest is in tests/node/test_command_doctor.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from support import START, identity, make_row, raw_entry, source, take_in

from heat_config_kubelet import pki
from heat_config_kubelet.doctor import (
    advice,
    agent,
    collecting,
    deployments,
    kubelet,
    machine,
    manifest_files,
    permissions,
    room,
    runtime,
)
from heat_config_kubelet.doctor.collector_file import CollectorFile
from heat_config_kubelet.doctor.finding import Finding, Report, error, note, warning
from heat_config_kubelet.doctor.node import Node, Runtime
from heat_config_kubelet.doctor.processes import Process, Ran, processes, run, variables
from heat_config_kubelet.doctor.table import CHECKS, examined
from heat_config_kubelet.kubelet_config import Machine, write_kubelet_config
from heat_config_kubelet.pods import pods_of
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.store import APPLIED, DOUBTFUL, DROPPED, PENDING, Store
from heat_config_kubelet.values import ContainerState, ContainerStatus, PodStatus, Result
from heat_config_kubelet.wake import Wake

GIB = 1024**3


class Bench:
    """A node whose files are below a folder, with what systemd and other programs say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.told: dict[str, str] = {}
        """What a command says, by its last word."""
        self.asked: list[Sequence[str]] = []
        self.paused: list[float] = []
        self.now = START
        for name in ("state", "cache", "manifests", "root/run", "root/etc"):
            (folder / name).mkdir(parents=True, mode=0o700)
        (self.root / "etc" / "resolv.conf").touch()
        self.collect()

    def settings(self, **changed: Any) -> Settings:
        base = Settings(
            self.folder / "agent.conf",
            state_dir=self.folder / "state",
            os_collect_config_cache=self.folder / "cache",
            manifest_dir=self.folder / "manifests",
            hooks_dirs=(self.folder / "hooks",),
            deployed_dir=self.folder / "deployed",
            systemd="no",
        )
        return replace(base, **changed)

    def node(self, **changed: Any) -> Node:
        return Node(
            self.settings(**changed),
            {"OS_COLLECT_CONFIG_FILE": str(self.folder / "occ.conf")},
            machine=Machine(self.root),
            now=lambda: self.now,
            pause=self.paused.append,
            run=self._run,
        )

    def collect(self, text: str = "[DEFAULT]\ncommand = heat-config-kubelet run\n") -> None:
        file = self.folder / "occ.conf"
        file.write_text(text)
        file.chmod(0o600)

    def store(self) -> Store:
        return Store.open(self.settings().store_file)

    def kubelet(self, **fields: Any) -> None:
        write_kubelet_config(self.settings(), cgroup_driver="systemd", machine=Machine(self.root), extra=fields)

    def _run(self, command: Sequence[str]) -> Ran | None:
        self.asked.append(command)
        text = self.told.get(command[-1], self.told.get(Path(command[0]).name))
        return None if text is None else Ran(0, text)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def only(found: Any) -> Finding:
    (finding,) = found
    assert isinstance(finding, Finding) and finding.what and finding.why and finding.mend
    return finding


def process(*command: str, state: str = "S", pid: int = 42, started_at: float = START - 9000) -> Process:
    return Process(pid, command, state, started_at)


def with_process(node: Node, name: str, found: Process | None) -> Node:
    """Let a node have this daemon."""
    node.__dict__[name] = found
    return node


# --- the table and the report


def test_names_of_checks_are_unique_and_each_says_what_it_is_about() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.about.endswith(".") for check in CHECKS)


@pytest.mark.parametrize(
    ("levels", "status"), [((), 0), ((note,), 0), ((warning, note), 2), ((warning, error), 1), ((error,), 1)]
)
def test_the_exit_status_is_of_the_worst(levels: tuple[Callable[..., Finding], ...], status: int) -> None:
    findings = tuple(make("what", why="why", mend="mend") for make in levels)
    assert Report(findings, (), ()).status == status


def test_a_check_that_cannot_be_made_hides_nothing_of_the_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.folder / "occ.conf").unlink()
    report = examined(bench.node(), ["way-in", "collect-config"])
    assert [(each.check, each.level) for each in report.findings] == [("collect-config", "error")]
    assert [each.check for each in report.unseen] == ["way-in"]
    assert report.checked == ("collect-config", "way-in")


def test_the_worst_comes_first(bench: Bench) -> None:
    bench.collect("[DEFAULT]\ncommand = heat-config-kubelet run\npolling_interval = 600\ncollectors = moon\n")
    assert [each.level for each in examined(bench.node(), ["collect-config"]).findings] == ["error", "note"]


def test_what_the_store_cannot_tell_is_not_seen(bench: Bench) -> None:
    bench.settings().store_file.write_bytes(b"no database" * 999)
    report = examined(bench.node(), ["deployments", "signals", "store"])
    assert [each.check for each in report.findings] == ["store"]
    assert [each.check for each in report.unseen] == ["deployments", "signals"]


def test_the_list_of_checks_imports_nothing_heavy() -> None:
    code = (
        "import sys; from heat_config_kubelet.cli import main; status = main(['doctor', '--list']);"
        "sys.exit(status or any(name in sys.modules for name in ('requests', 'yaml', 'keystoneauth1', 'urllib3')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


# --- processes


def test_processes_are_read_as_proc_shows_them(tmp_path: Path) -> None:
    here = next(each for each in processes() if each.pid == os.getpid())
    assert here.state in "RS" and abs(here.started_at - Path("/proc/self").stat().st_ctime) < 3600
    assert variables(os.getpid()).get("PATH") == os.environ.get("PATH")
    assert run(("/no/such/program",)) is None
    assert run(("echo", "hello")) == Ran(0, "hello")


@pytest.mark.parametrize(
    ("command", "program"),
    [
        (("/usr/bin/python3", "/usr/bin/os-collect-config", "--config-file", "x"), "os-collect-config"),
        (("/usr/bin/kubelet", "--config=x"), "kubelet"),
        ((), ""),
    ],
)
def test_a_script_is_known_by_its_own_name(command: tuple[str, ...], program: str) -> None:
    assert process(*command).program == program


def test_options_of_a_command_line_are_found_in_both_forms() -> None:
    found = process("kubelet", "--config=/a", "--root-dir", "/b", "--last")
    assert [found.option(name) for name in ("config", "root-dir", "last", "none")] == ["/a", "/b", "", ""]


# --- settings


def test_of_a_bad_settings_file_the_rest_is_in_force(tmp_path: Path) -> None:
    file = tmp_path / "agent.conf"
    file.write_text(
        "stray = 1\n[agent]\nstate_dir = /srv/state\nmode = both\nnonsense\n[kubelet]\nport = 99999\nunit = k.service\n"
        "unit = again.service\n[moon]\nphase = full\n[defaults]\nlog_lines = many\npoll_period = 2\n"
    )
    settings, faults = agent.readable(file)
    assert (settings.state_dir, settings.kubelet_unit, settings.mode) == (Path("/srv/state"), "k.service", "auto")
    assert settings.defaults == {"poll_period": "2"}
    words = ("line 1", "mode = both", "line 5", "port = 99999", "unit already exists", "[moon]", "log_lines")
    assert len(faults) == len(words) and all(word in fault for word, fault in zip(words, faults, strict=True))


def test_a_good_settings_file_has_no_fault_and_none_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "agent.conf"
    assert agent.readable(file)[1] == ()
    file.write_bytes((Path(agent.__file__).parents[1] / "data" / "heat-config-kubelet.conf").read_bytes())
    assert agent.readable(file) == (replace(Settings(file), node_name=os.uname().nodename.lower()), ())


# --- os-collect-config


def test_its_settings_are_read_as_oslo_config_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "occ.conf"
    file.write_text(
        '[DEFAULT]\n# comment\ncollectors = heat\ncollectors = local\ncommand = "a b"\npolling-interval = 5\n'
        "[heat]\npassword = pa$$word\nlong = one\n  two\nnonsense\n"
    )
    found = CollectorFile.read(file)
    assert found.collectors == ("heat", "local") and found.polling_interval == 5
    assert found.value("DEFAULT", "command") == "a b" and found.value("heat", "password") == "pa$word"
    assert found.value("heat", "long") == "one\ntwo" and found.faults == ("line 11",)
    assert "pa$word" not in repr(found)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("polling_interval = often", "polling_interval = often: no number"),
        ("cachedir = /elsewhere", "cachedir = /elsewhere, but the agent looks into"),
        ("junk", "line 3: neither a [section] nor a setting"),
    ],
)
def test_settings_of_os_collect_config_that_cannot_be(bench: Bench, lines: str, words: str) -> None:
    bench.collect(f"[DEFAULT]\ncommand = heat-config-kubelet run\n{lines}\n")
    assert words in only(collecting.settings_file(bench.node())).what


def test_a_command_that_is_a_script_of_ours_is_ours(bench: Bench) -> None:
    script = bench.folder / "command"
    script.write_text("#!/bin/sh\nexec heat-config-kubelet run\n")
    bench.collect(f"[DEFAULT]\ncommand = {script}\n")
    assert list(collecting.way_in(bench.node())) == []


def test_os_refresh_config_is_the_way_in_of_the_hook(bench: Bench) -> None:
    bench.collect("[DEFAULT]\ncommand = os-refresh-config\n")
    assert "does not call heat-config-kubelet" in only(collecting.way_in(bench.node())).what
    hook = bench.folder / "hooks" / "kubelet"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexec heat-config-kubelet hook\n")
    assert list(collecting.way_in(bench.node())) == []
    with bench.store().transaction():
        pass
    store = bench.store()
    store.put("mode", "run")
    store.close()
    assert "both ways in: this node has used `run`" in only(collecting.way_in(bench.node())).what


def test_a_zaqar_that_is_not_verified_is_told(bench: Bench) -> None:
    given = "auth_url = https://k/v3\npassword = p\nproject_id = 1\nuser_id = 2\nqueue_id = 3\n"
    bench.collect(f"[DEFAULT]\ncollectors = zaqar\n[zaqar]\n{given}")
    assert only(collecting.collectors(bench.node())).level == "warning"
    bench.collect(f"[DEFAULT]\ncollectors = zaqar\n[zaqar]\n{given}ssl_certificate_validation = true\n")
    assert "ssl_certificate_validation without ca_file" in only(collecting.collectors(bench.node())).what
    bench.collect(
        f"[DEFAULT]\ncollectors = zaqar\n[zaqar]\n{given}ssl_certificate_validation = true\nca_file = /ca.pem\n"
    )
    assert list(collecting.collectors(bench.node())) == []


def test_a_node_that_asks_nobody_is_told(bench: Bench) -> None:
    assert "no collector is told where Heat is" in only(collecting.collectors(bench.node())).what
    (bench.folder / "cache" / "site.json").write_text('{"deployments": []}')
    assert list(collecting.collectors(bench.node())) == []


HEAT = (
    "[DEFAULT]\ncollectors = heat\ncollectors = request\n[heat]\nauth_url = http://k\npassword = p\nproject_id = 1\n"
    "user_id = 2\nstack_id = 3\nresource_name = 4\n[request]\nmetadata_url = http://s\n"
)


def test_a_source_that_has_been_silent_for_long_is_told(bench: Bench) -> None:
    bench.collect(HEAT)
    node = with_process(bench.node(), "os_collect_config", process("os-collect-config"))
    assert only(collecting.polling(node)).what == "heat has never answered"
    file = bench.folder / "cache" / "heat.json"
    file.write_text("{}")
    os.utime(file, (START - 90, START - 90))
    assert list(collecting.polling(node)) == []  # two pauses of 30 s, and 30 s for the poll
    os.utime(file, (START - 91, START - 91))
    assert only(collecting.polling(node)).what == "the source heat has not answered for 1m31s"


def test_a_cfn_poll_that_never_answers_is_most_likely_heats_policy(bench: Bench) -> None:
    bench.collect(
        "[DEFAULT]\ncollectors = cfn\n[cfn]\nmetadata_url = http://h/v1/\nstack_name = s\naccess_key_id = 1\n"
        "secret_access_key = 2\npath = r.Metadata\n"
    )
    node = with_process(bench.node(), "os_collect_config", process("os-collect-config"))
    assert "default policy refuses POLL_SERVER_CFN since 2024.1" in only(collecting.polling(node)).mend


def test_a_daemon_that_has_just_started_is_not_asked_for_its_sources(bench: Bench) -> None:
    bench.collect(HEAT)
    fresh = process("os-collect-config", started_at=START - 5)
    assert list(collecting.polling(with_process(bench.node(), "os_collect_config", fresh))) == []


# --- units


def unit(**properties: str) -> str:
    return "\n".join(f"{name}={value}" for name, value in properties.items())


@pytest.mark.parametrize(
    ("about", "mend"),
    [
        (unit(LoadState="masked", ActiveState="inactive"), "systemctl unmask os-collect-config.service"),
        (unit(LoadState="loaded", ActiveState="failed", Result="exit-code"), "systemctl restart os-collect-config"),
    ],
)
def test_a_unit_of_os_collect_config_that_does_not_run(bench: Bench, about: str, mend: str) -> None:
    bench.told["os-collect-config.service"] = about
    node = with_process(bench.node(systemd="yes"), "os_collect_config", None)
    finding = only(collecting.polling(node))
    assert finding.what.startswith("os-collect-config does not run") and mend in finding.mend


def test_a_unit_that_is_not_enabled_and_one_that_ends_over_and_over(bench: Bench) -> None:
    bench.told["os-collect-config.service"] = unit(UnitFileState="disabled", NRestarts="12")
    fresh = process("os-collect-config", started_at=START - 5)
    node = with_process(bench.node(systemd="yes"), "os_collect_config", fresh)
    disabled, restarts = collecting.polling(node)
    assert "systemctl enable" in disabled.mend and "restarted 12 times" in restarts.what


@pytest.mark.parametrize(
    ("about", "mend"),
    [
        (unit(LoadState="masked", ActiveState="inactive"), "systemctl unmask heat-config-kubelet.path"),
        (unit(LoadState="loaded", ActiveState="inactive"), "systemctl enable --now heat-config-kubelet.path"),
        (unit(LoadState="loaded", ActiveState="active", UnitFileState="disabled"), "systemctl enable heat-config-k"),
        (unit(LoadState="loaded", ActiveState="active", UnitFileState="enabled"), ""),
        (unit(LoadState="not-found", ActiveState="inactive"), ""),
    ],
)
def test_a_path_unit_that_will_not_start_the_loop(bench: Bench, about: str, mend: str) -> None:
    bench.told["heat-config-kubelet.path"] = about
    found = list(agent.loop(bench.node(systemd="yes")))
    assert [finding.mend.startswith(mend) for finding in found] == ([True] if mend else [])


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (unit(LoadState="masked"), "kubelet.service is masked"),
        (unit(UnitFileState="disabled"), "kubelet.service is not enabled"),
    ],
)
def test_a_unit_of_the_kubelet_that_will_not_start(bench: Bench, about: str, words: str) -> None:
    bench.told["kubelet.service"] = about
    assert words in next(iter(kubelet.service(with_process(bench.node(systemd="yes"), "kubelet", None)))).what


# --- the store, the loop, signals


def test_a_loop_that_hangs_is_told(bench: Bench) -> None:
    wake = Wake(bench.settings().state_dir)
    wake.raise_flag()
    assert wake.hold()
    for file in (wake.flag, wake.lock_file):
        os.utime(file, (START, START))
    bench.now = START + 300
    assert list(agent.loop(bench.node())) == []
    bench.now += 1
    assert only(agent.loop(bench.node())).what == "the loop has not moved for 5m01s"
    wake.let_go(clear_flag=False)
    assert "no loop works on it" in only(agent.loop(bench.node())).what
    assert sum(bench.paused) == pytest.approx(2)


def test_os_apply_config_that_failed_is_told(bench: Bench) -> None:
    store = bench.store()
    store.put(APPLIED, json.dumps([START, "no such template"]))
    store.close()
    assert "no such template" in only(agent.store(bench.node())).what


def test_a_store_that_was_set_aside_is_noted(bench: Bench) -> None:
    bench.store().close()
    (bench.folder / "state" / f"store.sqlite.damaged-{int(START)}").touch()
    assert only(agent.store(bench.node())).level == "note"


def entry(bench: Bench, *, signal: str, answer: str = "", attempts: int = 0, signed: str = "", code: int = 0) -> None:
    """Put one deployment with a result into the store."""
    url = f"http://heat.example/v1/signal?Timestamp={signed}&Signature=planted" if signed else "http://heat.example/s"
    store = bench.store()
    take_in(store, source(raw_entry("one", inputs={"deploy_signal_id": url})))
    if signal:
        store.decide("one", Result(code, "", "pod default/web: password=planted-secret"), signal, START)
        store.set_signal("one", signal, answer, START, attempts=attempts)
    store.close()


@pytest.mark.parametrize(
    ("state", "level", "words"),
    [
        ({"signal": DOUBTFUL, "answer": "may have gone to another"}, "warning", "may have gone to another"),
        ({"signal": DROPPED, "answer": "too old: not accepted"}, "error", "was given up: too old"),
        ({"signal": PENDING, "signed": "2026-11-18T00:00:00Z"}, "error", "cannot be delivered any more"),
        ({"signal": "", "signed": "2026-11-18T00:00:00Z"}, "error", "its result will come too late"),
        ({"signal": DROPPED, "answer": "superseded by two"}, "", ""),
        ({"signal": "delivered"}, "", ""),
        ({"signal": PENDING}, "", ""),
    ],
)
def test_signals_that_have_not_simply_arrived(bench: Bench, state: Mapping[str, Any], level: str, words: str) -> None:
    entry(bench, **state)
    found = list(agent.signals(bench.node()))
    assert [finding.level for finding in found] == ([level] if level else [])
    assert all(words in finding.what and "planted" not in str(finding) for finding in found)


def test_a_failed_deployments_secrets_are_not_told(bench: Bench) -> None:
    raw = raw_entry("one", inputs={"db_password": "planted-secret"})
    store = bench.store()
    take_in(store, source(raw))
    store.decide("one", Result(1, "", "first\ndefault/web: cannot log in with planted-secret"), PENDING, START)
    store.close()
    assert only(deployments.deployments(bench.node())).what == (
        "shop/deploy, CREATE: failed: default/web: cannot log in with ***"
    )


def test_a_deployment_that_nobody_begins_is_told(bench: Bench) -> None:
    entry(bench, signal="")
    assert list(deployments.waiting(bench.node())) == []
    bench.now += 61
    assert "nothing has been done for it for 61 s" in only(deployments.waiting(bench.node())).what


def test_for_every_reason_there_is_a_mend() -> None:
    assert advice.mend("something nobody has seen", "shop/web") == "see more: heat-config-kubelet show shop/web"
    assert "shop/web" in advice.mend('container "c" exited with code 3', "shop/web")
    assert "memory" in advice.mend('container "c" exited with code 137 (OOMKilled)', "shop/web")


# --- kubelet and runtime


@pytest.mark.parametrize(
    ("kubelet_said", "runtime_said", "found"),
    [
        ("Kubernetes v1.37.2", "containerd github.com/containerd/containerd/v2 v2.4.2 abc", []),
        ("Kubernetes v1.35.0", "containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6", []),
        ("Kubernetes v1.36.1", "containerd github.com/containerd/containerd 1.7.24 abc", ["error"]),
        ("Kubernetes v1.31.4", "containerd containerd.io 1.7.24 abc", ["warning"]),
        ("Kubernetes v1.40.0-alpha.1", "containerd containerd.io v2.4.2 abc", ["warning"]),
        ("", "", []),
    ],
)
def test_releases_that_do_not_fit(bench: Bench, kubelet_said: str, runtime_said: str, found: list[str]) -> None:
    node = with_process(bench.node(), "kubelet", None)
    node.__dict__["runtime"] = Runtime(Path("/run/containerd/containerd.sock"))
    bench.told |= {"kubelet": kubelet_said, "containerd": runtime_said}
    bench.told.pop("--version", None)
    assert [finding.level for finding in kubelet.versions(node)] == found


def test_swap_and_control_groups_that_keep_a_kubelet_from_starting(bench: Bench) -> None:
    bench.kubelet(failSwapOn=True)
    node = with_process(bench.node(), "kubelet", None)
    node.proc = bench.root / "proc"
    node.proc.mkdir()
    (node.proc / "swaps").write_text("Filename Type\n/dev/vda2 partition\n")
    swap = only(kubelet.configuration(node))
    assert "failSwapOn is not false" in swap.what and "swapoff" in swap.mend
    bench.kubelet(failCgroupV1=True)
    (bench.root / "sys" / "fs" / "cgroup").mkdir(parents=True)
    node = with_process(bench.node(), "kubelet", None)
    node.proc = bench.root / "none"
    assert "failCgroupV1 is not false" in only(kubelet.configuration(node)).what


@pytest.mark.parametrize(("days", "level"), [(400, ""), (20, "warning"), (-1, "error")])
def test_certificates_that_end(bench: Bench, days: int, level: str) -> None:
    bench.kubelet()
    ends = pki.read_certificate(bench.folder / "state" / "pki" / "server.pem").not_after
    bench.now = (ends - timedelta(days=days)).timestamp()
    found = list(kubelet.certificates(bench.node()))
    assert {finding.level for finding in found} == ({level} if level else set())


def test_certificates_of_another_ca_are_told(bench: Bench, tmp_path: Path) -> None:
    bench.kubelet()
    other = pki.Pki(tmp_path / "other")
    pki.renew_if_old(other.directory, now=datetime.now(timezone.utc))
    (bench.folder / "state" / "pki" / "client.pem").write_bytes(other.client.read_bytes())
    assert "client.pem is not by" in only(kubelet.certificates(bench.node())).what


@pytest.mark.parametrize(
    ("config", "kubelet_said", "runtime_said", "found"),
    [
        ("SystemdCgroup = false", "Kubernetes v1.35.1", "containerd c 1.7.2 x", True),
        ("SystemdCgroup = true", "Kubernetes v1.35.1", "containerd c 1.7.2 x", False),
        ("", "Kubernetes v1.35.1", "containerd c 1.7.2 x", True),
        ("SystemdCgroup = false", "Kubernetes v1.35.1", "containerd c v2.1.0 x", False),
        ("SystemdCgroup = false", "Kubernetes v1.33.1", "containerd c v2.1.0 x", True),
    ],
)
def test_a_cgroup_driver_that_is_not_the_runtimes(
    bench: Bench, config: str, kubelet_said: str, runtime_said: str, found: bool
) -> None:
    bench.kubelet()
    file = bench.folder / "containerd.toml"
    file.write_text(f"version = 3\n  {config}\n")
    node = with_process(bench.node(), "kubelet", process("/usr/bin/kubelet", pid=7))
    node.__dict__["runtime"] = Runtime(Path("/s"), "", process("/usr/bin/containerd", f"--config={file}", pid=8))
    bench.asked.clear()

    def asked(command: Sequence[str]) -> Ran:
        return Ran(0, kubelet_said if "/7/" in command[0] else runtime_said)

    node.run = asked
    assert bool(list(runtime.cgroup_driver(node))) is found


def runtime_of(bench: Bench, text: str) -> Node:
    file = bench.folder / "containerd.toml"
    file.write_text(text)
    node = bench.node()
    node.__dict__["runtime"] = Runtime(Path("/s"), "", process("/usr/bin/containerd", "--config", str(file)))
    return node


def test_in_a_container_beside_the_kubelet_its_runtime_is_not_seen(bench: Bench) -> None:
    bench.kubelet()
    node = with_process(bench.node(), "kubelet", None)
    node.__dict__["runtime"] = Runtime(Path("/run/containerd/containerd.sock"), "No such file or directory")
    node.__dict__["is_apart"] = True
    report = examined(node, ["runtime", "cni"])
    assert report.findings == () and [each.check for each in report.unseen] == ["runtime", "cni"]
    node.__dict__["is_apart"] = False
    assert {finding.check for finding in examined(node, ["runtime", "cni"]).findings} >= {"runtime"}


def test_networks_of_pods(bench: Bench) -> None:
    folder, programs = bench.folder / "net.d", bench.folder / "bin"
    programs.mkdir()
    folder.mkdir()
    node = runtime_of(bench, f"  conf_dir = '{folder}'\n  bin_dirs = ['/none', '{programs}']\n")
    assert "no network configuration" in only(runtime.network(node)).what
    (folder / "20-b.conf").write_text('{"type": "bridge", "ipam": {"type": "host-local"}}')
    assert "bridge, host-local, which are not in /none" in only(runtime.network(node)).what
    for name in ("bridge", "host-local"):
        (programs / name).touch()
    assert list(runtime.network(node)) == []
    (folder / "10-a.conflist").write_text("{")
    assert "10-a.conflist: no JSON" in only(runtime.network(node)).what
    (folder / "10-a.conflist").write_text('{"plugins": [{"type": "bridge"}]}')
    assert "2 network configurations; 10-a.conflist is taken" in only(runtime.network(node)).what


def test_settings_of_cri_o_are_understood_too(bench: Bench) -> None:
    file = bench.folder / "crio.conf"
    file.write_text('cgroup_manager = "cgroupfs"\nnetwork_dir = "/n"\nplugin_dirs = [\n "/p",\n "/q",\n]\n')
    found = Runtime(Path("/s"), "", process("/usr/bin/crio", "--config", str(file)))
    assert runtime.driver_of(found) == "cgroupfs"
    assert runtime.folders_of(found) == (Path("/n"), (Path("/p"), Path("/q")))


# --- room


def state_of(*, free: int, size: int = 10 * GIB, inodes: int = 1000, inodes_free: int = 900, flags: int = 0) -> Any:
    return os.statvfs_result((4096, 4096, size // 4096, free // 4096, free // 4096, inodes, inodes_free, inodes_free,
                              flags, 255))  # fmt: skip


@pytest.mark.parametrize(
    ("state", "thresholds", "levels"),
    [
        (state_of(free=5 * GIB), {"nodefs.available": "10%"}, []),
        (state_of(free=GIB // 2), {"nodefs.available": "10%"}, ["error"]),
        (state_of(free=GIB * 11 // 10), {"nodefs.available": "10%"}, ["warning"]),
        (state_of(free=GIB // 2), {"imagefs.available": "1Gi"}, ["error"]),
        (state_of(free=1024), {}, ["error"]),
        (state_of(free=5 * GIB, inodes_free=20), {}, ["error"]),
        (state_of(free=5 * GIB, inodes_free=80), {"nodefs.inodesFree": "10%"}, ["error"]),
        (state_of(free=5 * GIB, inodes=0, inodes_free=0), {"nodefs.inodesFree": "10%"}, []),
    ],
)
def test_room_on_disks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, state: Any, thresholds: Mapping[str, str], levels: list[str]
) -> None:
    bench.kubelet(evictionHard={"memory.available": "1Mi", **thresholds})
    monkeypatch.setattr(room, "file_systems", lambda folders: _one_file_system(folders, state))
    assert [finding.level for finding in room.disk(bench.node())] == levels


def _one_file_system(folders: Mapping[str, Path], state: Any) -> tuple[room.FileSystem, ...]:
    del folders
    return REAL_FILE_SYSTEMS({"the kubelet": Path("/"), "images": Path("/")}, lambda _: state)


REAL_FILE_SYSTEMS = room.file_systems


@pytest.mark.parametrize(
    ("text", "bytes_"), [("10%", 100), ("100Mi", 100 * 1024**2), ("1G", 10**9), ("512", 512), ("often", 0)]
)
def test_thresholds_are_read_as_the_kubelet_reads_them(text: str, bytes_: int) -> None:
    assert room.quantity(text, 1000) == bytes_


def test_memory_and_load(bench: Bench) -> None:
    bench.kubelet()
    node = bench.node()
    node.proc = bench.root / "proc"
    node.proc.mkdir()
    (node.proc / "meminfo").write_text("MemTotal:  1000000 kB\nMemAvailable:  50000 kB\n")
    (node.proc / "loadavg").write_text(f"1 {(os.cpu_count() or 1) * 11} 1 1/1 1")
    memory, load = room.load(node)
    assert "48.8 MiB" in memory.what or "49 MiB of memory is left" in memory.what
    assert "11 for each processor" in load.what and load.level == "warning"


# --- files


def test_manifests_that_are_not_as_they_were_written(bench: Bench) -> None:
    bench.kubelet()
    (bench.folder / "manifests" / "broken.yaml").write_text("{")
    for name in ("a.yaml", "b.yaml"):
        (bench.folder / "manifests" / name).write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: twin}\n")
    several, bad = manifest_files.manifests(bench.node())
    assert "pod default/twin is in 2 files: a.yaml, b.yaml" in several.what
    assert several.mend.endswith(f"rm {bench.folder}/manifests/b.yaml")
    assert "broken.yaml: holds no pod" in bad.what and bad.level == "warning"


def test_files_with_secrets_that_others_can_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permissions, "_reachable", lambda path: path.parent.name != "cache")
    bench.store().close()
    (bench.folder / "cache" / "heat.json").write_text("{}")  # below a folder that is for root alone
    node = bench.node()
    assert list(permissions.permissions(node)) == []
    bench.settings().store_file.chmod(0o640)
    (bench.folder / "state").chmod(0o777)
    assert [finding.mend.split()[:2] for finding in permissions.permissions(node)] == [
        ["chmod", "0600"],
        ["chmod", "go-w"],
    ]


def test_a_folder_above_that_is_closed_keeps_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    assert not permissions._reachable(folder / "file")


# --- the machine


def test_a_clock_that_nobody_sets(bench: Bench) -> None:
    (bench.root / "run" / "systemd" / "system").mkdir(parents=True)
    bench.told["timedatectl"] = bench.told["--property=NTPSynchronized,NTP"] = "NTPSynchronized=no\nNTP=no"
    assert only(machine.clock(bench.node())).mend.startswith("timedatectl set-ntp true; ")
    bench.told["--property=NTPSynchronized,NTP"] = "NTPSynchronized=yes\nNTP=yes"
    assert list(machine.clock(bench.node())) == []
    bench.now = 0
    assert only(machine.clock(bench.node())).level == "error"


def test_releases_of_python_and_os_collect_config(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(machine.versions(bench.node())) == []
    assert only(machine.versions(bench.node(), (3, 9))).what == "Python 3.9"
    monkeypatch.setattr(metadata, "version", lambda _: "13.0.0")
    assert only(machine.versions(bench.node())).what == "os-collect-config is 13.0"


def pod_status(**container: Any) -> PodStatus:
    base = ContainerStatus(
        name="c",
        init=False,
        image="app:1",
        image_id="sha256:1",
        container_id="1",
        ready=True,
        restart_count=0,
        state=ContainerState.RUNNING,
    )
    return PodStatus(
        uid="u",
        namespace="default",
        name="web-node",
        annotations={},
        phase="Running",
        reason="",
        message="",
        ready=True,
        sandbox_ready=True,
        pod_ip="",
        host_ip="",
        restart_policy="Always",
        containers=(replace(base, **container),),
    )


@pytest.mark.parametrize(
    ("container", "level", "words"),
    [
        ({}, "", ""),
        ({"restart_count": 3, "last_exit_code": 9}, "note", "has been restarted: 3; it last ended with code 9"),
        ({"ready": False}, "error", 'container "c" runs, but is not ready'),
        ({"state": ContainerState.TERMINATED, "exit_code": 9}, "error", 'container "c" exited with code 9'),
        (
            {"state": ContainerState.WAITING, "reason": "ImagePullBackOff", "message": "no route"},
            "error",
            "image app:1 cannot be pulled (ImagePullBackOff): no route",
        ),
    ],
)
def test_pods_that_do_not_run_as_they_did(bench: Bench, container: Any, level: str, words: str) -> None:
    entry(bench, signal="delivered")
    store = bench.store()
    (pod,) = pods_of(raw_entry("one")["config"], identity=identity())
    store.put_pod(make_row(pod, identity(), uid="u"))
    store.close()
    bench.now += 100
    node = bench.node()
    node.view.__dict__["statuses"] = (pod_status(**container),)
    found = list(deployments.pods(node))
    assert [finding.level for finding in found] == ([level] if level else [])
    assert all(words in finding.what for finding in found)
