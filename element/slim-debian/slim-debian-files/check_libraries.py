"""Ends with an error where a program in the folder that is named needs a library that is not there as well."""

import pathlib
import re
import subprocess
import sys

_ELF = b"\x7fELF"


def main():
    """Look at every program and library by the dynamic loader's own tables."""
    root = pathlib.Path(sys.argv[1])
    programs = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    there = {path.name for path in root.rglob("*.so*")}
    broken = []
    for path in programs:
        with path.open("rb") as stream:
            if stream.read(4) != _ELF or path.suffix == ".ko":
                continue
        told = subprocess.run(["ldd", str(path)], check=False, capture_output=True, text=True).stdout
        needs = set(re.findall(r"^\s*(\S+) => ", told, re.MULTILINE))
        broken += [f"ERROR: slim-debian: /{path.relative_to(root)} lacks {name}\n" for name in sorted(needs - there)]
    sys.stderr.writelines(broken)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
