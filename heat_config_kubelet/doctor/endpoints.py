"""Each endpoint that the polls and the signals need: its name, connection, certificate, clock, and Keystone's answer.

Most trouble begins here: a firewall. All are asked together, each step with a short limit, and the whole is bounded.
Nothing secret is sent but, to Keystone, what os-collect-config sends it at every poll; pre-signed URLs are asked
without their query.
"""

from __future__ import annotations

import contextlib
import ipaddress
import queue
import shlex
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..commands.console import duration
from ..overview import moment
from ..pki import read_certificate
from ..signals import CFN_SIGNAL, HEAT_SIGNAL, TEMP_URL_SIGNAL, ZAQAR_SIGNAL, shown_url, system_cas
from ..store import DONE, HOOK, PENDING
from . import processes
from .collector_file import CollectorFile
from .finding import Finding, error, warning
from .node import COLLECTOR_UNIT, Node

STEP_SECONDS = 3.0
ALL_SECONDS = 10.0
CLOCK_SECONDS = 30.0
"""So far a clock may be off: Keystone and certificates bear more, but a log that is off by more misleads."""
_FAR_SECONDS = 3600.0
_PORTS = {"http": 80, "https": 443}
_SERVICES = {"heat": "orchestration", "zaqar": "messaging", HEAT_SIGNAL: "orchestration", ZAQAR_SIGNAL: "messaging"}

Variables = Mapping[str, str]


@dataclass(frozen=True)
class Login:
    """What Keystone is asked for: a token, and in its catalog where a service is."""

    user: str
    password: str
    project: str
    region: str
    service: str
    """orchestration or messaging."""

    def __repr__(self) -> str:
        return f"Login({self.user})"


