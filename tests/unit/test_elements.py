"""The elements of the agent, as far as they can be tested without building an image: settings, what is handed in."""

from __future__ import annotations

import configparser
import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ELEMENTS = Path(__file__).parents[2] / "element"
AGENT = ELEMENTS / "heat-config-kubelet"
COLLECTOR = ELEMENTS / "os-collect-config"
PREFIX = "DIB_HEAT_CONFIG_KUBELET_"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a hook as diskimage-builder does on the host: with the element's environment files."""
    sourced = " && ".join(f'. "{file}"' for file in sorted((AGENT / "environment.d").iterdir()))
    given = {"PATH": os.environ["PATH"], "DIB_INIT_SYSTEM": "systemd", **variables}
    return subprocess.run(
        ["bash", "-euc", f'{sourced} && "$@"', "bash", *command], env=given, capture_output=True, text=True
    )


def check(**settings: str) -> subprocess.CompletedProcess[str]:
    """Run what looks at the settings before anything is built."""
    return run([str(AGENT / "root.d" / "05-heat-config-kubelet-check")], **settings)


# --- the settings


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    for element, file in ((AGENT, "60-heat-config-kubelet.bash"), (COLLECTOR, "20-os-collect-config.bash")):
        readme = (element / "README.rst").read_text()
        told = dict(re.findall(r"^(DIB_\w+)\n  :Default: (.+)$", readme, re.MULTILINE))
        text = (element / "environment.d" / file).read_text()
        for name, default in re.findall(r"^export (DIB_\w+)=\$\{\w+:-(.*)\}$", text, re.MULTILINE):
            assert f"``{default}``" == told[name] or not default, name
        assert set(told) == set(re.findall(r"^export (DIB_\w+)=", text, re.MULTILINE))


def test_the_defaults_are_good() -> None:
    done = check()
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("COLLECTORS", "request"),
        ("COLLECTORS", "heat,cfn,zaqar"),
        ("KUBERNETES_CLIENT", "1"),
        ("MANIFEST_DIR", "/srv/pods"),
        ("POLLING_INTERVAL", "1"),
        ("SOURCE", "heat-config-kubelet==1.0"),
        ("SOURCE", "heat-config-kubelet @ git+https://example.org/x"),
        ("SPLAY", "0"),
        ("SSH_USER", "debian"),
    ],
)
def test_good_values(name: str, good: str) -> None:
    assert check(**{PREFIX + name: good}).stderr == ""


