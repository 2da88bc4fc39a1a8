"""The kubelet's static manifest directory: writes, removes and recognises the manifests that are ours.

A manifest of ours is known by its mark, annotations in the pod itself, so that it is recognised when the store
is lost. Foreign files are read, to find pods of the same name, and never changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ManifestError
from .strict_yaml import encodable
from .values import Identity, Pod, PodKey

MARK = "heat-config-kubelet/"
"""Prefix of the annotations that are ours."""
_NUDGE = MARK + "nudge"
_NUDGE_LINE = re.compile(rb'\n *"' + _NUDGE.encode() + rb'": "\d+",')
STAGING = ".heat-config-kubelet"
"""A folder in the directory itself, so always on its file system; the kubelet passes over names that start with
a dot (kubernetes: pkg/kubelet/config/file.go, extractFromDir)."""
_MOST_BYTES = 10 * 1024 * 1024
"""The kubelet reads no more of a manifest (pkg/kubelet/config/file.go, maxConfigLength)."""


@dataclass(frozen=True)
class Mark:
    """What a manifest of ours says about itself. Never the config's id: that changes without the content."""

    identity: Identity
    source: str
    content_hash: str
    generation: str
    uid: str


@dataclass(frozen=True)
class Found:
    """A file in the directory: which pod it holds (None: none that can be read) and whether it is ours."""

    file: str
    key: PodKey | None
    mark: Mark | None
    grace: float
    file_hash: str

    @property
    def ours(self) -> bool:
        """Whether we wrote it: a copy of our manifest under another name is somebody else's."""
        return bool(self.mark and self.key and self.file == file_name(self.mark.identity, self.key))


def file_name(identity: Identity, key: PodKey) -> str:
    """Give the name of the file of a pod: readable, unique, and safe whatever the names hold."""
    digest = hashlib.sha256("\0".join((*identity, *key)).encode()).hexdigest()[:12]
    readable = "".join(char if (char.isalnum() and char.isascii()) or char in "-." else "-" for char in key.name)
    return f"heat-{readable[:80]}-{digest}.json"


def render(pod: Pod, mark: Mark) -> bytes:
    """Give the bytes of a manifest: the pod with its mark and with the UID that makes this creation unique.

    The kubelet keeps a UID that the manifest gives (pkg/kubelet/config/common.go, applyDefaults), so a pod that is
    created again is never mistaken for its predecessor.
    """
    metadata = dict(pod.manifest["metadata"])
    metadata["uid"] = mark.uid
    metadata["annotations"] = {
        **(metadata.get("annotations") or {}),
        MARK + "stack": mark.identity.stack_id,
        MARK + "resource": mark.identity.resource_name,
        MARK + "source": mark.source,
        MARK + "hash": mark.content_hash,
        MARK + "generation": mark.generation,
    }
    manifest = {"apiVersion": "v1", "kind": "Pod", **pod.manifest, "metadata": metadata}
    manifest.pop("status", None)
    return _encoded(manifest)


