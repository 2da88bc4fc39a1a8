"""The way in for os-collect-config: `run`, what its `command` calls when metadata has changed.

Runs os-apply-config where that is needed, records what is now wanted, makes sure that the loop runs, and returns,
so that polling goes on. It waits for no pod. A fault that a second try cannot mend is logged and not an exit
status: with one, os-collect-config would run the command again at every poll (os_collect_config/collect.py, main).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from .apply_config import ApplyConfig
from .clock import Clock
from .log import Log
from .settings import Settings


def run(settings: Settings, environment: Mapping[str, str] | None = None, clock: Clock | None = None) -> int:
    """Do one pass; gives the exit status. Raises AgentError where a second try can help."""
    environment = os.environ if environment is None else environment
    clock = clock or Clock()
    log = Log(settings.log_level)
    apply_config = ApplyConfig(settings, environment)
    try:
        # It takes most of a pass; what we need ourselves is imported beside it.
        from .record import record
        from .store import APPLIED, RUN, open_or_restart
        from .summary import Summarizer
        from .wake import Wake

        store = open_or_restart(settings.store_file, clock.wall(), log)
        recorded = record(settings, store, RUN, environment, clock, log)
    finally:
        problem = apply_config.wait()
    if problem:
        log.error("os-apply-config failed", problem=problem)
    wake = Wake(settings.state_dir)
    with store.transaction():
        store.put(APPLIED, json.dumps([recorded.at, problem]))
        wake.raise_flag()
        # Within the transaction: what the loop writes of later states comes later.
        Summarizer(settings, log, clock).note(store.entries(), store.pods(), None, lambda _: None)
    store.close()
    wake.start_loop(settings)
    return 1 if apply_config.again else 0
