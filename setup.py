"""The elements of diskimage-builder go along as data files, folder by folder: setup.cfg has no word for a tree."""

import os
from pathlib import Path

from setuptools import setup

TREE = Path("element")
TARGET = Path("share/heat-config-kubelet/elements")
folders = [(Path(folder), sorted(names)) for folder, _, names in os.walk(TREE) if Path(folder).name != "__pycache__"]

setup(
    data_files=[
        (str(TARGET / folder.relative_to(TREE)), [str(folder / name) for name in names])
        for folder, names in sorted(folders)
        if names
    ]
)
