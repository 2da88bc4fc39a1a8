"""os-collect-config's own settings, read as oslo.config reads them (oslo_config/iniparser.py, cfg.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_FILE = Path("/etc/os-collect-config.conf")
FILE_VARIABLE = "OS_COLLECT_CONFIG_FILE"
"""As the template of that file takes it (`data/os-apply-config`)."""
COLLECTORS = ("heat_local", "ec2", "cfn", "heat", "request", "local", "zaqar")
"""Those of os-collect-config 14.1, in the order in which it asks them where its settings do not say."""
NEEDED: Mapping[str, tuple[str, ...]] = {
    "cfn": ("metadata_url", "stack_name", "access_key_id", "secret_access_key", "path"),
    "heat": ("auth_url", "password", "project_id", "user_id", "stack_id", "resource_name"),
    "request": ("metadata_url",),
    "zaqar": ("auth_url", "password", "project_id", "user_id", "queue_id"),
}
"""What each collector that asks Heat needs: without one of them it says nothing (os_collect_config/*.py, collect)."""
_INTERVAL = 30.0
_TRUE = ("true", "1", "on", "yes")


@dataclass(frozen=True)
class CollectorFile:
    """The settings of os-collect-config; a setting may have several values."""

    file: Path
    sections: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict, repr=False)
    """It holds credentials."""
    faults: tuple[str, ...] = ()
    """Lines that are neither a section nor a setting, by number."""

    @classmethod
    def read(cls, file: Path) -> CollectorFile:
        """Read the file; OSError where that cannot be."""
        sections: dict[str, dict[str, list[str]]] = {}
        faults = []
        name = last = ""
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if not line.strip() or line.startswith(("#", ";")):
                last = ""
            elif line[0] in " \t" and last:
                sections[name][last][-1] += "\n" + line.strip()
            elif found := re.fullmatch(r"\[(.+)\]\s*", line):
                name, last = found[1], ""
                sections.setdefault(name, {})
            elif (found := re.match(r"\s*([^=:\s][^=:]*?)\s*[=:]\s*(.*)$", line)) and name:
                last = found[1].replace("-", "_")
                sections[name].setdefault(last, []).append(_plain(found[2]))
            else:
                last = ""
                faults.append(f"line {number}")
        frozen = {section: {key: tuple(each) for key, each in values.items()} for section, values in sections.items()}
        return cls(file, frozen, tuple(faults))

    def values(self, section: str, name: str) -> tuple[str, ...]:
        """All values of a setting; none where it is not there."""
        return self.sections.get(section, {}).get(name, ())

    def value(self, section: str, name: str) -> str:
        """The value in force, the last; "" where there is none."""
        return next(iter(reversed(self.values(section, name))), "")

    def truth(self, section: str, name: str) -> bool:
        """A setting that is on or off; off where it is not there."""
        return self.value(section, name).lower() in _TRUE

    @property
    def collectors(self) -> tuple[str, ...]:
        """The collectors that are asked."""
        return self.values("DEFAULT", "collectors") or COLLECTORS

    @property
    def polling_interval(self) -> float:
        """The longest pause between polls, seconds."""
        try:
            return float(self.value("DEFAULT", "polling_interval") or _INTERVAL)
        except ValueError:
            return _INTERVAL

    @property
    def configured(self) -> tuple[str, ...]:
        """The collectors that ask Heat, and have all that they need for it."""
        return tuple(name for name in self.collectors if name in NEEDED and not self.missing(name))

    def missing(self, collector: str) -> tuple[str, ...]:
        """What a collector that asks Heat has not been given."""
        return tuple(name for name in NEEDED[collector] if not self.value(collector, name))


def _plain(value: str) -> str:
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    return text.replace("$$", "$")
