"""Ends with an error where a kernel module is there without one that it needs."""

import pathlib
import re
import subprocess
import sys


def name(file):
    """Give a module's name of its file's."""
    return re.sub(r"\.ko(\.\w+)?$", "", file.name).replace("-", "_")


def main():
    """Look at each installed kernel."""
    broken = []
    for kernel in pathlib.Path("/lib/modules").iterdir():
        files = sorted((kernel / "kernel").rglob("*.ko*"))
        built_in = (kernel / "modules.builtin").read_text().split()
        there = {name(file) for file in files} | {name(pathlib.Path(path)) for path in built_in}
        for file in files:
            told = subprocess.run(
                ["modinfo", "--field", "depends", str(file)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            missing = {need.replace("-", "_") for need in told.strip().split(",") if need} - there
            if missing:
                broken.append(f"ERROR: slim-debian: {file} is kept without {', '.join(sorted(missing))}, its need\n")
    sys.stderr.writelines(broken)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
