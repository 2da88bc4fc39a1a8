"""The lab as a whole: starts the services in order, stops and kills single ones, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from keystoneauth1 import exceptions
from lab import packages
from lab.progress import Progress

from . import certificates, debian, identity, services_environment, settings
from . import plan as plans
from .nova import Nova
from .plan import Plan
from .processes import HeatLabError, Service

_PROGRAMS = Path(__file__).parent / "programs"
_READY_SECONDS = 240.0
_ESTABLISHED = "01"
"""A connection's state in /proc/net/tcp (net/tcp_states.h)."""
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
        auth_ttl: int = plans.AUTH_TTL,
        address: str = plans.LOOPBACK,
    ) -> None:
        """`address`: of this machine, where the public services listen and are called."""
        self.plan: Plan = plans.make(
            folder,
            shape=shape,
            tls=tls,
            convergence=convergence,
            cache=cache,
            engine_workers=engine_workers,
            auth_ttl=auth_ttl,
            address=address,
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
        several = debian.PACKAGES_OF_SEVERAL if self.plan.shape == plans.SEVERAL else ()
        packages.install([*debian.PACKAGES, *several], self.progress)
        environment = services_environment.folder(self.progress)
        began = time.monotonic()
        self.plan.store()
        settings.write_all(self.plan, environment / "etc" / "heat" / "api-paste.ini")
        self._make_rings(environment)
        if self.plan.tls:
            certificates.make(self.plan.folder / "tls", self.plan.address)
        self._nova = Nova(self.plan.address, self.plan.ports["nova"])
        self._start_foundation()
        self._start_openstack(environment)
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

    @contextlib.contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Have a service stopped for a while."""
        self.stop_service(name)
        try:
            yield
        finally:
            self.start_service(name)

    @contextlib.contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """Have a service's process killed, and start it again after a while."""
        self.kill_service(name)
        try:
            yield
        finally:
            self.start_service(name)

    @contextlib.contextmanager
    def hanging(self, name: str) -> Iterator[None]:
        """Have a service answer nothing for a while: its connections are taken, and wait."""
        process = self._services[self._host(name)]
        process.pause()
        try:
            yield
        finally:
            process.go_on()

    def losing_answers(self, name: str, method: str) -> contextlib.AbstractContextManager[None]:
        """Have a service get the requests of a method, while who sends them sees the connection cut; with TLS only."""
        return self._between("lose", name, method)

    def failing(self, name: str, method: str) -> contextlib.AbstractContextManager[None]:
        """Have requests of a method answered 500 in a service's place, which does not get them; with TLS only."""
        return self._between("fail", name, method)

    @contextlib.contextmanager
    def _between(self, what: str, name: str, method: str) -> Iterator[None]:
        place = f"{self.plan.ports[f'{name}-tls']} {method}"
        self._services["tls"].order(what, place)
        try:
            yield
        finally:
            self._services["tls"].order("pass", place)

    def connections(self, name: str) -> int:
        """How many connections to a service are open."""
        port = f":{self.plan.ports[name]:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(local.endswith(port) and state == _ESTABLISHED for _, local, _, state, *_ in rows)

    def last_lines(self, count: int = 15) -> str:
        """The ends of all logs."""
        return "\n".join(service.last_lines(count) for service in self._services.values())

    # --- how

    def _start_foundation(self) -> None:
        """Start what is not OpenStack's, and wait for it."""
        for service in debian.services(self.plan):
            self._start(service)
        for name in self._services:
            self.wait_for(lambda name=name: debian.listens(self.plan, name), f"{name} to listen")  # type: ignore[misc]
        if "postgresql" in self._services:
            debian.make_databases(self.plan, "keystone", "heat")
        if self.plan.tls:
            ports = self.plan.ports
            pairs = [f"{ports[f'{name}-tls']}={ports[name]}" for name in plans.PUBLIC]
            proxy = [sys.executable, "-I", str(Path(__file__).with_name("tls_proxy.py"))]
            certificate = str(self.plan.folder / "tls" / "server.pem")
            self._start(Service("tls", [*proxy, self.plan.address, certificate, *pairs], self.plan.logs / "tls.log"))
            self._services["tls"].wait_until_ready()

    def _start_openstack(self, environment: Path) -> None:
        """Start all services at once, and wait until each answers."""
        made = [*self._make_others(environment), *self._make_heat(environment)]
        self.progress.say(f"OpenStack: starting {', '.join(service.name for service in made)} …")
        for service in made:
            if service.name == "heat-engine" and self.plan.shape == plans.SEVERAL:
                self._make_tables(environment)
            self._start(service)
        self._wait_until_ready("keystone")
        identity.set_up(self.plan)
        for service in made:
            if service.name != "keystone":
                self._wait_until_ready(service.name)
        for name in ("keystone", *_HEAT_APIS, "swift", "zaqar"):
            self._wait_for_answer(name)
        self._wait_for_engine()

    def _start(self, service: Service) -> None:
        self._services[service.name] = service
        service.start()

    def _make_others(self, environment: Path) -> list[Service]:
        """The services beside Heat."""
        plan = self.plan
        keystone = (plan.folder / "keystone" / "keystone.conf", plan.place("keystone"), plan.scheme, plan.password)
        zaqar = (plan.folder / "zaqar" / "zaqar.conf", plan.place("zaqar"), plan.scheme)
        return [
            self._program(environment, "keystone", "run_keystone.py", *keystone),
            self._program(environment, "swift", "run_swift.py", plan.folder / "swift"),
            self._program(environment, "zaqar", "run_zaqar.py", *zaqar),
        ]

    def _make_heat(self, environment: Path) -> list[Service]:
        """Heat's engine and APIs: one process or three."""
        plan = self.plan
        config = plan.folder / "heat" / "heat.conf"
        apis = [f"{name}={plan.place(name)}" for name in _HEAT_APIS]
        if plan.shape == plans.FEW:
            return [self._program(environment, "heat-engine", "run_heat.py", config, plan.scheme, "heat-engine", *apis)]
        engine = [str(environment / "bin" / "heat-engine"), "--config-file", str(config)]
        return [
            self._service("heat-engine", engine, keeper=True),
            *(
                self._program(environment, name, "run_heat.py", config, plan.scheme, api)
                for name, api in zip(_HEAT_APIS, apis, strict=True)
            ),
        ]

    def _program(self, environment: Path, name: str, file: str, *arguments: object) -> Service:
        command = [str(environment / "bin" / "python"), "-W", "ignore", str(_PROGRAMS / file), *map(str, arguments)]
        return self._service(name, command)

    def _service(self, name: str, command: Sequence[str], *, keeper: bool = False) -> Service:
        """A service of OpenStack; it knows the private CA as if that were the machine's."""
        ca = {"REQUESTS_CA_BUNDLE": str(self.plan.ca), "SSL_CERT_FILE": str(self.plan.ca)} if self.plan.ca else {}
        log = self.plan.logs / f"{name}.log"
        return Service(name, command, log, keeper=keeper, environment={**os.environ, **ca})

    def _make_tables(self, environment: Path) -> None:
        """Make Heat's tables, as its administrator does."""
        config = str(self.plan.folder / "heat" / "heat.conf")
        command = [str(environment / "bin" / "heat-manage"), "--config-file", config, "db_sync"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise HeatLabError(f"Heat's tables cannot be made:\n{done.stderr}")

    def _wait_until_ready(self, name: str) -> None:
        if not self._services[name].keeper:
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