@dataclass(frozen=True)
class Endpoint:
    """A service to be reached."""

    url: str
    """Without query, user and password."""
    use: str
    """Who needs it, for a person: "the collector heat", "the signal of shop/web"."""
    verify: str | bool
    """A file or folder of CAs, True for those that `requests` brings, False for none."""
    ca_setting: str
    """What to set where its certificate is not trusted."""
    proxies: Variables
    """The environment's, as requests takes them."""
    login: Login | None = None

    @property
    def place(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class Link:
    """How to get to an endpoint: what answers, or None, and what is to be said."""

    findings: tuple[Finding, ...] = ()
    next: Endpoint | None = None
    """What Keystone's catalog names, to be asked too."""


Probe = Callable[[Endpoint, float], Link]
"""Asks an endpoint; its second argument is the time, in seconds since the epoch."""


def endpoints(node: Node, probe: Probe | None = None, limit: float = ALL_SECONDS) -> Iterator[Finding]:
    """Each endpoint that the polls and the signals need is reached, trusted, and has our time."""
    yield from _ca_files(node)
    if node.offline:
        return
    wanted = {(each.place, each.use, each.login): each for each in (*_of_polls(node), *_of_signals(node))}
    told: set[tuple[str, str]] = set()
    answers = list(asked(list(wanted.values()), probe or Prober().ask, limit, node.now))
    order = list(wanted.values())
    answers.sort(key=lambda answer: order.index(answer[0]) if answer[0] in order else len(order))
    for endpoint, link in answers:
        if link is None:
            yield error(
                f"{endpoint.place} ({endpoint.use}): no answer within {limit:g} s",
                why=_lost(endpoint),
                mend=_firewall(endpoint),
            )
            continue
        for finding in link.findings:
            if (endpoint.place, finding.mend) not in told:
                told.add((endpoint.place, finding.mend))
                yield finding


def asked(
    wanted: Sequence[Endpoint], probe: Probe, limit: float, now: Callable[[], float]
) -> Iterator[tuple[Endpoint, Link | None]]:
    """Ask all at once, and what Keystone's catalogs name after that; None for what has not answered in time.

    One thread for each place: several who need one place are told of it once.
    """
    done: queue.SimpleQueue[tuple[Endpoint, Link]] = queue.SimpleQueue()
    waiting: dict[int, Endpoint] = {}
    ends = time.monotonic() + limit

    def start(endpoint: Endpoint) -> None:
        waiting[id(endpoint)] = endpoint
        threading.Thread(
            target=lambda: done.put((endpoint, probe(endpoint, now()))), daemon=True, name="endpoint"
        ).start()

    for endpoint in wanted:
        start(endpoint)
    known = {(each.place, each.use) for each in wanted}
    while waiting:
        try:
            endpoint, link = done.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        del waiting[id(endpoint)]
        if link.next and (link.next.place, link.next.use) not in known:
            known.add((link.next.place, link.next.use))
            start(link.next)
        yield endpoint, link
    for endpoint in waiting.values():
        yield endpoint, None


# --- what is needed


def _of_polls(node: Node) -> Iterator[Endpoint]:
    try:
        file = node.collector
    except OSError:
        return
    variables = _environment_of(node, node.os_collect_config.pid if node.os_collect_config else 0, COLLECTOR_UNIT)
    trusted: str | bool = variables.get("REQUESTS_CA_BUNDLE") or variables.get("CURL_CA_BUNDLE") or True
    system = "the CAs that os-collect-config trusts (Environment=REQUESTS_CA_BUNDLE=FILE in a drop-in of its unit)"
    for name in file.configured:
        use = f"the collector {name}"
        if name in ("heat", "zaqar"):
            url = _bare(file.value(name, "auth_url"))
            yield Endpoint(url, use, trusted, system, variables, _login_of(file, name))
        elif name == "cfn":
            ca = file.value("cfn", "ca_certificate")
            setting = f"[cfn] ca_certificate in {file.file}"
            yield Endpoint(_bare(file.value("cfn", "metadata_url")), use, ca or trusted, setting, variables)
        else:
            yield Endpoint(_bare(file.value("request", "metadata_url")), use, trusted, system, variables)


def _login_of(file: CollectorFile, name: str) -> Login:
    user, password, project, region = (
        file.value(name, each) for each in ("user_id", "password", "project_id", "region_name")
    )
    return Login(user, password, project, region, _SERVICES[name])


def _of_signals(node: Node) -> Iterator[Endpoint]:
    """What is still to be signalled needs; of what was signalled one endpoint each, for the next time."""
    variables = _environment_of(node, node.loop.pid if node.loop else 0, node.settings.loop_unit)
    ca = node.settings.signal_ca
    verify: str | bool = str(ca) if ca else variables.get("REQUESTS_CA_BUNDLE") or system_cas(variables)
    setting = f"[signals] ca in {node.settings.file}"
    places: set[tuple[str, str]] = set()
    entries = [entry for entry in node.view.live if entry.mode != HOOK]
    for entry in sorted(entries, key=lambda entry: entry.state == DONE and entry.signal != PENDING):
        inputs, transport = entry.deployment.inputs, entry.deployment.transport
        name = {CFN_SIGNAL: "deploy_signal_id", TEMP_URL_SIGNAL: "deploy_signal_id"}.get(transport, "deploy_auth_url")
        url = _bare(str(inputs.get(name) or ""))
        place = (urlsplit(url).netloc, transport)
        if not url or transport not in (CFN_SIGNAL, TEMP_URL_SIGNAL, *_SERVICES) or place in places:
            continue
        places.add(place)
        login = None
        if transport in _SERVICES:
            user, password, project, region = (
                str(inputs.get(f"deploy_{each}") or "") for each in ("user_id", "password", "project_id", "region_name")
            )
            login = Login(user, password, project, region, _SERVICES[transport])
        use = f"the signal of {entry.deployment.identity}"
        yield Endpoint(url, use, verify, setting, variables, login)


def _environment_of(node: Node, pid: int, unit: str) -> Variables:
    """The environment with which a service asks: its process's, its unit's, or ours where neither can be seen."""
    if pid:
        try:
            return processes.variables(pid, node.proc)
        except OSError:
            pass
    told = node.unit(unit).get("Environment")
    if told is not None:
        with contextlib.suppress(ValueError):
            return dict(word.partition("=")[::2] for word in shlex.split(told))
    return node.environment


def _bare(url: str) -> str:
    """A URL without what is secret in it; "" where it is none to be asked."""
    shown = shown_url(url)
    parts = urlsplit(shown)
    return shown if parts.scheme in _PORTS and parts.hostname else ""


# --- files of CAs


def _ca_files(node: Node) -> Iterator[Finding]:
    named = {f"[signals] ca in {node.settings.file}": str(node.settings.signal_ca or "")}
    try:
        file = node.collector
        named |= {f"[cfn] ca_certificate in {file.file}": file.value("cfn", "ca_certificate")}
        named |= {f"[zaqar] ca_file in {file.file}": file.value("zaqar", "ca_file")}
    except OSError:
        pass
    for setting, path in named.items():
        if not path:
            continue
        try:
            ends = read_certificate(Path(path)).not_after.timestamp()
        except PermissionError:
            raise
        except (OSError, ValueError) as problem:
            why = problem.strerror if isinstance(problem, OSError) else "holds no certificate"
            yield error(
                f"{setting} = {path}: {why}",
                why="no connection that is to be verified by it can be made",
                mend="put the CA's certificate there as PEM, or take the setting out to trust the system's CAs",
            )
            continue
        if ends < node.now():
            yield error(
                f"{setting} = {path}: the CA's certificate ended at {moment(ends)}",
                why="no connection that is to be verified by it can be made",
                mend="put the CA's present certificate there",
            )


# --- asking


class Prober:
    """Asks endpoints, for real; `resolve` finds a host's addresses as getaddrinfo(3) does."""

    def __init__(self, step: float = STEP_SECONDS) -> None:
        self._step = step

    def ask(self, endpoint: Endpoint, now: float) -> Link:
        """Say what keeps us from an endpoint, and where Keystone's catalog leads. Raises nothing."""
        proxy = self._proxy(endpoint)
        found = self._connected(endpoint, proxy)
        if found:
            return Link((found,))
        return self._answered(endpoint, proxy, now)

    def _proxy(self, endpoint: Endpoint) -> str:
        """The proxy that `requests` would go through for an endpoint; "" for none."""
        parts = urlsplit(endpoint.url)
        variables = {name.lower(): value for name, value in endpoint.proxies.items()}
        if _goes_directly(parts.hostname or "", variables.get("no_proxy", "")):
            return ""
        return variables.get(f"{parts.scheme}_proxy") or variables.get("all_proxy") or ""

    def _connected(self, endpoint: Endpoint, proxy: str) -> Finding | None:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else urlsplit(endpoint.url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)
        over = f", through the proxy {host}:{port}" if proxy else ""
        what = f"{endpoint.place} ({endpoint.use}{over})"
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as problem:
            return error(
                f"{what}: the name {host} cannot be resolved: {getattr(problem, 'strerror', None) or problem}",
                why=_lost(endpoint),
                mend=f"see whether a name server is set and answers: cat /etc/resolv.conf; getent hosts {host}",
            )
        problem_told = ""
        for family, kind, protocol, _, address in addresses[:4]:
            with socket.socket(family, kind, protocol) as link:
                link.settimeout(self._step / min(len(addresses), 4))
                try:
                    link.connect(address)
                    return None
                except TimeoutError:
                    problem_told = "no answer: most likely a firewall drops what we send"
                except ConnectionRefusedError:
                    problem_told = "connection refused: nothing listens there, or a firewall says no"
                except OSError as problem:
                    problem_told = problem.strerror or str(problem)
        return error(
            f"{what}: {problem_told}", why=_lost(endpoint), mend=_firewall(endpoint, f"{host} port {port}", bool(proxy))
        )

    def _answered(self, endpoint: Endpoint, proxy: str, now: float) -> Link:
        import requests
        import urllib3

        if not endpoint.verify:  # as os-collect-config does it, which the check collectors tells
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        what = f"{endpoint.place} ({endpoint.use})"
        try:
            with requests.Session() as session:
                session.trust_env = False
                proxies = {"http": proxy, "https": proxy} if proxy else {}
                way: dict[str, Any] = {
                    "verify": endpoint.verify,
                    "timeout": self._step,
                    "proxies": proxies,
                    "allow_redirects": False,
                }
                if endpoint.login:
                    return self._logged_in(endpoint, endpoint.login, session, way, now)
                with session.get(endpoint.place + "/", stream=True, **way) as answer:
                    return Link(tuple(_clock(what, answer.headers, now)))
        except requests.exceptions.SSLError as problem:
            return Link((_untrusted(endpoint, problem),))
        except requests.exceptions.Timeout:
            told = f"connects, but says nothing within {self._step:g} s"
            return Link((error(f"{what}: {told}", why=_lost(endpoint), mend=_busy(endpoint)),))
        except (requests.RequestException, OSError, ValueError) as problem:
            told = f"connects, but then fails: {type(problem).__name__}"
            if proxy:
                told = f"the proxy {_bare(proxy) or 'of the environment'} does not let us through"
            return Link((error(f"{what}: {told}", why=_lost(endpoint), mend=_busy(endpoint)),))

    def _logged_in(self, endpoint: Endpoint, login: Login, session: Any, way: Mapping[str, Any], now: float) -> Link:
        """Ask Keystone for a token as os-collect-config and the signals do, and find the service in its catalog."""
        url = endpoint.url.rstrip("/")
        for version in ("/v3", "/v2.0"):
            url = url.removesuffix(version)
        user = {"id": login.user, "password": login.password}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"id": login.project}},
            }
        }
        answer = session.post(f"{url.rstrip('/')}/v3/auth/tokens", json=body, **way)
        what = f"{endpoint.place} ({endpoint.use})"
        found = tuple(_clock(what, answer.headers, now))
        if answer.status_code != 201:
            return Link((*found, _no_token(what, answer.status_code, endpoint)))
        try:
            service = _service(answer.json()["token"]["catalog"], login)
        except (ValueError, KeyError, TypeError):
            service = ""
        if not service:
            region = f" in region {login.region}" if login.region else ""
            told = f"{what}: Keystone's catalog has no public endpoint of {login.service}{region}"
            return Link((*found, error(told, why=_lost(endpoint), mend="ask the cloud's operator")))
        after = Endpoint(
            _bare(service), f"{login.service}, for {endpoint.use}", _verify_of(endpoint, login), endpoint.ca_setting,
            endpoint.proxies,
        )  # fmt: skip
        return Link(found, after if after.url else None)


