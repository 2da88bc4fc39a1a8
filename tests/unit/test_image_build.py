"""image-build: what it takes over from the build machine, and what it tells of a build that failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from imagebuild import budget, disk, machine
from imagebuild.pieces import PIECES, Image, Piece

_DEFAULTS = {
    "DIB_DISTRIBUTION_MIRROR": "http://deb.debian.org/debian",
    "DIB_DEBIAN_SECURITY_MIRROR": "http://deb.debian.org/debian-security",
}


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([], _DEFAULTS),
        (["# deb http://old.example/debian bookworm main\n"], _DEFAULTS),
        (["deb cdrom:[Debian]/ bookworm main\ndeb file:/srv/debian bookworm main\n"], _DEFAULTS),
        (
            [
                "deb [arch=amd64 signed-by=/k] http://m.example/debian/ bookworm main contrib\n"
                "deb http://m.example/debian bookworm-updates main\n"
                "deb http://s.example/debian-security bookworm-security main\n"
            ],
            {
                "DIB_DISTRIBUTION_MIRROR": "http://m.example/debian",
                "DIB_DEBIAN_SECURITY_MIRROR": "http://s.example/debian-security",
            },
        ),
        (
            [
                "Types: deb\nURIs: https://m.example/debian\nSuites: trixie trixie-updates\nComponents: main\n\n"
                "Types: deb\nURIs: https://m.example/security\nSuites: trixie-security\nComponents: main\n",
                "Types: deb\nURIs: https://download.example/linux/debian\nSuites: trixie\nEnabled: no\n",
            ],
            {
                "DIB_DISTRIBUTION_MIRROR": "https://m.example/debian",
                "DIB_DEBIAN_SECURITY_MIRROR": "https://m.example/security",
            },
        ),
        (["deb https://packages.example/apt cloud-sdk-bookworm main\n"], _DEFAULTS),
    ],
)
def test_mirrors_are_those_of_apt(sources: list[str], expected: dict[str, str]) -> None:
    assert machine.mirrors(sources) == expected


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (
            "2026-11-23 05:00:59.499 | E: Can not write log (Is /dev/pts mounted?) - posix_openpt (19)\n"
            "2026-11-23 05:01:00.000 | ERROR: kubelet: DIB_KUBELET_FILE is '/x': there is no such file\n"
            "2026-11-23 05:01:00.100 | E: of what follows\n",
            "kubelet: DIB_KUBELET_FILE is '/x': there is no such file",
        ),
        ("2026-11-23 05:01:00.000 | > E: Unable to locate package nothing\n", "Unable to locate package nothing"),
        (
            "2026-11-23 05:01:00.000 | Running hooks\n2026-11-23 05:01:00.000 | no space left\n"
            "2026-11-23 05:01:00.000 | Unmount /tmp/x/mnt\n"
            "2026-11-23 05:01:01.000 | INFO diskimage_builder.block_device.blockdevice [-] State already cleaned\n",
            "no space left",
        ),
        ("", "diskimage-builder said nothing"),
    ],
)
def test_the_first_error_of_a_log(log: str, expected: str) -> None:
    assert disk.first_error(log) == expected


def _image(agent: int) -> Image:
    pieces = tuple(Piece(name, 1, agent if name == "agent" else 1, 1 << 20) for name, _ in PIECES)
    return Image(packed=100 << 20, used=300 << 20, pieces=pieces)


def test_the_budget_is_compared_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "budget.ini"
    file.write_text("[image]\nqcow2 = 100\n[agent]\nused = 45\npacked = 0.5\n")
    lines = budget.compare(_image(46 << 20), file)
    assert [(line.what, line.mib, line.above) for line in lines] == [
        ("image qcow2", 100, False),
        ("agent used", 46, True),
        ("agent packed", 1, True),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is nothing in it"),
        ("[agnet]\nused = 1\n", r"\[agnet\]: there is no such piece; there are image, kernel"),
        ("[agent]\nsize = 1\n", r"\[agent\] size: choose used or packed"),
        ("[agent]\nused = 1 MiB\n", r"\[agent\] used: '1 MiB' is no number"),
        ("used = 1\n", "no section headers"),
    ],
)
def test_a_wrong_budget_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "budget.ini"
    file.write_text(text)
    with pytest.raises(budget.BudgetError, match=told):
        budget.compare(_image(1), file)


def test_the_budget_of_the_checkout_can_be_read() -> None:
    file = Path(__file__).parents[2] / "image-build" / "budget.ini"
    assert {line.what for line in budget.compare(_image(1), file)} >= {"image qcow2", "image used", "agent used"}
