"""Take out of the agent's virtual environment what no node needs: prune.py VENV; prints what each step saved.

What the agent imports is found by running all its parts (the requirements file beside this says how); here goes what
is not code of those, or code that nothing imports. Runs with Python's standard library alone.
"""

import pathlib
import shutil
import struct
import sys

COMMANDS = ("heat-config-kubelet*", "os-apply-config", "os-collect-config", "os-refresh-config", "python*")
"""The programs that stay; the others are those of libraries."""

STEPS = (
    (
        "pip and setuptools",
        ("pip", "pip-*", "setuptools", "setuptools-*", "_distutils_hack", "distutils-precedence.pth", "pkg_resources"),
    ),
    ("packages' own tests", ("*/tests", "*/*/tests", "*/test", "*/*/test", "*/testsuite")),
    # Names of the makers of network cards: netaddr reads them when it is asked for one (netaddr/eui/ieee.py).
    ("netaddr's tables", ("netaddr/eui/*.txt", "netaddr/eui/*.idx")),
    # The collector cfn uses lxml.etree, which has what it needs of _elementpath.
    (
        "lxml beside etree",
        (
            "lxml/*.pxi",
            "lxml/*.pyx",
            "lxml/*.pxd",
            "lxml/*.h",
            "lxml/includes",
            "lxml/html",
            "lxml/isoschematron",
            "lxml/objectify.*",
            "lxml/sax.*",
            "lxml/builder.*",
            "lxml/_difflib.*",
            "lxml/ElementInclude.py",
            "lxml/cssselect.py",
            "lxml/doctestcompare.py",
            "lxml/pyclasslookup.py",
            "lxml/usedoctest.py",
        ),
    ),
    # They need distributions that are left out: osc-lib and cliff.
    (
        "commands of clients",
        (
            "heatclient/osc",
            "heatclient/shell.py",
            "zaqarclient/queues/cli.py",
            "zaqarclient/queues/v2/cli.py",
            "oslo_config/sphinx*",
            "oslo_config/generator.py",
            "oslo_config/validator.py",
        ),
    ),
    ("translations", ("*/locale",)),
    # dateutil asks the system's time zones first, and the log's times are local ones.
    ("dateutil's time zones", ("dateutil/zoneinfo/*.tar.gz",)),
    ("types and sources of C", ("**/*.pyi", "**/py.typed", "**/*.c", "**/*.pyx", "**/*.pxd", "*-stubs")),
    # Where each file came from (the build's folders too); entry points and versions are read at run time.
    (
        "installers' notes",
        (
            "*.dist-info/RECORD",
            "*.dist-info/INSTALLER",
            "*.dist-info/REQUESTED",
            "*.dist-info/direct_url.json",
            "*.dist-info/AUTHORS*",
            "*.dist-info/pbr.json",
            "*.dist-info/sboms",
        ),
    ),
)


def main(venv):
    """Take it out."""
    (site,) = venv.glob("lib/python3*/site-packages")
    before = size(venv)
    print(f"{before / 1048576:6.1f} MiB before")
    for name, patterns in STEPS:
        before = told(name, before, venv, [path for pattern in patterns for path in site.glob(pattern)])
    kept = {path for pattern in COMMANDS for path in venv.glob(f"bin/{pattern}")}
    commands = [path for path in venv.glob("bin/*") if path not in kept]
    before = told("commands of libraries", before, venv, [*commands, venv / "include", venv / "share"])
    for path in site.rglob("*.so*"):
        strip(path)
    before = told("symbols for debuggers", before, venv, [])
    told("compiled files of the build", before, venv, list(site.rglob("__pycache__")))
    print(f"{size(venv) / 1048576:6.1f} MiB now, to be compiled")


def told(name, before, venv, paths):
    """Remove the paths, say what that saved, and give the size that is left."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.is_symlink() or path.exists():
            path.unlink()
    left = size(venv)
    print(f"{(before - left) / 1048576:6.1f} MiB {name}")
    return left


def size(folder):
    """Give the bytes that the files take in whole blocks."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def strip(file):
    """Cut off what follows the last segment of an ELF file: symbols and debugging data, which no program loads.

    The table of sections goes with them; the dynamic linker reads segments alone (elf(5)).
    """
    data = bytearray(file.read_bytes())
    if data[:6] != b"\x7fELF\x02\x01":  # 64 bits, little-endian: what wheels are for here
        return
    start, sections = struct.unpack_from("<QQ", data, 0x20)
    entry_size, count = struct.unpack_from("<HH", data, 0x36)
    end = 0
    for number in range(count):
        offset, length = struct.unpack_from("<Q16xQ", data, start + number * entry_size + 8)
        end = max(end, offset + length)
    if end <= sections <= len(data):
        struct.pack_into("<Q", data, 0x28, 0)  # e_shoff
        struct.pack_into("<HHH", data, 0x3A, 0, 0, 0)  # e_shentsize, e_shnum, e_shstrndx
        file.write_bytes(data[:end])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