def _goes_directly(host: str, excluded: str) -> bool:
    """Whether NO_PROXY names a host: by "*", its name, a domain above it, its address or its network."""
    for word in filter(None, excluded.replace(" ", "").split(",")):
        name = word.partition(":")[0].lstrip(".").lower() if word.count(":") < 2 else word
        if word == "*" or host == name or host.endswith(f".{name}"):
            return True
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
    return False


def _verify_of(endpoint: Endpoint, login: Login) -> str | bool:
    """The collector zaqar verifies Keystone, but Zaqar only where it is told to: that is the check collectors' word."""
    return False if login.service == "messaging" and endpoint.use == "the collector zaqar" else endpoint.verify


def _service(catalog: Sequence[Mapping[str, Any]], login: Login) -> str:
    for service in catalog:
        for each in service.get("endpoints") or ():
            wanted = service.get("type") == login.service and each.get("interface") == "public"
            if wanted and (not login.region or login.region in (each.get("region"), each.get("region_id"))):
                return str(each.get("url") or "")
    return ""


def _no_token(what: str, status: int, endpoint: Endpoint) -> Finding:
    if status == 401:
        return error(
            f"{what}: Keystone refuses the credentials that Heat gave (401)",
            why=f"{_lost(endpoint)}; so it is while a stack is suspended, and when it was deleted",
            mend="openstack stack list: resume the stack if it is suspended; else replace the server, which gives it "
            "new credentials",
        )
    return error(f"{what}: Keystone gives no token: {status}", why=_lost(endpoint), mend=_busy(endpoint))


