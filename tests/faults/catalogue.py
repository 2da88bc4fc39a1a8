"""The faults: how each is put in and taken out, and what `doctor` says of it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import deployments as heat
from lab import images
from lab.deployments import Metadata
from lab.node import free_ports
from lab.receiver import HANG
from lab.receiver import Fault as Answer

from heat_config_kubelet import pki
from heat_config_kubelet.store import DONE, PENDING, REFUSED

from .sick_node import Firewall, SickNode

Put = Callable[[SickNode], Iterator[None]]

FORBIDDEN = Answer(
    403, {"Content-Type": "application/xml"}, b"<ErrorResponse><Message>denied</Message></ErrorResponse>"
)


@dataclass(frozen=True)
class Fault:
    """A fault of a node or a template."""

    name: str
    about: str
    """What was done, for a person who compares."""
    put: Callable[[SickNode], contextlib.AbstractContextManager[None]]
    check: str
    """The check of `doctor` that names it."""
    cause: str
    """A regular expression that fits what the finding says is so."""
    mend: str
    """A regular expression that fits what it says is to be done."""
    level: str = "error"
    entry: Callable[[SickNode], Metadata] | None = None
    """Of a fault that a template's author makes: what is deployed, and fails."""


FAULTS: dict[str, Fault] = {}


def fault(name: str, about: str, *, check: str, cause: str, mend: str, level: str = "error") -> Callable[[Put], Put]:
    """Add a fault to FAULTS: a generator that puts it in, and after its yield takes it out."""

    def add(put: Put) -> Put:
        @contextlib.contextmanager
        def put_and_taken(sick: SickNode) -> Iterator[None]:
            generator = put(sick)
            next(generator)
            try:
                yield
            finally:  # whatever was found: the next fault needs a node that is well
                next(generator, None)

        FAULTS[name] = Fault(name, about, put_and_taken, check, cause, mend, level)
        return put

    return add


# --- the agent's settings and os-collect-config's


