"""`diff` on a real node: the same; changed by hand; refused by the kubelet; gone; the kubelet down; mended again."""

from __future__ import annotations

import json
from typing import Any

from lab import deployments as heat
from lab import expected
from way import Way, several


def test_each_side_that_differs_is_named_and_resume_makes_them_the_same(way: Way) -> None:
    node = way.node

    def differs(*names: str) -> Any:
        done = node.agent("diff", *names)
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
        return done

    def shown(name: str) -> str:
        done = differs(name)
        assert (done.returncode, done.stderr) == (1, "")
        return str(done.stdout)

    one = way.entry("one", heat.pod("edited"))
    two = way.entry("two", several(heat.pod("refused"), heat.pod("removed"), heat.pod("kept")))
    way.deploy(one, two)
    for name in ("one", "two"):
        way.succeeds(name)
    way.wait_until_idle()
    done = differs()
    expected.check("diff/node-same", done.stdout)
    assert (done.returncode, done.stderr) == (0, "")

    files = {json.loads(file.read_text())["metadata"]["name"]: file for file in way.manifest_files()}
    before = node.pod("edited")
    edited = json.loads(files["edited"].read_text())
    edited["spec"]["containers"].append({**edited["spec"]["containers"][0], "name": "second"})
    files["edited"].write_text(json.dumps(edited))
    refused = json.loads(files["refused"].read_text())
    refused["spec"]["containers"][0]["name"] = "No_Name"
    files["refused"].write_text(json.dumps(refused))
    files["removed"].unlink()
    node.wait_for(lambda: not node.pod("removed") and not node.pod("refused"), "two pods to be gone")
    node.wait_for(lambda: len(node.pod("edited")["spec"]["containers"]) == 2, "the changed pod")  # type: ignore[index]
    node.wait_for(lambda: "running: same" in shown("one"), "both containers to run")
    expected.check("diff/node-changed-by-hand", shown("one"))
    node.wait_for(lambda: "refuses" in shown("two"), "the kubelet's word on the bad manifest")
    expected.check("diff/node-refused-and-removed", shown("two"))

    node.stop_kubelet()
    done = node.agent("diff", "one", "-o", "json")
    assert done.returncode == 1 and "kubelet: not seen:" in done.stderr
    (found,) = json.loads(done.stdout)
    assert [pod["running"] for pod in found["pods"]] == ["unknown"]
    node.start_kubelet()

    assert node.agent("resume").returncode == 0
    node.wait_for(lambda: differs().returncode == 0, "nothing to differ any more", timeout=90)
    after = node.pod("edited")
    assert before and after and before["metadata"]["uid"] != after["metadata"]["uid"]
