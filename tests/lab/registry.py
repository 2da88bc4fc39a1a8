"""A registry of images: Debian's docker-registry, with a folder and a port of 127.0.0.1 of its own.

Filled with the lab's own images, it stands for a public one: a node's runtime is told so by a host file. Its API is
that of the OCI distribution specification 1.0; images are pushed as Docker's schema 2, which it takes as well.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import urljoin

import requests

from . import packages
from .node import LabError, LabNode, free_ports
from .progress import Progress

_PROGRAM = "docker-registry"
_START_SECONDS = 30.0
_TYPE = "application/vnd.docker."


class Registry:
    """A registry, as a context manager: it serves from entry to exit; its folder stays."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        """`folder` is made if need be."""
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_ports(1)[0]}"
        self._log = folder / "registry.log"
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy on the way to 127.0.0.1

    def __enter__(self) -> Registry:
        packages.install(packages.REGISTRY, self._progress)
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def push(self, archive: Path) -> str:
        """Take in a docker archive's one image under its name, whose registry is left out; give its digest.

        `docker.io/library/busybox:latest` is `library/busybox:latest` here. Raises LabError where it is refused.
        """
        with tarfile.open(archive) as content:

            def read(path: str) -> bytes:
                stream = content.extractfile(path)
                assert stream
                return stream.read()

            (image,) = json.loads(read("manifest.json"))
            repository, _, tag = image["RepoTags"][0].partition("/")[2].rpartition(":")
            config = self._push_blob(repository, read(image["Config"]), "container.image.v1+json")
            layers = [self._push_blob(repository, read(path), "image.rootfs.diff.tar") for path in image["Layers"]]
        kind = f"{_TYPE}distribution.manifest.v2+json"
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}).encode()
        self._ask("PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": kind})
        return _digest(manifest)

    def stand_for(self, host: str, node: LabNode) -> None:
        """Let a node's runtime ask this registry, and no other, for images of `host`; until the node is emptied."""
        file = node.registries / host / "hosts.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'server = "{self.url}"\n')

    def close(self) -> None:
        """End it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._http.close()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "images")}},
            "http": {"addr": self.url.partition("//")[2]},
        }
        file = self.folder / "registry.yaml"
        file.write_text(json.dumps(settings))
        command = ["setpriv", "--pdeathsig", "KILL", _PROGRAM, "serve", str(file)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True
            )
        end = time.monotonic() + _START_SECONDS
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > end:
                raise LabError(f"{_PROGRAM} does not answer:\n{self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def _serves(self) -> bool:
        try:
            return self._http.get(f"{self.url}/v2/", timeout=5).ok
        except requests.ConnectionError:
            return False

    def _push_blob(self, repository: str, content: bytes, kind: str) -> dict[str, object]:
        """Store a blob, and give its descriptor for a manifest."""
        begun = self._ask("POST", f"/v2/{repository}/blobs/uploads/")
        place = urljoin(self.url, begun.headers["Location"])
        binary = {"Content-Type": "application/octet-stream"}
        self._ask("PUT", f"{place}&digest={_digest(content)}", content, binary)
        return {"mediaType": _TYPE + kind, "size": len(content), "digest": _digest(content)}

    def _ask(
        self, method: str, place: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> requests.Response:
        answer = self._http.request(method, urljoin(self.url, place), data=body, headers=headers, timeout=30)
        if not answer.ok:
            raise LabError(f"{_PROGRAM}: {method} {answer.url}: {answer.status_code} {answer.text[:500]}")
        return answer


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
