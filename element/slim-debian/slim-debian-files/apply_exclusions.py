"""Removes the files of installed packages that dpkg's path-exclude leaves out of those that come later.

What is there before the rules are: the packages of debootstrap. Nothing but files of packages is touched.
"""

import fnmatch
import pathlib
import re
import subprocess


def rules(files):
    """Give the rules as (whether they leave out, pattern), in dpkg's order."""
    found = []
    for file in files:
        for line in file.read_text().splitlines():
            match = re.match(r"path-(exclude|include)=(.+)", line)
            if match:
                pattern = re.compile(fnmatch.translate(match.group(2)))
                found.append((match.group(1) == "exclude", pattern))
    return found


def main():
    """Remove what the rules leave out, and the folders that are empty then."""
    known = rules(sorted(pathlib.Path("/etc/dpkg/dpkg.cfg.d").iterdir()))
    told = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${db-fsys:Files}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    folders = set()
    for name in {line[1:] for line in told.splitlines() if line.startswith(" /")}:
        matching = [exclude for exclude, pattern in known if pattern.match(name)]
        path = pathlib.Path(name)
        if matching and matching[-1] and (path.is_symlink() or path.is_file()):
            path.unlink()
            folders.add(path.parent)
    while folders:
        folder = folders.pop()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folders.add(folder.parent)


if __name__ == "__main__":
    main()
