"""resend, redeploy, restart, forget, collect on a real node, by a person: what Heat hears, and which pods are new."""

from __future__ import annotations

import io
import json
import stat
import tarfile
from pathlib import Path
from typing import Any

from lab import deployments as heat
from lab.receiver import Fault
from way import Way, several

PLANTED = "planted-in-the-env-of-one"
NAMES = ("left", "right", "single")


def uids(way: Way) -> dict[str, str]:
    """The UID of each pod as the kubelet has it."""
    return {name: str(way.ready_pod(name)["metadata"]["uid"]) for name in NAMES}


def told(way: Way, *command: str, status: int = 0) -> Any:
    """Have a person's agreed command done, waited for, and what came of it."""
    done = way.node.agent(*command, "--yes", "--wait", "-o", "json")
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def refused(way: Way, *command: str) -> str:
    done = way.node.agent(*command)
    assert done.returncode in (1, 2) and not done.stdout and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done.stderr


def test_what_a_person_asks_for_is_done_by_the_loop(way: Way, tmp_path: Path) -> None:
    node = way.node
    env = {"env": [{"name": "DB_PASSWORD", "value": PLANTED}]}
    one = way.entry("one", heat.pod("single", f"echo {PLANTED}; exec sleep 3600", container=env))
    two = way.entry("two", several(heat.pod("left"), heat.pod("right")), transport="TEMP_URL_SIGNAL")
    way.receiver.fail("/v1/signal/", Fault(404, body=b"no such stack"))
    way.deploy(one, two)
    way.succeeds("two")
    way.wait_until_settled(one, two)
    way.wait_until_idle()
    before = uids(way)

    # --- a result again: also one that was refused
    assert way.entries()[one["id"]].signal == "refused"
    assert "404" in told(way, "resend", "one", status=1)["outcome"]
    way.receiver.mend()
    assert told(way, "resend", "one")["succeeded"] is True
    tries = [request for request in way.receiver.requests if "/v1/signal/" in request.path]
    assert [request.status for request in tries] == [404, 404, 200]
    assert tries[0].raw == tries[2].raw, "the very same result"
    told(way, "resend", "lab/two")
    assert way.succeeds("two") and uids(way) == before

    # --- a deployment again: Heat, which has its result, is not told unless that is asked for
    assert told(way, "redeploy", "two")["outcome"] == "lab/two: succeeded"
    again = uids(way)
    assert {name for name in NAMES if again[name] != before[name]} == {"left", "right"}
    way.no_more_signals("two")
    told(way, "redeploy", "two", "--signal")
    assert way.succeeds("two")

    # --- one pod again; its neighbour is not touched
    kept, before = way.containers("right", "single"), uids(way)
    assert told(way, "restart", "default/left")["outcome"].startswith("pod default/left: ready, as ")
    after = uids(way)
    assert after["left"] != before["left"] and way.containers("right", "single") == kept
    way.no_more_signals("two")

    # --- the loop is killed right after it was told, and the next one takes it up
    assert node.agent("redeploy", "one", "--yes").returncode == 0
    node.kill_agent()
    assert node.agent("resume").returncode == 0
    node.wait_for(lambda: uids(way)["single"] not in (before["single"], ""), "the pod to be a new one")
    way.wait_until_settled(one, two)
    assert len(way.receiver.signals("one")) == 1

    # --- nobody to ask, nothing done; what must not be done is refused
    assert "--yes" in refused(way, "resend", "one") and len(way.receiver.signals("one")) == 1
    assert "is in the metadata" in refused(way, "forget", "two", "--yes")
    assert "there is no" in refused(way, "restart", "absent", "--yes")

    # --- a report, in which no secret is
    file = tmp_path / "report.tar.gz"
    done = node.agent("collect", "-o", str(file))
    assert done.returncode == 0 and str(file) in done.stdout, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = members(file)
    secrets = (PLANTED, "bGFiLXNpZ25hdHVyZQ", "0f1e2d3c")
    assert [name for name, text in found.items() if any(secret in text for secret in secrets)] == []
    assert {row["resource"] for row in json.loads(found["commands/status.json"])} == {"one", "two"}
    assert "***" in next(text for name, text in found.items() if name.startswith("manifests/heat-single-"))
    assert "manifest written" in found["logs/loop.log"] and "SyncLoop" in found["logs/kubelet.log"]
    assert "kubelet: Kubernetes v" in found["versions.txt"] and "containerd: " in found["versions.txt"]
    assert not [name for name, text in found.items() if "Traceback" in text]

    # --- what has vanished is forgotten
    way.deploy(one)
    way.wait_until_gone(two)
    node.wait_for(lambda: not node.pod("left") and not node.pod("right"), "the pods to be gone")
    way.wait_until_idle()
    assert node.agent("forget", "two", "--yes").returncode == 0
    assert "there is no deployment two" in refused(way, "forget", "two", "--yes")
    assert two["id"].encode() not in (node.state_dir / "store.sqlite").read_bytes()


def members(file: Path) -> dict[str, str]:
    """Every text of a tar by its name without the folder."""
    with tarfile.open(file) as tar:
        return {each.name.partition("/")[2]: (tar.extractfile(each) or io.BytesIO()).read().decode() for each in tar}