def _clock(what: str, headers: Mapping[str, str], now: float) -> Iterator[Finding]:
    """Compare the clocks by the answer's Date, whole seconds (RFC 9110, 6.6.1)."""
    try:
        theirs = parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return
    off = now - theirs
    if abs(off) <= CLOCK_SECONDS:
        return
    make = error if abs(off) > _FAR_SECONDS else warning
    yield make(
        f"the clock of this node is {duration(abs(off))} {'ahead of' if off > 0 else 'behind'} that of {what}",
        why="certificates and pre-signed URLs count as expired or not yet valid, and times in logs mislead",
        mend="timedatectl; systemctl restart systemd-timesyncd (or chrony), and let it reach its time servers",
    )


def _untrusted(endpoint: Endpoint, problem: Exception) -> Finding:
    reason: BaseException = problem
    while True:
        inner = getattr(reason, "reason", None) or next(
            (each for each in reason.args if isinstance(each, BaseException)), None
        )
        if inner is None or not isinstance(inner, BaseException):
            break
        reason = inner
    what = f"{endpoint.place} ({endpoint.use})"
    if not isinstance(reason, ssl.SSLCertVerificationError):
        told = getattr(reason, "reason", None) or type(reason).__name__
        return error(
            f"{what}: no TLS: {told}",
            why=_lost(endpoint),
            mend=f"see what is there: openssl s_client -connect {urlsplit(endpoint.url).netloc}",
        )
    message = reason.verify_message
    if reason.verify_code in (9, 10):  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
        mend = "date -u: is the clock right? If it is, the operator has to renew that certificate"
    elif reason.verify_code in (62, 64):  # …_HOSTNAME_MISMATCH, …_IP_ADDRESS_MISMATCH
        mend = "the operator has to give the service a certificate for this name, or Heat the name of the certificate"
    elif "extension" in message or "Key Identifier" in message:  # what ssl.VERIFY_X509_STRICT asks from Python 3.13 on
        mend = (
            "the operator has to make the CA or its certificates anew with what is said to be missing, such as"
            " keyUsage=critical,keyCertSign,cRLSign: openssl verify -x509_strict -CAfile CA.pem SERVER.pem"
        )
    else:
        mend = f"put the CA that signed it into {endpoint.ca_setting}"
    return error(f"{what}: its certificate cannot be verified: {message}", why=_lost(endpoint), mend=mend)


def _lost(endpoint: Endpoint) -> str:
    if "collector" in endpoint.use:
        return "no change of the stack arrives by it: new deployments stay IN_PROGRESS"
    return "results do not reach Heat: the stack stays IN_PROGRESS until they do, or its timeout"


def _firewall(endpoint: Endpoint, to: str = "", proxy: bool = False) -> str:
    parts = urlsplit(endpoint.url)
    to = to or f"{parts.hostname} port {parts.port or _PORTS[parts.scheme]}"
    more = "" if proxy else ", or set HTTPS_PROXY where there is a proxy"
    return (
        f"let this node reach {to}: security groups, routers, firewalls on the way{more}; try: curl -v {endpoint.place}"
    )


def _busy(endpoint: Endpoint) -> str:
    return f"ask the cloud's operator whether the service is well; try: curl -v {endpoint.place}"
