"""os-collect-config as our unit runs it: `heat-config-kubelet-collector`, with os-collect-config's own arguments.

It is that daemon, in this process, begun otherwise in four things. What a power loss left damaged in its cache is
dropped first (`collector_cache.py`). Nodes that were booted together wait, each for a random part of $SPLAY seconds:
its own option "splay" would wait again after each change of its settings, and ends with a TypeError on Python 3.12
and later. And what only some of its collectors need is imported when one of them needs it (`late_imports.py`): a
start takes half the time, and a quarter of its memory is saved. And of an URL that it logs where nobody answers, as
its collectors do with pre-signed ones (request.py, cfn.py), the query is blanked.
Where os-collect-config is not in our own Python environment, the one on the PATH is run as it is.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from . import settings
from .collector_cache import drop_damaged
from .errors import AgentError
from .late_imports import late_imports

LATE = (
    "dogpile.cache",
    "heatclient.client",
    "keystoneclient.contrib.ec2.utils",
    "keystoneclient.discover",
    "keystoneclient.exceptions",
    "keystoneclient.v3.client",
    "lxml.etree",
    "netaddr",
    "stevedore",
    "zaqarclient.queues.v2.client",
    "zaqarclient.transport.request",
)
"""What os_collect_config imports for single collectors (cfn.py, heat.py, keystone.py and zaqar.py of 14.1), and
oslo_config for options that it does not have (types.py and cfg.py of 10.7)."""

NAME = "heat-config-kubelet-collector"
SPLAY = "SPLAY"
MOST_SPLAY = 99999.0
_QUERY = re.compile(r"([?&][\w.~%-]+=)[^&\s'\"()<>]+")


def main() -> int:
    """Be os-collect-config; gives its exit status."""
    gc.disable()  # what a start makes stays: to look through it for garbage again and again is a fifth of its work
    mend_cache()
    wait(os.environ)
    if importlib.util.find_spec("os_collect_config") is None:
        return run_another()
    with late_imports(*LATE):
        from os_collect_config import collect
    gc.freeze()
    gc.enable()
    logging.setLogRecordFactory(blanked)
    return int(collect.main() or 0)


def mend_cache(file: Path | None = None) -> None:
    """Drop what is damaged in the cache that the settings in `file` name; trouble is told, and the daemon starts."""
    try:
        for path in drop_damaged(settings.load(file).os_collect_config_cache):
            _say(f"{path}: damaged, removed; its source will count as changed")
    except AgentError as error:
        _say(error.message)


def wait(environment: MutableMapping[str, str], sleep: Callable[[float], None] = time.sleep) -> None:
    """Sleep for a random part of $SPLAY seconds, once: this process may execute itself again, with `environment`."""
    given = environment.get(SPLAY, "0")
    environment[SPLAY] = "0"
    try:
        most = float(given)
        if not 0 <= most <= MOST_SPLAY:
            raise ValueError
    except ValueError:
        _say(f"{SPLAY}={given}: must be a number of seconds from 0 to {MOST_SPLAY:g}; nothing is waited for")
        return
    if most:
        sleep(random.uniform(0, most))  # noqa: S311  (jitter)


def blanked(*given: Any, **named: Any) -> logging.LogRecord:
    """Make a record of the log without the values of URLs' queries: who knows a signature is let in."""
    record = logging.LogRecord(*given, **named)
    text = str(record.msg) if not record.args else record.getMessage()
    record.msg, record.args = _QUERY.sub(r"\1***", text), None
    return record


def run_another() -> int:
    """Become the os-collect-config on the PATH; gives an exit status where there is none."""
    program = shutil.which("os-collect-config")
    if program is None:
        _say("there is no os-collect-config\n  hint: pip install os-collect-config")
        return 1
    return os.execv(program, [program, *sys.argv[1:]])  # noqa: S606  (no shell is wanted)


def _say(text: str) -> None:
    print(f"heat-config-kubelet: {text}", file=sys.stderr, flush=True)