class ManifestDir:
    """The directory; every change is durable when the method returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[str, tuple[tuple[int, int, int], Found]] = {}

    def prepare(self) -> None:
        """Make the directory and drop what an interrupted write left. Raises ManifestError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            staging = self.folder / STAGING
            staging.mkdir(exist_ok=True, mode=0o700)
            for left in staging.iterdir():
                left.unlink()
        except OSError as error:
            raise self._error(error) from error

    def write(self, file: str, content: bytes) -> str:
        """Put a manifest in place as a whole, mode 0600; gives its SHA-256. Raises ManifestError."""
        staged = self.folder / STAGING / file
        try:
            handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            staged.rename(self.folder / file)
        except OSError as error:
            raise self._error(error) from error
        return _digest(content)

    def nudge(self, file: str, number: int) -> None:
        """Change a manifest's annotation that says nothing, so that the kubelet looks at it again at once.

        It changes neither the pod's UID nor the file's hash. Raises ManifestError.
        """
        try:
            manifest = json.loads((self.folder / file).read_bytes())
        except FileNotFoundError:
            return
        except (ValueError, RecursionError):
            return  # as below
        except OSError as error:
            raise self._error(error) from error
        metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
        if not isinstance(metadata, dict) or not _mark(metadata):
            return  # replaced by hand: not ours to change
        annotations = {name: value for name, value in metadata["annotations"].items() if name != _NUDGE}
        metadata["annotations"] = {_NUDGE: str(number), **annotations}
        try:
            content = _encoded(manifest)
        except UnicodeEncodeError:
            return  # edited by hand into what no file of ours holds
        self.write(file, content)

    def remove(self, file: str) -> None:
        """Unlink a manifest; that it is gone already is no error. Raises ManifestError."""
        try:
            (self.folder / file).unlink(missing_ok=True)
        except OSError as error:
            raise self._error(error) from error

    def sync(self) -> None:
        """Make renames and unlinks durable. Raises ManifestError."""
        try:
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise self._error(error) from error

    def scan(self) -> tuple[Found, ...]:
        """Read every file that the kubelet would read; unchanged ones only once. Raises ManifestError."""
        found: dict[str, tuple[tuple[int, int, int], Found]] = {}
        try:
            with os.scandir(self.folder) as listing:
                for item in sorted(listing, key=lambda item: item.name):
                    if item.name.startswith("."):
                        continue
                    try:
                        if not item.is_file():
                            continue
                        state = item.stat()
                    except FileNotFoundError:
                        continue  # gone since it was listed
                    version = (state.st_ino, state.st_mtime_ns, state.st_size)
                    known = self._seen.get(item.name)
                    found[item.name] = known if known and known[0] == version else (version, self._read(item.name))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._error(error) from error
        self._seen = found
        return tuple(each for _, each in found.values())

    def _read(self, file: str) -> Found:
        try:
            with (self.folder / file).open("rb") as stream:
                content = stream.read(_MOST_BYTES)
        except OSError:
            return Found(file, None, None, 0, "")
        digest = _digest(content)
        pod = parsed(content)
        metadata = pod.get("metadata") if pod else None
        if pod is None or not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str):
            return Found(file, None, None, 0, digest)
        key = PodKey(str(metadata.get("namespace") or "default"), metadata["name"])
        if not all(encodable(part) for part in key):
            return Found(file, None, None, 0, digest)  # a name that no pod can have, and no store can hold
        return Found(file, key, _mark(metadata), _grace(pod), digest)

    def _error(self, error: OSError) -> ManifestError:
        return ManifestError(
            f"{error.filename or self.folder}: {error.strerror or error}",
            hint="the manifest directory must be writable and have room",
        )


def _encoded(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n"


def _digest(content: bytes) -> str:
    """The SHA-256 of a manifest, the same however often it was nudged."""
    return hashlib.sha256(_NUDGE_LINE.sub(b"", content, count=1)).hexdigest()


def parsed(content: bytes) -> Mapping[str, Any] | None:
    """Read a manifest, JSON or YAML; None where it is none."""
    try:
        text = content.decode()
        if text.lstrip().startswith("{"):
            value = json.loads(text)
        else:
            import yaml  # a foreign file only: ours are JSON

            value = next(iter(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))), None)
    except Exception:  # whatever a foreign file holds, it is only not a pod
        return None
    return value if isinstance(value, Mapping) else None


def _mark(metadata: Mapping[str, Any]) -> Mark | None:
    annotations = metadata.get("annotations")
    if not isinstance(annotations, Mapping):
        return None
    values = [annotations.get(MARK + name) for name in ("stack", "resource", "source", "hash", "generation")]
    uid = metadata.get("uid")
    if not all(isinstance(value, str) for value in values) or not isinstance(uid, str):
        return None
    if not all(encodable(str(value)) for value in (*values, uid)):
        return None
    stack, resource, source, content_hash, generation = (str(value) for value in values)
    return Mark(Identity(stack, resource), source, content_hash, generation, uid)


def _grace(pod: Mapping[str, Any]) -> float:
    spec = pod.get("spec")
    value = spec.get("terminationGracePeriodSeconds", 30) if isinstance(spec, Mapping) else 30
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        return 30.0  # no number of seconds that a kubelet takes; compared before it is converted: it may be any size
    return float(value)
