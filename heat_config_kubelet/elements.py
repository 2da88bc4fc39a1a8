"""Where the elements of diskimage-builder are: beside the package in a checkout, else among its data files."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from .errors import AgentError

_KNOWN_BY = ("elements", "heat-config-kubelet", "element-deps")


def elements_path(package: Path = Path(__file__).parent) -> Path:
    """Give the folder for ELEMENTS_PATH. Raises AgentError where the package was installed without its data files."""
    checkout = package.parent / "element"
    if checkout.joinpath(*_KNOWN_BY[1:]).is_file():
        return checkout
    for file in importlib.metadata.distribution("heat-config-kubelet").files or ():
        if file.parts[-len(_KNOWN_BY) :] == _KNOWN_BY:
            found = Path(str(file.locate())).resolve()
            if found.is_file():
                return found.parents[1]
    raise AgentError(
        "the elements are not installed with this package", hint="install it by pip, from its wheel or a checkout"
    )
