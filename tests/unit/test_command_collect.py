"""collect: every part is there, secrets are not, and what fails is in the tar as its error."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from commanded import Commanded
from samples import CFN_URL, PASSWORD, TEMP_URL, TOKEN_INPUTS
from support import pod_map, raw_entry
from test_bundle import members

from heat_config_kubelet import bundle, cli
from heat_config_kubelet.commands import collect
from heat_config_kubelet.commands.collect import DEPLOYMENT_LOOKS as LOOKS
from heat_config_kubelet.commands.collect import NODE_LOOKS
from heat_config_kubelet.signals import Answer, AnswerKind
from heat_config_kubelet.values import Result

IN_ENV, IN_SCRIPT, IN_CONFIG, IN_TEXT = (
    "planted-in-env-1",
    "planted-in-input-2",
    "planted-in-config-3",
    "planted text-4",
)
IN_COLLECTOR, IN_METADATA, IN_LOG, IN_FOREIGN = (
    "planted-5-conf",
    "planted-6-meta",
    "planted-7-token",
    "planted-8-foreign",
)
OF_URLS = ("PlantedSig/nature+123=", "PlantedTempSig0123")
PLANTED = (IN_ENV, IN_SCRIPT, IN_CONFIG, IN_TEXT, IN_COLLECTOR, IN_METADATA, IN_LOG, IN_FOREIGN, PASSWORD, *OF_URLS)


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commanded:
    made = Commanded(tmp_path, monkeypatch, capsys)
    monkeypatch.chdir(tmp_path)
    return made


def full_of_secrets(person: Commanded) -> None:
    """Every place that a secret may come from, and every one to which it may have gone."""
    node, folder = person.node, person.settings_file.parent
    env = [{"name": "DB_PASSWORD", "value": IN_ENV}]
    pods = pod_map(containers=[{"name": "c", "image": "registry.example/app:1", "env": env}])
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: text}\nspec:\n  containers:\n  - name: c\n    image: a:1\n"
    text += f'    env:\n    - name: API_TOKEN\n      value: "{IN_TEXT}"\n'
    script: dict[str, Any] = {"transport": "HEAT_SIGNAL", "inputs": {**TOKEN_INPUTS, "db_password": IN_SCRIPT}}
    node.hooks.results["c"] = Result(1, f"connected with {IN_SCRIPT}", f"refused: {IN_CONFIG}", {})
    node.heat.answers["a"] = [Answer(AnswerKind.REFUSED, "403 no such stack")]
    swift = {"deploy_signal_id": TEMP_URL, "deploy_signal_verb": "PUT"}
    node.collect(
        raw_entry("a", config=pods, inputs={"deploy_signal_id": CFN_URL}),
        raw_entry("b", resource="text", config=text, transport="TEMP_URL_SIGNAL", inputs=swift),
        raw_entry("c", resource="script", group="script", config={"secrets": {"x": IN_CONFIG}}, **script),
    )
    node.work()
    foreign = pod_map(
        "proxy", containers=[{"name": "c", "image": "p:1", "env": [{"name": "KEY", "value": IN_FOREIGN}]}]
    )
    (node.folder / "proxy.yaml").write_text(json.dumps(foreign))
    (folder / "os-collect-config.conf").write_text(
        f"[DEFAULT]\ncommand = heat-config-kubelet run\n[heat]\npassword = {IN_COLLECTOR}\nuser_id = u-1\n"
        f"[request]\nmetadata_url = {TEMP_URL}\n"
    )
    (node.settings.os_collect_config_cache / "heat.json").write_text(
        json.dumps({"os-collect-config": {"heat": {"password": IN_METADATA}}, "deployments": []})
    )
    lines = [
        f"INFO said {each} and {quote(each, safe='')} and {json.dumps(each)}" for each in PLANTED if each != IN_LOG
    ]
    lines += [f"DEBUG X-Auth-Token: {IN_LOG}", f"GET https://k.example/x?token={IN_LOG}", "the last line"]
    (folder / "loop.log").write_text("\n".join(lines) + "\n")


def test_no_secret_is_in_any_part(person: Commanded) -> None:
    full_of_secrets(person)
    ran = person.run("collect", "-o", "report.tar.gz")
    assert ran.status == 0, ran.err
    found = members(Path("report.tar.gz"))
    for planted in PLANTED:
        forms = {planted, quote(planted, safe=""), json.dumps(planted)[1:-1]}
        assert [name for name, text in found.items() if any(form in name + text for form in forms)] == [], planted
    assert "***" in found["store.json"] and "***" in found["os-collect-config.conf"] and "***" in found["logs/loop.log"]
    assert "the last line" in found["logs/loop.log"] and "user_id = u-1" in found["os-collect-config.conf"]
    assert "connected with ***" in found["store.json"], "what is no secret stays"


def test_every_part_is_there(person: Commanded) -> None:
    full_of_secrets(person)
    ran = person.run("collect")
    (file,) = Path().glob("heat-config-kubelet-*.tar.gz")
    assert str(file.absolute()) in ran.out and file.stat().st_mode & 0o777 == 0o600
    found = members(file)
    wanted = {"INDEX.txt", "versions.txt", "machine.txt", "settings.conf", "os-collect-config.conf", "folders.txt"}
    wanted |= {"store.json", "kubelet.yaml", "logs/loop.log"}
    assert wanted <= found.keys()
    assert sum(name.startswith("manifests/heat-web-") for name in found) == 1
    assert not any("proxy" in name for name in found), "manifests of others are not packed"
    there = cli.commands_of(cli.parser())
    for look in (*NODE_LOOKS, *LOOKS):
        assert look[0] in there, f"{look[0]} is no command any more"
        assert any(re.search(rf"(^|/){look[0]}\.(txt|json)$", name) for name in found), look
    assert json.loads(found["commands/status.json"]) and "shop" in found["commands/status.txt"]
    assert sum(name.startswith("deployments/shop-deploy-CREATE-a/") for name in found) == len(
        {(look[0], look[-1] == "json") for look in LOOKS}
    )
    rows = [json.loads(line) for line in found["store.json"].splitlines()]
    assert {"entry", "event", "pod", "setting", "source"} <= {row["table"] for row in rows if "table" in row}
    assert found["INDEX.txt"].count("\n") >= len(found)


def test_no_part_of_a_healthy_node_failed(person: Commanded) -> None:
    full_of_secrets(person)
    person.run("collect", "-o", "report.tar.gz")
    found = members(Path("report.tar.gz"))
    assert "failed" not in found["INDEX.txt"] and "not within" not in found["INDEX.txt"]
    bad = [name for name, text in found.items() if "Traceback" in text or "usage: " in text]
    assert bad == [], [found[name] for name in bad]


def test_a_broken_store_hides_nothing_else(person: Commanded) -> None:
    full_of_secrets(person)
    person.node.close()
    store = person.node.settings.store_file
    for path in store.parent.glob("store.sqlite-*"):
        path.unlink()
    store.write_bytes(b"no database at all" * 300)
    ran = person.run("collect", "-o", "report.tar.gz")
    found = members(Path("report.tar.gz"))
    assert ran.status == 0 and "store.json: could not be read" in ran.out
    assert "file is not a database" in found["store.json"] and "the last line" in found["logs/loop.log"]
    assert any(name.startswith("manifests/heat-web") for name in found)
    assert [name for name, text in found.items() if IN_ENV in text] == [], "manifests still tell what is secret"


def test_a_store_on_a_read_only_disk_is_packed(person: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    full_of_secrets(person)
    person.node.other.fold()
    connect = sqlite3.connect

    def read_only(where: Any, **how: Any) -> Any:
        if "mode=ro" in str(where) and "immutable" not in where:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(where, **how)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    assert person.run("collect", "-o", "report.tar.gz").status == 0
    found = members(Path("report.tar.gz"))["store.json"]
    assert found.startswith("(unable to open database file; read as it is") and '"table": "entry", "rows": 3' in found


def test_without_anything_there_is_still_a_report(person: Commanded) -> None:
    person.node.close()
    for path in person.node.settings.state_dir.glob("store.sqlite*"):
        path.unlink()
    assert person.run("collect", "-o", "report.tar.gz").status == 0
    found = members(Path("report.tar.gz"))
    assert "there is no store" in found["store.json"] and "could not be read" in found["INDEX.txt"]


def test_bad_settings_are_in_the_report_and_do_not_prevent_it(person: Commanded) -> None:
    person.settings_file.write_text(person.settings_file.read_text() + "[signals]\ntimeout = soon\n")
    assert person.run("collect", "-o", "report.tar.gz").status == 0
    found = members(Path("report.tar.gz"))
    assert "timeout = soon" in found["settings.conf"] and "must be a number of seconds" in found["commands/status.txt"]


def test_a_part_that_hangs_or_breaks_is_said_and_the_rest_is_there(
    person: Commanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.node.collect(raw_entry("a"))
    person.node.work()

    def broken(_: object) -> int:
        raise ZeroDivisionError("a bug of ours")

    def hangs(*_: Any) -> str:
        time.sleep(30)
        return ""

    monkeypatch.setattr(collect, "_PART_SECONDS", 0.5)
    monkeypatch.setattr(collect, "_machine", hangs)
    monkeypatch.setattr("heat_config_kubelet.commands.status.main", broken)
    ran = person.run("collect", "-o", "report.tar.gz")
    found = members(Path("report.tar.gz"))
    assert "machine.txt: not within 0.5 s" in ran.out and "commands/status.txt: failed" in ran.out
    assert "a bug of ours" in found["commands/status.txt"] and found["machine.txt"] == ""
    assert '"table": "entry"' in found["store.json"]


def test_under_systemd_the_journal_of_each_unit_is_packed(person: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def run(command: tuple[str, ...]) -> str:
        asked.append(command)
        return f"said by {command[2]}, http://u:{IN_LOG}@proxy.example\n" if command[0] == "journalctl" else ""

    monkeypatch.setattr(collect, "run_text", run)
    person.settings_file.write_text(person.settings_file.read_text().replace("systemd = no", "systemd = yes"))
    assert person.run("collect", "-o", "report.tar.gz").status == 0
    found = members(Path("report.tar.gz"))
    for unit in ("heat-config-kubelet", "os-collect-config", "kubelet", "containerd", "heat-config-kubelet-user-data"):
        assert found[f"logs/{unit}.service.log"] == f"said by {unit}.service, http://***@proxy.example\n"
    journal = [command for command in asked if command[0] == "journalctl"]
    assert all("--since" in command and "-1h" in command for command in journal)


def test_a_log_that_is_too_long_is_cut_and_that_is_said(person: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_EACH", 20000)
    log = person.settings_file.parent / "loop.log"
    log.write_text("".join(f"line {number}\n" for number in range(5000)))
    ran = person.run("collect", "-o", "report.tar.gz")
    found = members(Path("report.tar.gz"))
    assert "logs/loop.log: the first" in ran.out and found["logs/loop.log"].endswith("line 4999\n")
    assert len(found["logs/loop.log"]) <= 20100


def test_a_file_that_cannot_be_written_is_one_line(person: Commanded) -> None:
    ran = person.run("collect", "-o", "/nonexistent/report.tar.gz")
    assert ran.status == 1 and "No such file or directory" in ran.err and "Traceback" not in ran.err


def test_after_a_time_deployments_are_left_out_and_that_is_said(
    person: Commanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.node.collect(raw_entry("a"))
    person.node.work()
    monkeypatch.setattr(collect, "_ALL_SECONDS", -1.0)
    monkeypatch.setattr(collect, "DEPLOYMENT_LOOKS", (("status", "{}"),))
    person.run("collect", "-o", "report.tar.gz")
    found = members(Path("report.tar.gz"))
    assert "left out: -1 s are over" in found["INDEX.txt"] and "commands/status.txt" in found
