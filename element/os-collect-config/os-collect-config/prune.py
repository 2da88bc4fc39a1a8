"""Take out of a virtual environment what no node needs: prune.py VENV."""

import pathlib
import shutil
import sys


def main(venv):
    for site in venv.glob("lib/python3*/site-packages"):
        for name in ("pip*", "setuptools*", "_distutils_hack", "pkg_resources", "distutils-precedence.pth"):
            for path in site.glob(name):
                remove(path)
        for name in ("tests", "test"):
            for path in [*site.glob(f"*/{name}"), *site.glob(f"*/*/{name}")]:
                remove(path)
        for pattern in (
            "netaddr/eui/*.txt",
            "netaddr/eui/*.idx",
            "lxml/*.pxi",
            "lxml/*.pyx",
            "lxml/*.h",
            "lxml/includes",
            "lxml/objectify*",
            "lxml/html",
            "lxml/isoschematron",
            "heatclient/osc",
        ):
            for path in site.glob(pattern):
                remove(path)


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


main(pathlib.Path(sys.argv[1]))
