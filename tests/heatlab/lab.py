"""The lab as a whole: starts the services in order, stops and kills single ones, and leaves nothing behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from keystoneauth1 import exceptions
from lab import packages
from lab.progress import Progress

from . import certificates, identity, services_environment, settings, several
from . import plan as plans
from .nova import Nova
from .plan import Plan
from .processes import HeatLabError, Service

PACKAGES = ("openssl", "redis-server")
_PROGRAMS = Path(__file__).parent / "programs"
_READY_SECONDS = 90.0
_HEAT_APIS = ("heat-api", "heat-api-cfn")


class HeatLab:
    """Real OpenStack in a folder, as a context manager: started on entry, wholly gone on exit but for its logs.

    `stop_service` and `start_service` take one away and bring it back, as does `kill_service` without warning.
    """

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        *,
        shape: str = plans.FEW,
        tls: bool = False,
        convergence: bool = True,
        cache: bool = True,
        engine_workers: int = 1,
    ) -> None:
        self.plan: Plan = plans.make(
            folder, shape=shape, tls=tls, convergence=convergence, cache=cache, engine_workers=engine_workers
        )
        self.progress = progress
        self.seconds = 0.0
        """How long `start` took."""
        self._services: dict[str, Service] = {}
        self._nova: Nova | None = None

    def __enter__(self) -> HeatLab:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- its life

    def start(self) -> None:
        """Bring what is missing, start everything, and wait until all of it answers."""
        wanted = [*PACKAGES, *(several.PACKAGES if self.plan.shape == plans.SEVERAL else ())]
        packages.install(wanted, self.progress)
        environment = services_environment.folder(self.progress)
        began = time.monotonic()
        self.plan.store()
        settings.write_all(self.plan, environment / "etc" / "heat" / "api-paste.ini")
        self._make_rings(environment)
        if self.plan.tls:
            certificates.make(self.plan.folder / "tls")
        self._services = {service.name: service for service in self._make_services(environment)}
        self._nova = Nova(self.plan.ports["nova"])
        self._start_in_order()
        self.seconds = time.monotonic() - began
        self.progress.say(f"OpenStack: ready after {self.seconds:.1f} s, Keystone is {self.plan.url('keystone')}/v3")

    def close(self) -> None:
        """End all of it, and remove its files except the logs."""
        for service in reversed(self._services.values()):
            service.stop()
        self._services = {}
        if self._nova:
            self._nova.stop()
            self._nova = None
        for path in self.plan.folder.iterdir() if self.plan.folder.is_dir() else ():
            if path.is_dir() and path != self.plan.logs:
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()

    # --- single services

    @property
    def nova(self) -> Nova:
        """The stand-in for Nova."""
        assert self._nova
        return self._nova

    def stop_service(self, name: str) -> None:
        """Take a service away: its port is closed, and all connections with it."""
        host = self._host(name)
        if host == name:
            self._services[name].stop()
        else:
            self._services[host].order("stop", name)

    def kill_service(self, name: str) -> None:
        """End a service's process without warning; with heat-engine of the shape of few processes go Heat's APIs."""
        self._services[name].kill()

    def start_service(self, name: str) -> None:
        """Bring a service back, and wait until it answers."""
        host = self._host(name)
        if host == name:
            self._services[name].start()
            self._wait_until_ready(name)
        else:
            self._services[host].order("start", name)
        self._wait_for_answer(name)

    def last_lines(self, count: int = 15) -> str:
        """The ends of all logs."""
        return "\n".join(service.last_lines(count) for service in self._services.values())

    def memory(self) -> dict[str, int]:
        """What each process has in memory, in MB."""
        return {name: round(service.memory() / 1024) for name, service in self._services.items()}

    # --- how

    def _make_services(self, environment: Path) -> list[Service]:
        """All processes, in the order of their start."""
        plan, python = self.plan, environment / "bin" / "python"

        def program(name: str, file: str, *arguments: object) -> Service:
            command = [str(python), "-W", "ignore", str(_PROGRAMS / file), *map(str, arguments)]
            return Service(name, command, plan.logs / f"{name}.log")

        made = [Service("redis", several.redis_command(plan), plan.logs / "redis.log", keeper=True)]
        if plan.tls:
            pairs = [f"{plan.ports[f'{name}-tls']}={plan.ports[name]}" for name in plans.PUBLIC]
            proxy = [sys.executable, "-I", str(Path(__file__).with_name("tls_proxy.py"))]
            made.append(
                Service("tls", [*proxy, str(plan.folder / "tls" / "server.pem"), *pairs], plan.logs / "tls.log")
            )
        heat, ports = plan.folder / "heat" / "heat.conf", plan.ports
        keystone = plan.folder / "keystone" / "keystone.conf"
        made += [
            program("keystone", "run_keystone.py", keystone, ports["keystone"], plan.scheme, plan.password),
            program("swift", "run_swift.py", plan.folder / "swift"),
            program("zaqar", "run_zaqar.py", plan.folder / "zaqar" / "zaqar.conf", ports["zaqar"], plan.scheme),
        ]
        apis = [f"{name}={ports[name]}" for name in _HEAT_APIS]
        if plan.shape == plans.FEW:
            made.append(program("heat-engine", "run_heat.py", heat, plan.scheme, "heat-engine", *apis))
        return made

    def _start_in_order(self) -> None:
        self.progress.say(f"OpenStack: starting {', '.join(self._services)} …")
        for service in self._services.values():
            service.start()
        for name in self._services:
            self._wait_until_ready(name)
            if name == "keystone":
                identity.set_up(self.plan)
        for name in ("keystone", *_HEAT_APIS, "swift", "zaqar"):
            self._wait_for_answer(name)
        self._wait_for_engine()

    def _wait_until_ready(self, name: str) -> None:
        if name not in several.KEPT:
            self._services[name].wait_until_ready()

    def _host(self, name: str) -> str:
        """The process that a service is in."""
        if name in self._services:
            return name
        if name in _HEAT_APIS and "heat-engine" in self._services:
            return "heat-engine"
        raise HeatLabError(f"no such service: {name}; there are {', '.join([*self._services, *_HEAT_APIS])}")

    def _wait_for_answer(self, name: str) -> None:
        path = {"keystone": "/v3", "zaqar": "/"}.get(name, "/healthcheck")
        if name in plans.PUBLIC:
            self.wait_for(lambda: _answers(self.plan.local_url(name) + path), f"{name} to answer")

    def _wait_for_engine(self) -> None:
        """Wait for Heat's engine to answer through its API."""
        heat = identity.adapter(self.plan, "orchestration")
        self.wait_for(lambda: heat.get("/build_info").status_code == 200, "heat-engine to answer")

    def wait_for(self, look: Callable[[], bool], what: str, timeout: float = _READY_SECONDS) -> None:
        """Look again and again until it is true; HeatLabError after `timeout`, or where a process has ended."""
        end, last = time.monotonic() + timeout, ""
        while True:
            try:
                if look():
                    return
            except (OSError, exceptions.ClientException) as error:
                last = str(error)
            dead = [name for name, service in self._services.items() if not service.running]
            if dead or time.monotonic() > end:
                why = f"{', '.join(dead)} ended" if dead else f"not within {timeout:g} s: {last}"
                raise HeatLabError(f"waited for {what}: {why}\n{self.last_lines()}")
            time.sleep(0.1)

    def _make_rings(self, environment: Path) -> None:
        """Make Swift's rings, of one device and one replica each."""
        script = (
            "import sys; from swift.common.ring import RingBuilder\n"
            "for name, port in zip(('account', 'container', 'object'), sys.argv[2:]):\n"
            "    builder = RingBuilder(1, 1, 0)\n"
            "    builder.add_dev(dict(id=0, region=1, zone=1, weight=1, ip='127.0.0.1', port=int(port), device='d'))\n"
            "    builder.rebalance()\n"
            "    builder.get_ring().save(f'{sys.argv[1]}/{name}.ring.gz')\n"
        )
        ports = [str(self.plan.ports[f"swift-{name}"]) for name in ("account", "container", "object")]
        command: Sequence[str] = [str(environment / "bin" / "python"), "-W", "ignore", "-c", script]
        done = subprocess.run(
            [*command, str(self.plan.folder / "swift"), *ports], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise HeatLabError(f"Swift's rings cannot be made:\n{done.stderr}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
