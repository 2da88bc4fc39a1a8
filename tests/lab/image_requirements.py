"""Which distributions the agent of an image needs: those that it imports when all its parts are run.

Not what their metadata ask for: python-heatclient alone asks for a whole command line and a second SDK (cliff, cmd2,
openstacksdk…), of which no collector imports a line. `tools/image-requirements` makes the element's lists from this.
"""

from __future__ import annotations

import ast
import csv
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "element" / "os-collect-config" / "os-collect-config"
REQUIREMENTS = FOLDER / "requirements.txt"
LEFT_OUT = FOLDER / "left-out.txt"
"""A line for each distribution that is asked for and not installed: its name, and its modules."""

OURS = "heat_config_kubelet"

NOT_NEEDED: Mapping[tuple[str, str], str] = {
    ("oslo_utils.strutils", "pyparsing"): "in split_by_commas, which nobody of these calls",
    ("prettytable.prettytable", "wcwidth"): "while a table is printed, as the command of heatclient does",
    ("requests", "cryptography"): "to look at its version, where pyOpenSSL is installed",
}
"""Imports by modules that are used of distributions that are left out: module, what it imports, when it would."""


def site(environment: Path) -> Path:
    """The folder of a virtual environment's packages."""
    (found,) = environment.glob("lib/python3*/site-packages")
    return found


def owners(packages: Path) -> dict[str, str]:
    """Give the distribution of each top-level module or folder, by the names that their .dist-info have."""
    found = {}
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        with record.open(newline="") as stream:
            for row in csv.reader(stream):
                if row and not row[0].startswith(("..", "/")) and ".dist-info/" not in row[0]:
                    found[_top(Path(row[0]))] = record.parent.name.split("-")[0]
    return found


def used(modules: Mapping[str, Path], packages: Path, owned_by: Mapping[str, str]) -> set[str]:
    """Give the distributions that these modules' files belong to."""
    tops = {_top(file.relative_to(packages)) for file in modules.values() if packages in file.parents}
    return {owned_by[top] for top in tops if top in owned_by}


def imports_of(names: Iterable[str], modules: Mapping[str, Path], packages: Path) -> set[tuple[str, str]]:
    """Find which of these top-level modules the given modules import, anywhere in them: module, and what it imports."""
    wanted = set(names) - set(sys.stdlib_module_names)
    found = set()
    for name, file in modules.items():
        if packages not in file.parents or file.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {(name, alias.name.split(".")[0]) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add((name, node.module.split(".")[0]))
    return {(name, top) for name, top in found if top in wanted}


def left_out() -> dict[str, list[str]]:
    """Read the distributions that are left out, and the modules of each."""
    lines = [line.split() for line in LEFT_OUT.read_text().splitlines() if not line.startswith("#")]
    return {name: modules for name, *modules in lines}


def _top(path: Path) -> str:
    """The name by which the first part of a path is imported."""
    return path.parts[0].split(".")[0]
