"""The agent's environment in an image: what its list brings is all that the agent needs, and nothing that it does not.

It is made here as the element makes it in an image, once for each list, and every part of the agent is run in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import image_requirements
from lab.agent_parts import COLLECTORS, Trial
from lab.binaries import cache_folder
from lab.deployments import TRANSPORTS
from lab.receiver import Fault, Receiver

ROOT = Path(__file__).parents[2]
DATA = ROOT / "element" / "os-collect-config" / "os-collect-config"
UNUSED_SECONDS = 86400
"""After which an older environment goes: another checkout's tests may be using theirs."""
MOST_MIB = 45.0
MOST_MIB_COMPRESSED = 10.0


@pytest.fixture(scope="module")
def environment() -> Path:
    """The virtual environment as an image has it; the package in it is today's."""
    needs = hashlib.sha256(sys.version.encode())
    for file in (DATA / "requirements.txt", DATA / "prune.py", *sorted((ROOT / "heat_config_kubelet").rglob("*.*"))):
        if file.suffix != ".pyc" and file.is_file():
            needs.update(file.read_bytes())
    folder = cache_folder() / f"image-agent-{needs.hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name("image-agent.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            for old in cache_folder().glob("image-agent-*"):
                if time.time() - old.stat().st_mtime > UNUSED_SECONDS:
                    shutil.rmtree(old)
            make(folder)
            (folder / "complete").touch()
    return folder


def make(folder: Path) -> None:
    """What install.d and post-install.d of the elements do."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--no-compile"]
    wanted = ["--only-binary", ":all:", "--require-hashes", "-r", str(DATA / "requirements.txt")]
    subprocess.run([*pip, *wanted], check=True)
    subprocess.run([*pip, str(ROOT)], check=True)
    owned_by = image_requirements.owners(image_requirements.site(folder))
    (folder / "owners.json").write_text(json.dumps(owned_by))  # pruning takes the notes that tell it
    subprocess.run([python, "-B", str(DATA / "prune.py"), str(folder)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([python, "-m", "compileall", "-q", str(folder / "lib")], check=True)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as service:
        yield service


@pytest.fixture(scope="module")
def trial(environment: Path, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return Trial(environment, tmp_path_factory.mktemp("trial"), receiver)


@pytest.mark.parametrize("name", COLLECTORS)
def test_every_collector_collects(trial: Trial, name: str) -> None:
    assert "from-the-service" in str(trial.collect(name)) or name == "ec2"


FAULTS = {
    "cfn": (None, Fault(503)),
    "ec2": (None, Fault(404)),
    "heat": (None, Fault(401), Fault(503), Fault(200, body=b"{")),
    "request": (None, Fault(404), Fault(200, body=b"{")),
    "zaqar": (None, Fault(401), Fault(503)),
}
"""What is done to each collector that asks a service; None: nobody listens."""


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, faults in FAULTS.items() for fault in faults])
def test_every_collector_bears_a_service_that_fails(trial: Trial, name: str, fault: Fault | None) -> None:
    trial.collect_in_vain(name, fault=fault)


def test_the_daemon_calls_its_command(trial: Trial, tmp_path: Path) -> None:
    trial.run_daemon(f"touch {tmp_path}/called")
    assert (tmp_path / "called").exists()


def test_our_template_is_rendered(trial: Trial) -> None:
    assert trial.apply() == "[DEFAULT]\ncommand = heat-config-kubelet run\npolling_interval = 5\n"


@pytest.mark.parametrize("transport", [name for name in TRANSPORTS if name != "NO_SIGNAL"])
def test_every_transport_delivers(trial: Trial, transport: str) -> None:
    assert trial.signal(transport)["deploy_status_code"] != 0


@pytest.mark.parametrize("command", ["check-cache", "status", "resume", "kubelet-config", "elements-path"])
def test_every_command_has_its_modules(trial: Trial, command: str) -> None:
    trial.run(["heat-config-kubelet", command, "--help"])


@pytest.fixture(scope="module")
def modules(trial: Trial) -> dict[str, Path]:
    """All that the agent imports when every part of it is run."""
    for name in COLLECTORS:
        trial.collect(name)
    return trial.modules


def test_nothing_is_missed_that_is_only_imported_later(modules: dict[str, Path], environment: Path) -> None:
    """What a module that is used imports anywhere in it is there, or is known not to be needed."""
    left_out = [name for names in image_requirements.left_out().values() for name in names]
    missed = image_requirements.imports_of(left_out, modules, image_requirements.site(environment))
    assert missed == image_requirements.NOT_NEEDED.keys()


def test_all_that_is_installed_is_imported(modules: dict[str, Path], environment: Path) -> None:
    packages = image_requirements.site(environment)
    owned_by = json.loads((environment / "owners.json").read_text())
    installed = {path.name.split("-")[0] for path in packages.glob("*.dist-info")}
    assert installed == image_requirements.used(modules, packages, owned_by) | {image_requirements.OURS}


def test_it_is_small(environment: Path) -> None:
    """In MiB as the file system counts them, in whole blocks; .pyc files are in it."""
    assert list(environment.rglob("*.pyc"))
    used = sum(path.lstat().st_blocks * 512 for path in environment.rglob("*"))
    pack = ["bash", "-o", "pipefail", "-c", 'tar -C "$0" -c . | zstd -3 -c', str(environment)]
    packed = subprocess.run(pack, capture_output=True, check=True).stdout
    assert used / 2**20 <= MOST_MIB
    assert len(packed) / 2**20 <= MOST_MIB_COMPRESSED


@pytest.mark.parametrize("name", ["pip", "setuptools", "openstack", "cryptography"])
def test_what_no_node_needs_is_not_there(environment: Path, name: str) -> None:
    assert list(image_requirements.site(environment).glob(f"{name}*")) == []
