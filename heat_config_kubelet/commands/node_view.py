"""What commands look at: the store, the manifest directory, and the kubelet; what cannot be seen is said, not raised.

No store is made by looking.
"""

from __future__ import annotations

import contextlib
import socket
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AgentError, DamagedStoreError, StoreError
from ..settings import Settings
from ..store import Entry, Event, PodRow, Store

if TYPE_CHECKING:
    from ..kubelet_config import KubeletAccess
    from ..manifest_dir import Found
    from ..secrets import Blanker
    from ..values import PodStatus

_RUNTIME_SECONDS = 1.0


@dataclass
class NodeView:
    """A node as it is now; each part is read when it is first asked for."""

    settings: Settings
    problems: dict[str, str] = field(default_factory=dict)
    """By part (store, manifests, kubelet, runtime), why it could not be seen; disk: why the store can only be read."""
    store_error: AgentError | None = None
    """Why the store cannot be read, once it was asked for; None where it can."""

    @cached_property
    def store(self) -> Store | None:
        """The store, open and sound; None where it cannot be read."""
        try:
            store = self._opened()
            try:
                store.check()
            except BaseException:
                store.close()
                raise
            return store
        except AgentError as error:
            self.store_error = error
        except (sqlite3.Error, OSError) as error:
            self.store_error = StoreError(f"{self.settings.store_file}: {error}")
        self.problems["store"] = str(self.store_error)
        return None

    def _opened(self) -> Store:
        file = self.settings.store_file
        try:
            return Store.open(file, create=False)
        except DamagedStoreError:
            raise
        except StoreError as error:
            if not file.exists():
                raise
            with contextlib.suppress(StoreError):
                store = Store.open_unwritable(file)
                self.problems["disk"] = f"the store can only be read: {error}"
                return store
            raise

    def close(self) -> None:
        """Let go of the store."""
        if self.__dict__.get("store"):
            self.__dict__["store"].close()

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All that the store knows, the vanished too, in the order in which they were first seen."""
        return self.store.entries(vanished=True) if self.store else ()

    @property
    def live(self) -> tuple[Entry, ...]:
        """Those of them that the metadata still have."""
        return tuple(entry for entry in self.entries if entry.vanished_at is None)

    @cached_property
    def blanker(self) -> Blanker:
        """Knows the secrets of all that the store knows: for texts of which it is not sure whose they are."""
        from ..secrets import Blanker

        return sum((Blanker.of(entry.deployment) for entry in self.entries), Blanker())

    @cached_property
    def pod_rows(self) -> tuple[PodRow, ...]:
        """The manifests that the store knows."""
        return self.store.pods() if self.store else ()

    def events(self, entry: Entry) -> tuple[Event, ...]:
        """An entry's timeline, oldest first."""
        return self.store.events(entry.deployment.id) if self.store else ()

    @cached_property
    def access(self) -> KubeletAccess | None:
        """How the kubelet is reached, and where its manifests are; None where that cannot be found out."""
        from ..kubelet_config import discover

        try:
            return discover(self.settings)
        except (AgentError, OSError) as error:
            self.problems["kubelet"] = str(error)
            return None

    @cached_property
    def manifests(self) -> tuple[Found, ...]:
        """The files of the manifest directory."""
        from ..manifest_dir import ManifestDir

        if not self.access:
            return ()
        try:
            return ManifestDir(self.access.manifest_dir).scan()
        except (AgentError, OSError) as error:
            self.problems["manifests"] = str(error)
            return ()

    @cached_property
    def statuses(self) -> tuple[PodStatus, ...] | None:
        """Every pod that the kubelet knows; None where it cannot be asked."""
        from ..kubelet_api import KubeletApi

        if not self.access:
            return None
        try:
            with contextlib.closing(KubeletApi(self.access, node_name=self.settings.node_name)) as kubelet:
                found = kubelet.pods()
            self._look_at_runtime(self.access.runtime_endpoint)
            return found
        except (AgentError, OSError) as error:
            self.problems["kubelet"] = str(error)
            return None

    def _look_at_runtime(self, endpoint: str) -> None:
        """Say so where nothing listens at the runtime's socket: what the kubelet tells then is what was so before.

        Its folder is not there where the agent is in a container: then nothing can be said.
        """
        path = Path(endpoint.removeprefix("unix://"))
        if not path.is_absolute() or not path.parent.is_dir():
            return
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_RUNTIME_SECONDS)
            try:
                link.connect(str(path))
            except OSError as error:
                why = error.strerror or str(error)
                self.problems["runtime"] = (
                    f"the container runtime does not answer at {endpoint}: {why} (no container is started or ended, and"
                    " what the kubelet says of pods is what it knew before)"
                )

    @cached_property
    def by_uid(self) -> Mapping[str, PodStatus] | None:
        """The same by UID; None where the kubelet cannot be asked."""
        return None if self.statuses is None else {status.uid: status for status in self.statuses}

    def status_of(self, row: PodRow) -> PodStatus | None:
        """What the kubelet says of a manifest's pod; None where it knows nothing of it."""
        return (self.by_uid or {}).get(row.uid)
