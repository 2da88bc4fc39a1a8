"""The story of `tools/demo --heat`: a stack of two deployments through real Heat, with Heat's own words."""

from __future__ import annotations

import shlex
import textwrap
from typing import Any

from lab import deployments as make
from lab.demo import Demo, Story
from lab.node import LabNode

from . import templates
from .client import Client
from .guest import Guest
from .plan import Plan
from .stacks import Stack, Stacks

_NAME = "demo"


class HeatStory(Story):
    """What is shown, in order."""

    def __init__(self, demo: Demo, node: LabNode, plan: Plan, client: Client, absent_image: str) -> None:
        """`absent_image`: one of which a registry says that there is none."""
        super().__init__(demo, node)
        self.stacks = Stacks(plan)
        self.client = client
        self.absent_image = absent_image

    def tell(self) -> None:
        """Show all of it; raises where something is not seen."""
        stack = self.create()
        before = self.container("worker")
        self.update(stack)
        self.break_and_mend(stack)
        self.expect_untouched("worker", before)
        with self.demo.step("the stack is deleted; Heat waits for the worker, whose actions have DELETE") as seen:
            stack.delete()
            seconds = stack.wait_for("DELETE_COMPLETE")
            self.expect_nothing()
            seen.result = f"DELETE_COMPLETE after {seconds:.1f} s; no pod and no container is left"
        self.demo.complete = True

    def create(self) -> Stack:
        """Show that the stack comes."""
        with self.demo.step("a stack is created; its server boots, both pods run and are signalled") as seen:
            stack = self.stacks.create(_NAME, _template(make.pod("web")))
            Guest(self.node).boot(stack)
            seconds = stack.wait_for("CREATE_COMPLETE")
            self.show("output", "show", _NAME, "web")
            self.expect_running("web", "worker")
            seen.result = f"CREATE_COMPLETE after {seconds:.1f} s; the runtime runs both"
        return stack

    def update(self, stack: Stack) -> None:
        """Show that one deployment changes."""
        before = self.container("web")
        with self.demo.step("one pod is updated") as seen:
            stack.update(_template(make.pod("web", "echo version 2; exec sleep 3600")))
            seconds = stack.wait_for("UPDATE_COMPLETE")
            self.expect(self.container("web") not in ("", before), "no new container of web runs")
            seen.result = f"UPDATE_COMPLETE after {seconds:.1f} s; a new container runs"

    def break_and_mend(self, stack: Stack) -> None:
        """Show that it fails, with the reason, and comes back."""
        with self.demo.step("it is broken on purpose: an image that does not exist") as seen:
            stack.update(_template(make.pod("web", image=self.absent_image)))
            seconds = stack.wait_for("UPDATE_FAILED")
            told = self.show("failures", "list", _NAME)
            self.expect(self.absent_image in told, "what openstack shows does not name the image")
            seen.result = f"UPDATE_FAILED after {seconds:.1f} s, with the runtime's own reason"
        with self.demo.step("it is mended: Heat replaces the deployment that failed") as seen:
            stack.update(_template(make.pod("web", "echo mended; exec sleep 3600")))
            seconds = stack.wait_for("UPDATE_COMPLETE")
            self.expect_running("web")
            seen.result = f"UPDATE_COMPLETE after {seconds:.1f} s; it runs again"

    def show(self, *arguments: str) -> str:
        """Run `openstack stack` with these arguments, and show what it says."""
        done = self.client.run("stack", *arguments)
        shown = f"$ openstack stack {shlex.join(arguments)}\n{done.stdout or done.stderr}"
        print(textwrap.indent(shown.rstrip(), " " * 13), flush=True)
        self.expect(done.returncode == 0, f"openstack ended with exit status {done.returncode}: {done.stderr}")
        return done.stdout


def _template(pod: dict[str, Any]) -> dict[str, Any]:
    """Give a template of one server that runs this pod, called web, and a worker."""
    return templates.template(
        templates.server("POLL_SERVER_HEAT"),
        templates.deployment("web", pod, "TEMP_URL_SIGNAL", outputs=["pod_ip"], error_outputs=["why"]),
        templates.deployment("worker", make.pod("worker"), "ZAQAR_SIGNAL", actions=["DELETE"]),
        outputs={"web": {"get_attr": ["web", "deploy_stdout"]}},
    )
