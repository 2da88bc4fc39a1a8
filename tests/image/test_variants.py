"""An image of other choices: its test-elements have looked at it while it was built, and here its disk is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from imagelab import images
from imagelab.images import VARIANT, Image, Kind

IMAGES = (VARIANT,)


@pytest.fixture(scope="module")
def root(built: dict[Kind, Image], folder: Path) -> Iterator[Path]:
    with images.mounted(built[VARIANT].raw, folder / "variant") as found:
        yield found


@pytest.mark.parametrize(
    "check", ["90-containerd-distribution", "90-every-setting", "99-slim-debian-builds"], ids=lambda name: name[3:]
)
def test_its_own_checks_were_run(built: dict[Kind, Image], check: str) -> None:
    log = built[VARIANT].qcow2.with_suffix(".log").read_text(errors="replace")
    assert f"post-install.d/{check}" in log


def test_the_distributions_containerd_has_the_preloaded_images(built: dict[Kind, Image], root: Path) -> None:
    manifest = built[VARIANT].qcow2.with_suffix(".manifest").read_text().splitlines()
    assert any(line.startswith("containerd 1.6.") for line in manifest)
    assert any(line.startswith("package containerd 1.6.") for line in manifest)
    assert len([line for line in manifest if line.startswith("image ")]) == 2
    store = root / "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
    assert list(store.glob("*/fs/bin/busybox"))
    assert not list((root / "var/lib/containerd/io.containerd.content.v1.content/ingest").glob("*"))


def test_the_distributions_containerd_is_left_as_it_is(root: Path) -> None:
    assert not (root / "usr/local/bin/containerd").exists()
    assert (root / "usr/bin/ctr").exists()
    assert (root / "usr/sbin/runc").exists()


def test_settings_that_may_hold_secrets_are_roots_alone(root: Path) -> None:
    hosts = root / "etc/containerd/certs.d/docker.io/hosts.toml"
    assert (hosts.stat().st_mode & 0o777, hosts.stat().st_uid) == (0o600, 0)
    settings = root / "etc/os-collect-config.conf"
    assert settings.stat().st_mode & 0o777 == 0o600


def test_nothing_of_the_tests_elements_is_left(root: Path) -> None:
    assert list(root.glob("usr/local/bin/*pair*")) == []
    assert list((root / "tmp").iterdir()) == []