@fault(
    "bad-setting",
    "a setting of the agent is no number",
    check="settings",
    cause=r"agent\.conf: \[defaults\] poll_period = 'often': must be",
    mend=r"correct it in \S+agent\.conf",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.settings(defaults={"poll_period": "often"})
    yield
    sick.settings()


@fault(
    "collector-without-settings",
    "os-collect-config's settings are removed",
    check="collect-config",
    cause=r"os-collect-config\.conf: is not there: os-collect-config has no settings",
    mend=r"command = heat-config-kubelet run",
)
def _(sick: SickNode) -> Iterator[None]:
    file = sick.node.collector.config_file
    aside = file.rename(file.with_suffix(".aside"))
    yield
    aside.rename(file)


@fault(
    "unknown-collector",
    "os-collect-config is told of a collector that does not exist",
    check="collect-config",
    cause=r"collectors = openstack: no such collector",
    mend=r"take them out; there are heat_local, ",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.changed(sick.node.collector.config_file, lambda text: text + "\n[DEFAULT]\ncollectors = openstack\n"):
        yield


@fault(
    "other-command",
    "os-collect-config's command is another one",
    check="way-in",
    cause=r"command = /bin/true: does not call heat-config-kubelet",
    mend=r"set \[DEFAULT\] command = heat-config-kubelet run",
)
def _(sick: SickNode) -> Iterator[None]:
    file = sick.node.collector.config_file
    with sick.changed(file, lambda text: text.replace("command = heat-config-kubelet run", "command = /bin/true")):
        yield


@fault(
    "both-ways-in",
    "[agent] mode says hook, os-collect-config's command is run",
    check="way-in",
    cause=r"command = heat-config-kubelet run is the way in `run`, but \S+ says \[agent\] mode = hook",
    mend=r"set \[agent\] mode = run",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.settings(agent={"mode": "hook"})
    yield
    sick.settings()


@fault(
    "command-fails",
    "the pass fails, so what was collected is never taken over",
    check="cache",
    cause=r"late\.json: collected, but the command has not taken it over",
    mend=r"heat-config-kubelet run",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.settings(agent={"mode": "hook"})
    cached = sick.node.collector.set({"late": True}, "late")
    sick.node.wait_for(cached.exists, "the new source to be collected")
    yield
    sick.settings()
    sick.node.wait_for(Path(f"{cached}.last").exists, "the new source to be taken over")
    sick.node.collector.unset("late")


@fault(
    "credentials-missing",
    "the collector heat has a URL, but no password",
    check="collectors",
    cause=r"\[heat\] has no password, project_id, user_id, stack_id, resource_name",
    mend=r"user_data_format: SOFTWARE_CONFIG",
)
def _(sick: SickNode) -> Iterator[None]:
    add = f"\n[heat]\nauth_url = {sick.source.auth_url}\n"
    file = sick.node.collector.config_file
    with sick.changed(file, lambda text: text.replace("= heat_local", "= heat_local\ncollectors = heat", 1) + add):
        yield


@fault(
    "insecure-local-data",
    "everybody may write to the local collector's folder",
    check="collectors",
    cause=r"local-data: everybody may write to it",
    mend=r"chmod o-w \S+local-data",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.node.collector.local.chmod(0o707)
    yield
    sick.node.collector.local.chmod(0o700)


@fault(
    "cache-cut-short",
    "a file of os-collect-config's cache is cut short, as by a power loss",
    check="cache",
    cause=r"lab\.json\.last: is no JSON",
    mend=r"heat-config-kubelet check-cache",
)
def _(sick: SickNode) -> Iterator[None]:
    (sick.node.collector.cache / "lab.json.last").write_text("{")
    sick.node.wait_for(
        lambda: not sick.node.collector.running, "os-collect-config to end, as it does with such a cache"
    )
    yield
    assert sick.node.agent("check-cache").returncode == 0
    sick.node.collector.resume()
    # What was damaged counts as changed: a pass, which would mend the next fault by itself.
    sick.node.wait_for((sick.node.collector.cache / "lab.json.last").exists, "the next pass")
    sick.wait_until_idle()


@fault(
    "collector-stopped",
    "os-collect-config is ended",
    check="polling",
    cause=r"os-collect-config does not run",
    mend=r"start it: os-collect-config --config-file \S+",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.node.collector.stop()
    yield
    sick.node.collector.resume()


@fault(
    "collector-frozen",
    "os-collect-config gets SIGSTOP",
    check="polling",
    cause=r"os-collect-config \(process \d+\) is paused \(SIGSTOP\)",
    mend=r"kill -CONT \d+",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.frozen(sick.node.collector.process):
        yield


# --- endpoints


@fault(
    "endpoint-refuses",
    "nothing listens where signals go to",
    check="endpoints",
    cause=r"https://127\.0\.0\.1:\d+ \(the signal of lab/\w+\): connection refused",
    mend=r"security groups, routers, firewalls .*curl -v https://127\.0\.0\.1:\d+",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.heat.refuse()
    yield
    sick.heat.listen()


@fault(
    "firewall",
    "a firewall drops what is sent to where signals go to",
    check="endpoints",
    cause=r"https://127\.0\.0\.1:\d+ \(the signal of lab/\w+\): no answer: most likely a firewall drops",
    mend=r"let this node reach 127\.0\.0\.1 port \d+: security groups",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.heat.refuse()
    with Firewall(sick.heat.port):
        yield
    sick.heat.listen()


@fault(
    "endpoint-hangs",
    "the service where metadata come from takes connections and says nothing",
    check="endpoints",
    cause=r"http://127\.0\.0\.1:\d+ \(the collector request\): connects, but says nothing within 3 s",
    mend=r"ask the cloud's operator whether the service is well",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.source.fail("", HANG)
    yield
    sick.source.mend()


@fault(
    "name-unknown",
    "the name of the host in the metadata's URL cannot be resolved",
    check="endpoints",
    cause=r"http://no-such-host\.invalid:\d+ \(the collector request\): (the name no-such-host\.|no answer)",
    mend=r"(cat /etc/resolv\.conf; getent hosts|let this node reach) no-such-host\.invalid",
)
def _(sick: SickNode) -> Iterator[None]:
    file = sick.node.collector.config_file
    with sick.changed(file, lambda text: text.replace("http://127.0.0.1:", "http://no-such-host.invalid:")):
        yield


@fault(
    "wrong-ca",
    "[signals] ca is another CA than the one that signed the service's certificate",
    check="endpoints",
    cause=r"\(the signal of lab/\w+\): its certificate cannot be verified: (self-signed certificate in|"
    r"unable to get local issuer)",
    mend=r"put the CA that signed it into \[signals\] ca in \S+agent\.conf",
)
def _(sick: SickNode) -> Iterator[None]:
    other = pki.Pki(sick.work / "other")
    pki.renew_if_old(other.directory)
    sick.settings(signals={"ca": other.ca})
    yield
    sick.settings()


@fault(
    "no-ca",
    "[signals] ca names a file that is not there",
    check="endpoints",
    cause=r"\[signals\] ca in \S+agent\.conf = /no/such\.pem: No such file or directory",
    mend=r"put the CA's certificate there as PEM",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.settings(signals={"ca": "/no/such.pem"})
    yield
    sick.settings()


@fault(
    "clock",
    "Heat's clock is two hours ahead of the node's",
    check="endpoints",
    cause=r"the clock of this node is (2h00m|1h59m) behind that of https://127\.0\.0\.1:\d+",
    mend=r"timedatectl; systemctl restart systemd-timesyncd",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.heat.clock_ahead = 7200
    yield
    sick.heat.clock_ahead = 0


@fault(
    "credentials-refused",
    "Keystone does not take the deployment's password any more",
    check="endpoints",
    cause=r"Keystone refuses the credentials that Heat gave \(401\)",
    mend=r"resume the stack if it is suspended; else replace the server",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.heat.fail("/v3/auth/tokens", Answer(401))
    yield
    sick.heat.mend()


# --- kubelet and runtime


@fault(
    "kubelet-stopped",
    "the kubelet is ended",
    check="kubelet",
    cause=r"the kubelet does not run",
    mend=r"start it again; if it ends again: tail \S+kubelet\.log",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.node.stop_kubelet()
    yield
    sick.node.start_kubelet()


@fault(
    "kubelet-frozen",
    "the kubelet gets SIGSTOP",
    check="kubelet",
    cause=r"the kubelet \(process \d+\) is paused \(SIGSTOP\)",
    mend=r"kill -CONT \d+",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.frozen(sick.node.daemon("kubelet")):
        yield


@fault(
    "kubelet-refuses-us",
    "the agent shows the kubelet a certificate of another CA",
    check="kubelet-api",
    cause=r"kubelet: .*(does not know our certificate|no trusted connection)",
    mend=r"clientCAFile",
)
def _(sick: SickNode) -> Iterator[None]:
    other = pki.Pki(sick.work / "other")
    pki.renew_if_old(other.directory)
    sick.settings(kubelet={"client_cert": other.client, "client_key": other.client})
    yield
    sick.settings()


@fault(
    "other-manifest-directory",
    "the agent writes manifests to another directory than the kubelet's",
    check="kubelet-config",
    cause=r"staticPodPath is \S+/manifests, but \[kubelet\] manifest_dir in \S+ is \S+/elsewhere",
    mend=r"take manifest_dir out of \S+agent\.conf",
)
def _(sick: SickNode) -> Iterator[None]:
    (sick.work / "elsewhere").mkdir(exist_ok=True)
    sick.settings(kubelet={"manifest_dir": sick.work / "elsewhere"})
    yield
    sick.settings()


@fault(
    "read-only-port",
    "the kubelet's read-only port is on",
    check="kubelet-config",
    cause=r"kubelet\.json: readOnlyPort is 10255",
    mend=r"set it to 0",
    level="warning",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.kubelet_said(readOnlyPort=10255):
        yield


@fault(
    "anonymous",
    "the kubelet lets anybody in",
    check="kubelet-config",
    cause=r"authentication\.anonymous\.enabled is true",
    mend=r"set it to false",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.kubelet_said(authentication={"anonymous": {"enabled": True}}):
        yield


@fault(
    "resolver-missing",
    "the kubelet's resolvConf is not there",
    check="kubelet-config",
    cause=r"resolvConf is /no/such/resolv\.conf, which is not there",
    mend=r"heat-config-kubelet kubelet-config",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.kubelet_said(resolvConf="/no/such/resolv.conf"):
        yield


@fault(
    "kubelet-not-restarted",
    "the kubelet's configuration was changed after its start",
    check="kubelet-config",
    cause=r"kubelet\.json was changed \S+ ago, after the kubelet's start",
    mend=r"start the kubelet again",
    level="warning",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.kubelet_said(maxPods=42):
        yield


@fault(
    "no-static-pods",
    "the kubelet's configuration has no staticPodPath, and the settings name no directory",
    check="kubelet-config",
    cause=r"staticPodPath is not set: this kubelet runs no static pods",
    mend=r"heat-config-kubelet kubelet-config",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.settings(kubelet={"manifest_dir": ""})
    with sick.kubelet_said(staticPodPath=""):
        yield
    sick.settings()


@fault(
    "certificate-damaged",
    "the agent's certificate for the kubelet is damaged",
    check="certificates",
    cause=r"client\.pem: holds no certificate",
    mend=r"heat-config-kubelet kubelet-config, then start the kubelet again",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.changed(sick.node.state_dir / "pki" / "client.pem", lambda text: text[:40]):
        yield


@fault(
    "runtime-stopped",
    "containerd is ended",
    check="runtime",
    cause=r"containerd\.sock: the container runtime does not answer: (No such file or directory|Connection refused)",
    mend=r"start containerd again",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.node.stop_containerd()
    yield
    sick.node.start_containerd()
    sick.node.wait_for(sick.node.healthy, "the kubelet to be healthy")


@fault(
    "runtime-frozen",
    "containerd gets SIGSTOP",
    check="runtime",
    cause=r"containerd \(process \d+\) is paused \(SIGSTOP\)",
    mend=r"kill -CONT \d+",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.frozen(sick.node.daemon("containerd")):
        yield


@fault(
    "no-network",
    "the runtime's network configuration is gone",
    check="cni",
    cause=r"/cni: no network configuration \(CNI\)",
    mend=r"put one there",
)
def _(sick: SickNode) -> Iterator[None]:
    file = sick.node.folder / "cni" / "10-lab.conflist"
    aside = file.rename(file.with_suffix(".aside"))
    yield
    aside.rename(file)


@fault(
    "network-plugin-missing",
    "the network configuration names a plugin that is not installed",
    check="cni",
    cause=r"10-lab\.conflist names the plugins weave, which are not in ",
    mend=r"install them \(Debian's package containernetworking-plugins\)",
)
def _(sick: SickNode) -> Iterator[None]:
    file = sick.node.folder / "cni" / "10-lab.conflist"
    with sick.changed(file, lambda text: text.replace('"type": "bridge"', '"type": "weave"')):
        yield


# --- room and files


@fault(
    "disk-full",
    "the disk of the agent's state is full",
    check="disk",
    cause=r"the disk of \S+/agent \(the agent's state\) is full: 0 B of .* free",
    mend=r"make room: du -xh \S+/agent",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.mounted(sick.node.state_dir, "size=4m"):
        file = sick.fill(sick.node.state_dir)
        yield
        file.unlink()


@fault(
    "below-eviction",
    "less is free than the kubelet keeps free",
    check="disk",
    cause=r"the disk of .*\(the kubelet\).*: .* free, the kubelet's evictionHard is ",
    mend=r"make room: ",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.kubelet_said(evictionHard={"nodefs.available": "99.9%"}):
        yield


@fault(
    "images-collected",
    "the kubelet removes images that are not in use",
    check="disk",
    cause=r"from imageGCHighThresholdPercent, 1, on images are removed",
    mend=r"set imageGCHighThresholdPercent: 100",
    level="warning",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.kubelet_said(imageGCHighThresholdPercent=1, imageGCLowThresholdPercent=0):
        yield


@fault(
    "read-only-manifests",
    "the manifest directory is on a read-only file system",
    check="read-only",
    cause=r"read-only file system: \S+/manifests \(manifests\)",
    mend=r"mount -o remount,rw",
)
def _(sick: SickNode) -> Iterator[None]:
    with sick.read_only(sick.node.manifests):
        yield


@fault(
    "readable-credentials",
    "everybody can read os-collect-config's settings",
    check="permissions",
    cause=r"os-collect-config\.conf: others can read it \(mode 0644\)",
    mend=r"chmod 0600 \S+os-collect-config\.conf",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.node.collector.config_file.chmod(0o644)
    yield
    sick.node.collector.config_file.chmod(0o600)


@fault(
    "writable-settings",
    "everybody can write to the agent's settings",
    check="permissions",
    cause=r"agent\.conf: others can change it \(mode 0666\)",
    mend=r"chmod go-w \S+agent\.conf",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.node.settings_file.chmod(0o666)
    yield
    sick.node.settings_file.chmod(0o644)


# --- the store and the loop


@fault(
    "store-missing",
    "the store was removed",
    check="store",
    cause=r"store\.sqlite: not there, though 2 deployments have been collected",
    mend=r"heat-config-kubelet run",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.node.settings.store_file.rename(sick.work / "store")
    yield
    sick.begin_anew()


@fault(
    "store-damaged",
    "the store is no database any more",
    check="store",
    cause=r"\S+store\.sqlite: file is not a database",
    mend=r"heat-config-kubelet run \(it sets the file aside and begins a new one\)",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.node.settings.store_file.write_bytes(b"no database" * 1000)
    yield
    sick.begin_anew()
    for left in sick.node.state_dir.glob("store.sqlite.damaged-*"):
        left.unlink()


@fault(
    "store-newer",
    "the store is a newer release's",
    check="store",
    cause=r"its schema is version 99, this release knows \d+",
    mend=r"install the newer release again, or move the file away",
)
def _(sick: SickNode) -> Iterator[None]:
    def version(number: int | None = None) -> int:
        with contextlib.closing(sqlite3.connect(sick.node.settings.store_file)) as database:
            before = int(database.execute("PRAGMA user_version").fetchone()[0])
            if number is not None:
                database.execute(f"PRAGMA user_version = {number}")
            return before

    before = version(99)
    yield
    version(before)


@fault(
    "loop-not-started",
    "something is pending, and no loop is there",
    check="loop",
    cause=r"something is pending since \S+, and no loop works on it",
    mend=r"heat-config-kubelet resume",
)
def _(sick: SickNode) -> Iterator[None]:
    (sick.node.state_dir / "pending").touch()
    yield
    assert sick.node.agent("resume").returncode == 0
    sick.wait_until_idle()


@fault(
    "loop-frozen",
    "the loop gets SIGSTOP",
    check="loop",
    cause=r"the loop \(process \d+\) is paused \(SIGSTOP\), and something is pending",
    mend=r"kill -CONT \d+",
)
def _(sick: SickNode) -> Iterator[None]:
    probe = {"readinessProbe": {"exec": {"command": ["/bin/false"]}}}
    slow = sick.entry("slow", heat.pod("slow", container=probe), options={"containers_timeout": 600})
    with sick.deployed(slow):
        sick.wait_until(slow, lambda each: each.started_at is not None, "the work on it to begin")
        with sick.frozen(sick.loop):
            yield


# --- manifests


@fault(
    "two-files-one-pod",
    "a backup copy of somebody's manifest lies beside it",
    check="manifests",
    cause=r"pod default/copied is in 2 files: copied\.json, copied\.json~",
    mend=r"remove the one too many, a copy perhaps: rm \S+copied\.json~$",
)
def _(sick: SickNode) -> Iterator[None]:
    with _foreign(sick, "copied", "copied.json"), _foreign(sick, "copied", "copied.json~"):
        yield


@fault(
    "no-manifest",
    "a file in the manifest directory is no pod",
    check="manifests",
    cause=r"notes\.txt: holds no pod that can be read",
    mend=r"remove it: rm \S+notes\.txt",
    level="warning",
)
def _(sick: SickNode) -> Iterator[None]:
    (sick.node.manifests / "notes.txt").write_text("do not forget")
    yield
    (sick.node.manifests / "notes.txt").unlink()


@fault(
    "manifest-edited",
    "a manifest of ours was changed by hand",
    check="manifests",
    cause=r"heat-web-\w+\.json: was changed by somebody else; it is ours, pod default/web of lab/web",
    mend=r"have it written anew: heat-config-kubelet resume",
)
def _(sick: SickNode) -> Iterator[None]:
    (file,) = sick.node.manifests.glob("heat-web-*.json")
    file.write_text(file.read_text() + "\n")
    yield
    assert sick.node.agent("resume").returncode == 0
    sick.wait_until_idle()


@fault(
    "foreign-manifest",
    "a manifest that is not ours has the name of a deployment's pod",
    check="manifests",
    cause=r"theirs\.json: holds pod default/theirs, which deployment lab/theirs wants; it is not ours",
    mend=r"remove it: rm \S+theirs\.json, then update the stack",
)
def _(sick: SickNode) -> Iterator[None]:
    with _foreign(sick, "theirs", "theirs.json"), failed(sick, sick.entry("theirs")):
        yield


@contextlib.contextmanager
def _foreign(sick: SickNode, name: str, file: str) -> Iterator[None]:
    """Put somebody else's manifest in place for a while; nothing in it runs long."""
    aside = sick.work / file
    aside.write_text(json.dumps(heat.pod(name, restartPolicy="Never", container={"command": ["/bin/true"]})))
    path = aside.rename(sick.node.manifests / file)
    yield
    path.unlink()


# --- templates


@contextlib.contextmanager
def failed(sick: SickNode, *entries: Metadata) -> Iterator[None]:
    """Deploy what fails, and wait until it has."""
    with sick.deployed(*entries):
        for entry in entries:
            sick.wait_until(entry, lambda each: each.state == DONE, f"{entry['name']} to be decided")
        yield


def _template(
    name: str, about: str, cause: str, mend: str, pod: Callable[[SickNode], object], **options: object
) -> None:
    """Add a fault of a template's author."""

    def entry(sick: SickNode) -> Metadata:
        return sick.entry(name, pod(sick), options={"min_ready_seconds": 3, **options})

    @contextlib.contextmanager
    def put(sick: SickNode) -> Iterator[None]:
        with failed(sick, entry(sick)):
            yield

    told = rf"lab/{name}, CREATE: failed: .*{cause}"
    FAULTS[name] = Fault(name, about, put, "deployments", told, rf"{mend}.*; then update the stack", entry=entry)


_template(
    "image-missing",
    "the image's tag is not in the registry",
    r'container "c": image \S+/absent:1 cannot be pulled \(\w+, 2 times\): .*not found',
    r"correct the image's name or tag in the template",
    lambda sick: heat.pod("image-missing", image=sick.source.absent_image),
)
_template(
    "image-denied",
    "the registry does not give the image to us",
    r'container "c": image \S+/private/app:1 cannot be pulled \(\w+, 2 times\): ',
    r"give the runtime credentials: /etc/containerd/certs\.d/",
    lambda sick: heat.pod("image-denied", image=sick.source.private_image),
)
_template(
    "registry-unreachable",
    "the registry cannot be reached",
    r"image 127\.0\.0\.1:1/absent:1 cannot be pulled \(\w+, \w+( times)?\): .*connection refused",
    r"let this node reach the registry",
    lambda _: heat.pod("registry-unreachable", image=images.ABSENT),
    images_timeout=5,
)
_template(
    "image-not-there",
    "the image is not on the node, and may not be pulled",
    r'container "c": ErrImageNeverPull',
    r"import it into the runtime",
    lambda _: heat.pod("image-not-there", image="lab.local/none:1", container={"imagePullPolicy": "Never"}),
)
_template(
    "crash-loop",
    "the container ends with an error again and again",
    r'container "c" exited with code 7, 3 times',
    r"heat-config-kubelet logs lab/crash-loop",
    lambda _: heat.pod("crash-loop", "echo no database; exit 7"),
)
_template(
    "no-program",
    "the container's command is not in the image",
    r'container "c": \w+ \(exit code 128\), 3 times: exec: "/no/such/program"',
    r"correct the container's command: this image has no such program",
    lambda _: heat.pod("no-program", container={"command": ["/no/such/program"]}),
)
_template(
    "memory",
    "the pod wants more memory than the node has",
    r"the node has too little for what the pod requests \(memory: [\d.]+ TiB missing\)",
    r"lower resources\.requests",
    lambda _: heat.pod("memory", container={"resources": {"requests": {"memory": "900Ti"}}}),
)
_template(
    "selector",
    "the pod wants a node with a label that this one has not",
    r"NodeAffinity: ",
    r"take nodeSelector and affinity out of the pod",
    lambda _: heat.pod("selector", nodeSelector={"no": "such"}),
)
_template(
    "bad-field",
    "a field of the pod is misspelt",
    r'spec\.containers\[0\]\.imagee: unknown field; did you mean "image"\?',
    r"correct it in the template; heat-config-kubelet validate FILE",
    lambda _: heat.pod("bad-field", container={"imagee": "x"}),
)
_template(
    "never-ready",
    "the readiness probe never succeeds",
    r'container "c" runs, but is not ready',
    r"see why: heat-config-kubelet logs lab/never-ready; then correct the probe",
    lambda _: heat.pod("never-ready", container={"readinessProbe": {"exec": {"command": ["/bin/false"]}}}),
    containers_timeout=2,
)
_template(
    "host-path",
    "a path of the node that the pod wants is not there",
    r"hostPath type check failed",
    r"make that path on the node",
    lambda _: heat.pod(
        "host-path",
        container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        volumes=[{"name": "data", "hostPath": {"path": "/no/such/folder", "type": "Directory"}}],
    ),
    containers_timeout=4,
)


@fault(
    "port-taken",
    "two pods want one port of the node",
    check="deployments",
    cause=r"lab/port-taken, CREATE: failed: .*NodePorts: .*\d+/TCP",
    mend=r"give one of the pods another hostPort; then update the stack",
)
def _(sick: SickNode) -> Iterator[None]:
    ports = {"ports": [{"containerPort": 80, "hostPort": free_ports(1)[0]}]}
    first = sick.entry("port-holder", heat.pod("port-holder", container=ports))
    second = sick.entry("port-taken", heat.pod("port-taken", container=ports))
    with sick.deployed(first):
        sick.wait_until_settled(first)
        sick.node.collector.set(heat.metadata(*sick.standing, first, second))
        sick.wait_until(second, lambda each: each.state == DONE, "the second to be decided")
        yield


@fault(
    "late-crash",
    "a pod that was well when Heat was told of it ends over and over later",
    check="pods",
    cause=r'pod default/late-crash of lab/late-crash: container "c" exited with code 9',
    mend=r"heat-config-kubelet logs lab/late-crash",
)
def _(sick: SickNode) -> Iterator[None]:
    entry = sick.entry("late-crash", sick.gated("late-crash"))
    with sick.deployed(entry):
        sick.wait_until_settled(entry)
        sick.gate("late-crash").touch()
        yield


# --- signals


@fault(
    "signal-refused",
    "Heat does not know the resource that is signalled",
    check="signals",
    cause=r"lab/gone, CREATE: the signal was refused: POST https://127\.0\.0\.1:\d+/\S+: 404",
    mend=r"heat-config-kubelet resend lab/gone",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.heat.fail("/resources/gone", Answer(404))
    entry = sick.entry("gone")
    with sick.deployed(entry):
        sick.wait_until(entry, lambda each: each.signal == REFUSED, "the signal to be refused")
        yield
        sick.heat.mend()


@fault(
    "signal-waits",
    "Heat answers with an error of its own",
    check="signals",
    cause=r"lab/late, CREATE: the signal waits since \S+, attempts: \d+; the last: POST \S+: 503",
    mend=r"it arrives by itself once the endpoint answers",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.heat.fail("/resources/late", Answer(503))
    entry = sick.entry("late")
    with sick.deployed(entry):
        sick.wait_until(entry, lambda each: each.signal == PENDING and each.attempts > 0, "an attempt to fail")
        yield
        sick.heat.mend()


@fault(
    "expired-url",
    "the pre-signed URL has expired when the pod is ready",
    check="signals",
    cause=r"lab/expired, CREATE: the signal was given up: .* the pre-signed URL ended at \S+",
    mend=r"update the stack again, for a new URL",
)
def _(sick: SickNode) -> Iterator[None]:
    sick.heat.fail("/resources/expired", FORBIDDEN)
    entry = sick.entry("expired", signed=time.time() - 3600)
    with sick.deployed(entry):
        sick.wait_until_settled(entry)
        yield
        sick.heat.mend()
