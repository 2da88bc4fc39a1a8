"""Imports that wait: modules of other people's programs that are imported when they are first used, if ever.

For a program that imports all that any of its parts may need, most of which never runs. Of the modules named here it
gets stand-ins, which become the real ones at the first look at what is in them; up to then it is not noticed where
one cannot be imported.
Not for our own modules: those import within functions what not all need.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader


@contextmanager
def late_imports(*names: str) -> Iterator[None]:
    """Let those imports within the block wait that are of the modules `names`; one that is there already stays."""
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder:
    """Gives stand-ins for the modules, and for the packages that they are in; is their loader, too.

    By its methods only (docs.python.org, "The import system"): to import importlib.abc takes as long as some of those
    that wait.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = {name.rsplit(".", count)[0] for name in names for count in range(name.count(".") + 1)}

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in self.names:
            return importlib.machinery.ModuleSpec(fullname, cast("Loader", self), is_package=True)
        parent = fullname.rpartition(".")[0]
        if isinstance(sys.modules.get(parent), _StandIn):  # a part of it that nobody thought of: so it is needed now
            self.real(parent)
            return importlib.util.find_spec(fullname)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandIn(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: that is what waits."""

    def real(self, name: str) -> ModuleType:
        """Import the module itself. All stand-ins go: what is imported now may import others, and parts of them."""
        for each in [key for key, module in sys.modules.items() if isinstance(module, _StandIn)]:
            del sys.modules[each]
        package = name.partition(".")[0]
        self.names = {each for each in self.names if each.partition(".")[0] != package}
        return importlib.import_module(name)


class _StandIn(ModuleType):
    """Holds the place of a module that is not imported yet."""

    def __init__(self, name: str, finder: _Finder) -> None:
        super().__init__(name)
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or f"{self.__name__}.{name}" in self._finder.names:
            raise AttributeError(name)  # what imports and `inspect` ask for is no use of the module
        return getattr(self._finder.real(self.__name__), name)
