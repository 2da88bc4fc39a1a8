"""What every demo needs: steps that are timed and told of, a summary, and an end that leaves nothing."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .node import LabNode
from .progress import Progress


class NotSeenError(Exception):
    """Something that should be seen was not."""


@dataclass
class Seen:
    """One step of the summary."""

    what: str
    result: str
    seconds: float
    good: bool


class Demo:
    """Keeps what was seen, and says that a long step still goes on."""

    def __init__(self, say: Progress) -> None:
        self.say = say
        self.seen: list[Seen] = []
        self.interrupted = False
        self.complete = False

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[Seen]:
        """Time a step; where it raises it is noted as not seen."""
        began = time.monotonic()
        found = Seen(what, "not seen", 0.0, good=False)
        self.seen.append(found)
        self.say.say(f"{what} …")
        over = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(what, began, over), daemon=True)
        ticker.start()
        try:
            yield found
            found.good = True
            if found.result == "not seen":
                found.result = "done"
        finally:
            over.set()
            ticker.join()
            found.seconds = time.monotonic() - began
        self.say.say(f"{what}: {found.result} ({found.seconds:.1f} s)")

    @contextlib.contextmanager
    def ending(self, close: Callable[[], None]) -> Iterator[None]:
        """Note an interruption, and close what is open in any case; nothing interrupts that."""
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = True
            self.say.say("interrupted")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            close()

    def summary(self) -> int:
        """Print the summary and give the exit status."""
        print("\nSummary")
        width = max(len(item.what) for item in self.seen)
        for item in self.seen:
            print(f"  {'ok ' if item.good else 'NOT'}  {item.what:{width}}  {item.seconds:6.1f} s  {item.result}")
        if self.interrupted:
            print("Interrupted.")
            return 130
        good = self.complete and all(item.good for item in self.seen)
        print("Everything was seen that should be." if good else "Not everything was seen that should be.")
        return 0 if good else 1

    def _tick(self, what: str, began: float, over: threading.Event) -> None:
        while not over.wait(5):
            self.say.say(f"{what}: {time.monotonic() - began:.0f} s so far")


class Story(ABC):
    """What is shown on a node, in order; `tell` is each demo's own."""

    def __init__(self, demo: Demo, node: LabNode) -> None:
        self.demo = demo
        self.node = node

    @abstractmethod
    def tell(self) -> None:
        """Show all of it; raises where something is not seen."""

    def container(self, name: str) -> str:
        """The id of the running container of a pod, empty where it has none."""
        pod = self.node.pod(name) or {}
        for item in pod.get("status", {}).get("containerStatuses", []):
            if "running" in item["state"]:
                return str(item["containerID"]).removeprefix("containerd://")
        return ""

    def expect_running(self, *names: str) -> None:
        """Raise NotSeenError where the runtime does not run one of these pods."""
        running = self.node.running_containers()
        for name in names:
            self.expect(self.container(name) in running, f"the runtime does not run {name}")

    def expect_untouched(self, name: str, before: str) -> None:
        """Show that a pod's container is the one that it was."""
        with self.demo.step("the other pod was never restarted") as seen:
            self.expect(self.container(name) == before, f"the container of {name} is another one now")
            seen.result = f"still container {before[:12]}"

    def expect_nothing(self) -> None:
        """Wait until nothing is left of any pod."""
        self.wait(lambda: not self.node.pods() and not self.node.pods_left(), "no pod to be left")
        self.wait(lambda: not self.node.running_containers(), "no container to be left")

    def wait(self, look: Callable[[], bool], what: str) -> None:
        """Wait until something is true."""
        self.node.wait_for(look, what, timeout=60)

    def expect(self, true: bool, otherwise: str) -> None:
        """Raise NotSeenError with what is `otherwise` where it is not true."""
        if not true:
            raise NotSeenError(otherwise)
