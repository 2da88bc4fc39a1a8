"""A tar.gz of texts for a bug report: each without secrets and bounded in size, with an index that says what was cut.

Not here: what is packed (`commands/collect.py`) and which values are secret (`node_secrets.py`).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .secrets import BLANK, Blanker

MOST_EACH = 1 << 20
"""Bytes of one text: of more its end is taken, for it tells the newest."""
MOST_ALL = 24 << 20
"""Bytes of all texts together, before they are packed."""
_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?'\"<>]*)\?[^\s'\"<>)]+")
_LOGIN = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"<>]+@")
_TOKEN = re.compile(
    r"(?i)\b((?:x-auth-token|x-subject-token|authorization)[\"']?\s*[:=]\s*[\"']?)[^\s\"',}][^\r\n\"',}]*"
)
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """What became of one text."""

    name: str
    size: int
    """Bytes in the tar."""
    note: str = ""
    """What was cut, or the error that is there in its stead."""


def clean(text: str, blanker: Blanker) -> str:
    """Give a text without secrets: those that are known, and what has the form of one in programs' logs.

    Those are queries of URLs, which sign them, names and passwords in URLs, tokens of Keystone, private keys.
    """
    text = _KEY.sub(BLANK, blanker.text(text))
    text = _LOGIN.sub(rf"\1{BLANK}@", _QUERY.sub(rf"\1?{BLANK}", text))
    return _TOKEN.sub(rf"\1{BLANK}", text)


class Bundle:
    """The tar while it is written; `folder` is the folder in it, `now` the time of its files."""

    def __init__(self, tar: tarfile.TarFile, folder: str, blanker: Blanker, now: float) -> None:
        self._tar = tar
        self._folder = folder
        self._blanker = blanker
        self._now = now
        self._left = MOST_ALL
        self.parts: list[Part] = []

    def add(self, name: str, text: str, note: str = "") -> None:
        """Add a text; blanked first and then cut, so that no half of a secret is left."""
        content = clean(text, self._blanker).encode("utf-8", "replace")
        room = min(MOST_EACH, max(0, self._left))
        notes = [note] if note else []
        if len(content) > room:
            cut = len(content) - room
            notes.append(f"the first {cut} bytes of {len(content)} were left out")
            content = content[cut:]
            content = f"[{notes[-1]}]\n".encode() + content[content.find(b"\n") + 1 :]
        self._left -= len(content)
        self._put(name, content)
        self.parts.append(Part(name, len(content), "; ".join(notes)))

    def add_index(self, head: str) -> None:
        """Add the list of all parts, after `head`."""
        lines = [f"{part.size:>9}  {part.name}" + (f"  ({part.note})" if part.note else "") for part in self.parts]
        self._put("INDEX.txt", clean("\n".join([head, "", *lines, ""]), self._blanker).encode("utf-8", "replace"))

    def _put(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(f"{self._folder}/{clean(name, self._blanker)}")
        member.size, member.mode, member.mtime = len(content), 0o600, int(self._now)
        self._tar.addfile(member, io.BytesIO(content))


@contextlib.contextmanager
def written(file: Path, folder: str, blanker: Blanker, now: float) -> Iterator[Bundle]:
    """Write a tar, mode 0600, that is there whole or not at all. Raises OSError."""
    handle, aside = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as out:
            with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
                yield Bundle(tar, folder, blanker, now)
            out.flush()
            os.fsync(out.fileno())
        Path(aside).replace(file)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
