"""`restart POD`: a pod of ours is ended and created anew, with a new UID, by the loop; its deployment stays decided."""

from __future__ import annotations

import argparse
import time

from .. import settings as settings_module
from ..errors import AgentError, PodError
from ..kubelet_api import KubeletApi
from ..kubelet_config import discover
from ..options import Options, options_of
from ..plan import owner_of
from ..pods import pods_of
from ..settings import Settings
from ..status import PodWatch
from ..store import REMOVING, WRITTEN, Entry, PodRow, Store
from ..values import Identity, Outcome, Pod, PodStatus
from . import names
from .change import VANISHED, Change, Planned, RefusedError, carry_out
from .names import UnknownNameError
from .node_view import NodeView


def main(given: argparse.Namespace) -> int:
    """Have a pod ended and created anew; gives the exit status. Raises AgentError."""
    restart = _Restart(settings_module.load(given.settings), given.pod)
    return carry_out(given, restart.look, restart.outcome)


def _row(name: str, store: Store, settings: Settings) -> PodRow:
    """Give our pod of this name. Raises UnknownNameError; where it is another's, that says so."""
    try:
        return names.find(name, store.pods(), lambda row: (str(row.key), row.key.name, row.uid), "pod of ours")
    except UnknownNameError:
        for each in NodeView(settings).manifests:
            if not each.ours and each.key and name in (str(each.key), each.key.name):
                raise UnknownNameError(
                    f"pod {each.key} is not ours: its manifest is {each.file}",
                    hint="moving the manifest out of the directory and back again restarts it",
                ) from None
        raise


def _owner(row: PodRow, store: Store) -> Entry | None:
    return owner_of(each for each in store.entries() if each.deployment.identity == row.identity)


def _wanted(row: PodRow, entry: Entry, settings: Settings) -> tuple[Pod, Options]:
    """Give the pod that will be created. Raises RefusedError where its deployment's config does not have it."""
    deployment = entry.deployment
    try:
        options = options_of(deployment.options, settings.defaults)
        pods = pods_of(deployment.config, identity=row.identity, strict=options.strict, node_name=settings.node_name)
    except PodError:
        raise RefusedError(
            f"pod {row.key} is not restarted: the config that {row.identity} has now is refused, "
            "so the pod could not be created anew",
            hint=f"`heat-config-kubelet show {row.identity}` says why",
        ) from None
    found = next((pod for pod in pods if pod.key == row.key), None)
    if found is None:
        raise RefusedError(f"pod {row.key} is not restarted: {row.identity} does not want it any more")
    return found, options


class _Restart:
    """Follows the pod that comes in the place of the one that is ended, and judges it as a deployment's is."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._api: KubeletApi | None = None
        self._watch: PodWatch | None = None
        self._uid = ""
        self._identity: Identity | None = None

    def look(self, store: Store) -> Planned:
        """Give what is to be done. Raises AgentError."""
        row = _row(self._name, store, self._settings)
        self._identity = row.identity
        if row.phase == REMOVING:
            raise RefusedError(f"pod {row.key} is not restarted: it is being ended already")
        entry = _owner(row, store)
        if entry is None or entry.deployment.removes:
            raise RefusedError(f"pod {row.key} is not restarted: no deployment wants it any more")
        _wanted(row, entry, self._settings)
        will = (
            f"Ends pod {row.key} of {row.identity}, with up to {row.grace:g} s of grace, and creates it anew.",
            "Its deployment is not decided anew, and nothing is signalled.",
        )
        change = Change("restart", str(row.key), row.uid, will)
        return Planned(change, lambda opened, _: opened.replace_pods([row.uid]))

    def outcome(self, store: Store, change: Change) -> tuple[bool, str] | None:
        """Give what came of it; None as long as it is not ready."""
        row = next((each for each in store.pods() if str(each.key) == change.name), None)
        if row is None:  # between its end and its new beginning, or for good
            return None if any(each.deployment.identity == self._identity for each in store.entries()) else VANISHED
        if row.uid == change.id or row.phase != WRITTEN:
            return None
        if row.uid != self._uid or self._watch is None:
            entry = _owner(row, store)
            if entry is None:
                return VANISHED
            self._watch, self._uid = PodWatch(*_wanted(row, entry, self._settings), time.monotonic()), row.uid
        status, trouble = self._status(row)
        verdict = self._watch.look(status, time.monotonic(), trouble=trouble)
        if verdict.outcome is Outcome.READY:
            return True, f"pod {row.key}: ready, as {row.uid}"
        if verdict.outcome is Outcome.FAILED:
            return False, f"pod {row.key}: {verdict.reason}"
        return None

    def _status(self, row: PodRow) -> tuple[PodStatus | None, str]:
        """What the kubelet says of a pod, or why it says nothing."""
        try:
            self._api = self._api or KubeletApi(discover(self._settings), node_name=self._settings.node_name)
            return next((each for each in self._api.pods() if each.uid == row.uid), None), ""
        except AgentError as error:
            return None, str(error)
