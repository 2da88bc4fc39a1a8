"""The story of `tools/demo`: two deployments whose metadata are files, and a small service that stands for Heat."""

from __future__ import annotations

import textwrap
from typing import Any

from . import deployments as make
from .demo import Demo, Story
from .deployments import Metadata
from .node import LabNode
from .receiver import Receiver


class PlainStory(Story):
    """What is shown, in order."""

    def __init__(self, demo: Demo, node: LabNode, receiver: Receiver) -> None:
        super().__init__(demo, node)
        self.receiver = receiver
        self.signals: dict[str, int] = {}

    def tell(self) -> None:
        """Show all of it; raises where something is not seen."""
        web = make.deployment("web", make.pod("web", "exec sleep 3600"), self.receiver)
        worker = make.deployment("worker", make.pod("worker"), self.receiver, transport="ZAQAR_SIGNAL")
        self.deploy(web, worker)
        before = self.container("worker")
        web = self.update(web, worker)
        self.break_and_mend(web, worker)
        self.expect_untouched("worker", before)
        with self.demo.step("both deployments are removed") as seen:
            self.node.collector.set(make.metadata())
            self.expect_nothing()
            seen.result = "no pod and no container is left"
        self.demo.complete = True

    def deploy(self, web: Metadata, worker: Metadata) -> None:
        """Show that both come."""
        with self.demo.step("os-collect-config brings two deployments; both pods run and are signalled") as seen:
            self.node.collector.set(make.metadata(web, worker))
            self.node.collector.start()
            for name in ("web", "worker"):
                self.signal(name, failed=False)
            self.expect_running("web", "worker")
            seen.result = "2 signals with status code 0; the runtime runs both"

    def update(self, web: Metadata, worker: Metadata) -> Metadata:
        """Show that one changes; give it as it is then."""
        before = self.container("web")
        with self.demo.step("one is updated") as seen:
            web = make.again(web, "UPDATE", make.pod("web", "echo version 2; exec sleep 3600"))
            self.node.collector.set(make.metadata(web, worker))
            self.signal("web", failed=False)
            self.expect(self.container("web") != before, "the old container of web still runs")
            seen.result = "status code 0; a new container runs"
        return web

    def break_and_mend(self, web: Metadata, worker: Metadata) -> None:
        """Show that one fails, with the reason, and comes back."""
        absent = self.receiver.absent_image
        with self.demo.step("it is broken on purpose: an image that does not exist") as seen:
            web = make.again(web, "UPDATE", make.pod("web", image=absent))
            self.node.collector.set(make.metadata(web, worker))
            told = self.signal("web", failed=True)
            self.expect(absent in str(told["deploy_stderr"]), "deploy_stderr does not name the image")
            seen.result = "FAILED, with the runtime's own reason"
        with self.demo.step("it is mended: Heat replaces it, so old and new entry are there together") as seen:
            mended = make.deployment("web", make.pod("web", "echo mended; exec sleep 3600"), self.receiver)
            self.node.collector.set(make.metadata(web, mended, worker))
            self.signal("web", failed=False)
            self.node.collector.set(make.metadata(mended, worker))
            self.wait(lambda: self.container("web") in self.node.running_containers(), "the mended pod to run")
            seen.result = "status code 0; it runs again"

    def signal(self, name: str, *, failed: bool) -> dict[str, Any]:
        """Wait for the next signal of a deployment, show it, and check its status code."""
        count = self.signals[name] = self.signals.get(name, 0) + 1
        told = dict(self.receiver.wait_for_signal(name, count=count, timeout=120).signal)
        print(textwrap.indent(_shown(name, told), "             "), flush=True)
        self.expect(bool(told["deploy_status_code"]) == failed, f"{name} was signalled with another status code")
        return told


def _shown(name: str, told: dict[str, Any]) -> str:
    """A signal as lines for a person."""
    lines = [f"signal for {name}: deploy_status_code {told['deploy_status_code']}"]
    for key in ("deploy_stdout", "deploy_stderr"):
        lines += [f"  {key}: {line}" for line in str(told[key]).splitlines()]
    return "\n".join(lines)