@pytest.mark.parametrize(
    ("name", "bad", "mend"),
    [
        ("CA", "/nowhere.pem", "certificates in PEM"),
        ("COLLECTORS", "heat local", "joined by commas"),
        ("COLLECTORS", "file", "some of cfn"),
        ("HOOKS", "/nowhere", "must be a folder"),
        ("KUBERNETES_CLIENT", "yes", "0 or 1"),
        ("MANIFEST_DIR", "pods", "an absolute path"),
        ("MANIFEST_DIR", "/srv/p|e id", "an absolute path"),
        ("POLLING_INTERVAL", "0", "from 1 to 99999"),
        ("POLLING_INTERVAL", "1.5", "from 1 to 99999"),
        ("SOURCE", "/nowhere/checkout", "no such file or folder"),
        ("SOURCE", "/etc/", "is no checkout"),
        ("SPLAY", "-1", "from 0 to 99999"),
        ("SSH_USER", "a b", "a user's name"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(name: str, bad: str, mend: str) -> None:
    done = check(**{PREFIX + name: bad})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"heat-config-kubelet: {PREFIX}{name}={bad}: ") and mend in line


def test_only_systemd_starts_the_agent() -> None:
    done = check(DIB_INIT_SYSTEM="openrc")
    assert done.returncode == 1 and "DIB_INIT_SYSTEM=openrc" in done.stderr


def test_a_private_key_among_the_authorities_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    assert check(DIB_HEAT_CONFIG_KUBELET_CA=str(tmp_path / "ca.pem")).returncode == 0
    (tmp_path / "ca.pem").write_text(CERTIFICATE + "-----BEGIN PRIVATE KEY-----\n")
    assert "private key" in check(DIB_HEAT_CONFIG_KUBELET_CA=str(tmp_path / "ca.pem")).stderr


@pytest.mark.parametrize(("hook", "good"), [("script", True), ("a.sh", False), ("kubelet", False)])
def test_hooks_are_named_as_groups(tmp_path: Path, hook: str, good: bool) -> None:
    (tmp_path / hook).touch()
    assert (check(DIB_HEAT_CONFIG_KUBELET_HOOKS=str(tmp_path)).returncode == 0) is good


# --- what is handed in


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """The folder in which diskimage-builder collects the hooks of all elements."""
    folder = tmp_path / "hooks"
    for element in (AGENT, COLLECTOR):
        data = element / element.name
        (folder / element.name).mkdir(parents=True)
        for file in data.iterdir():
            (folder / element.name / file.name).write_bytes(file.read_bytes())
    return folder


def bring(hooks: Path, element: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run what brings the host's part into the build, for elements at this place."""
    script = AGENT / "extra-data.d" / "50-heat-config-kubelet"
    array = (
        f'get_image_element_array() {{ echo "[heat-config-kubelet]={element}"; }}; export -f get_image_element_array'
    )
    return run(["bash", "-c", f'{array}; exec "{script}"'], TMP_HOOKS_PATH=str(hooks), **settings)


def test_a_checkout_is_its_own_source(hooks: Path) -> None:
    assert bring(hooks, AGENT).stderr == ""
    source = hooks / "heat-config-kubelet" / "source"
    assert (hooks / "heat-config-kubelet" / "requirement").read_text().strip() == (
        "/tmp/in_target.d/heat-config-kubelet/source"
    )
    assert (source / "heat_config_kubelet" / "data" / "os-apply-config").is_dir()
    assert not list(source.rglob("__pycache__")) and not (source / "element").exists()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A prefix with the elements of an installed package, whose Python has only what a wheel brings."""
    prefix = tmp_path / "prefix"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
    (site,) = prefix.glob("lib/python3*/site-packages")
    package = ELEMENTS.parent / "heat_config_kubelet"
    rows = []
    for file in sorted(package.rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            target = site / file.relative_to(package.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
            target.chmod(file.stat().st_mode)
            rows.append(f"{target.relative_to(site)},,")
    info = site / "heat_config_kubelet-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heat-config-kubelet\nVersion: 9.9\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (info / "direct_url.json").write_text('{"url": "file:///home/builder"}')
    names = ["METADATA", "WHEEL", "direct_url.json", "RECORD"]
    (info / "RECORD").write_text("\n".join([*rows, *(f"{info.name}/{name},," for name in names), ""]))
    element = prefix / "share" / "heat-config-kubelet" / "elements" / "heat-config-kubelet"
    element.mkdir(parents=True)
    return element


def test_an_installed_package_is_its_own_source(hooks: Path, installed: Path) -> None:
    done = bring(hooks, installed)
    assert done.stderr == ""
    name = (hooks / "heat-config-kubelet" / "requirement").read_text().strip().rpartition("/")[2]
    assert name == "heat_config_kubelet-9.9-py3-none-any.whl"
    with zipfile.ZipFile(hooks / "heat-config-kubelet" / name) as wheel:
        names = wheel.namelist()
        template = wheel.getinfo("heat_config_kubelet/data/os-apply-config/etc/os-collect-config.conf")
        assert template.external_attr >> 16 & stat.S_IXUSR
        assert "heat_config_kubelet-9.9.dist-info/direct_url.json" not in names
        assert not any(name.endswith(".pyc") for name in names)
        recorded = wheel.read("heat_config_kubelet-9.9.dist-info/RECORD").decode().splitlines()
        assert sorted(line.split(",")[0] for line in recorded) == sorted(names)


def test_elements_without_a_package_ask_for_the_source(hooks: Path, tmp_path: Path) -> None:
    element = tmp_path / "copied" / "elements" / "heat-config-kubelet"
    element.mkdir(parents=True)
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    done = bring(hooks, element, PATH=f"{bare}/bin:{os.environ['PATH']}")
    assert done.returncode == 1 and "set DIB_HEAT_CONFIG_KUBELET_SOURCE" in done.stderr


def test_hooks_and_authorities_are_brought(hooks: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "script").touch()
    settings = {"CA": str(tmp_path / "ca.pem"), "HOOKS": str(tmp_path / "given"), "SOURCE": "heat-config-kubelet==1"}
    assert bring(hooks, AGENT, **{PREFIX + name: value for name, value in settings.items()}).stderr == ""
    brought = hooks / "heat-config-kubelet"
    assert (brought / "ca.pem").read_text() == CERTIFICATE and (brought / "hooks" / "script").exists()
    assert (brought / "requirement").read_text() == "heat-config-kubelet==1\n"


# --- pip's settings


def pips(tmp_path: Path, **variables: str) -> configparser.SectionProxy:
    """Hand in the settings of a host with this home; give what pip in the chroot reads."""
    folder = tmp_path / "handed"
    script = COLLECTOR / "os-collect-config" / "pip_settings.py"
    given = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, **variables}
    requirements = COLLECTOR / "os-collect-config" / "requirements.txt"
    command = [sys.executable, str(script), str(folder), "/tmp/in_target.d/pip", str(requirements)]
    done = subprocess.run(command, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((folder / "pip.conf").stat().st_mode) == 0o600, "an index's URL may hold a password"
    parser = configparser.RawConfigParser()
    parser.read(folder / "pip.conf")
    return parser["global"]


def test_pips_settings_are_those_of_the_host_the_environment_first(tmp_path: Path) -> None:
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://file/simple\ntimeout = 77\nuser = true\n[install]\ntrusted-host = a\n"
    )
    named = {"PIP_INDEX_URL": "https://name:pass@environment/simple", "PIP_REQUIRE_VIRTUALENV": "1"}
    found = pips(tmp_path, **named, PIP_CONFIG_FILE="")
    assert found["index-url"] == "https://name:pass@environment/simple"
    assert (found["timeout"], found["trusted-host"]) == ("77", "a")
    assert set(found) <= {"index-url", "timeout", "trusted-host", "cert"}, "what makes no sense elsewhere stays here"


def test_certificates_are_copied_and_named_as_the_chroot_sees_them(tmp_path: Path) -> None:
    (tmp_path / "private.pem").write_text(CERTIFICATE)
    found = pips(tmp_path, REQUESTS_CA_BUNDLE=str(tmp_path / "private.pem"))
    assert found["cert"] == "/tmp/in_target.d/pip/cert.pem"
    assert (tmp_path / "handed" / "cert.pem").read_text() == CERTIFICATE


def test_a_certificate_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    script = COLLECTOR / "os-collect-config" / "pip_settings.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "x"), "/p"],
        env={"HOME": str(tmp_path), "PIP_CERT": "/nowhere.pem"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "/nowhere.pem" in done.stderr and "Traceback" not in done.stderr


def test_wheels_of_a_folder_are_handed_in_where_they_are_needed(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "lxml-6.1.3-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    (wheels / "oslo_config-10.7.0-py3-none-any.whl").touch()
    (wheels / "torch-9-py3-none-any.whl").touch()
    found = pips(tmp_path, PIP_FIND_LINKS=f"{wheels} https://links/", PIP_NO_INDEX="1")
    assert found["find-links"].split() == ["https://links/", "/tmp/in_target.d/pip"] and found["no-index"] == "1"
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "handed").glob("*.whl")) == ["lxml", "oslo_config"]


def test_diskimage_builders_own_mirror_wins(tmp_path: Path) -> None:
    found = pips(tmp_path, PIP_INDEX_URL="https://a/", DIB_PYPI_MIRROR_URL="https://mirror/simple")
    assert found["index-url"] == "https://mirror/simple"


# --- the lists and conventions


@pytest.mark.parametrize(
    "file",
    [
        COLLECTOR / "os-collect-config" / "requirements.txt",
        AGENT / "heat-config-kubelet" / "requirements-kubernetes.txt",
    ],
)
def test_every_distribution_is_pinned_with_hashes(file: Path) -> None:
    entries = re.split(r"\n(?=[A-Za-z])", file.read_text().strip())[1:]
    assert len(entries) > 5
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry


def test_the_list_has_what_the_package_asks_for() -> None:
    """os-collect-config and os-apply-config, and what ours imports itself."""
    config = configparser.ConfigParser()
    config.read(ELEMENTS.parent / "setup.cfg")
    wanted = re.findall(r"^([\w.-]+)>=", config["options"]["install_requires"], re.MULTILINE)
    listed = re.findall(
        r"^([\w.-]+)==", (COLLECTOR / "os-collect-config" / "requirements.txt").read_text(), re.MULTILINE
    )
    assert set(wanted) <= set(listed)


@pytest.mark.parametrize("element", [AGENT, COLLECTOR], ids=lambda path: path.name)
def test_packages_are_mapped(element: Path) -> None:
    """Every package has a name for distributions that are not named themselves."""
    installs = element / "package-installs.yaml"
    if not installs.exists():
        assert not (element / "pkg-map").exists()
        return
    names = re.findall(r"^([\w-]+):", installs.read_text(), re.MULTILINE)
    mapped = json.loads((element / "pkg-map").read_text())
    assert set(names) == set(mapped["default"])
