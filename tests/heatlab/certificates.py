"""A private CA and the one certificate of the lab's endpoints, made with the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_authority(folder: Path, days: int = 30) -> None:
    """Write ca.key and ca.crt where they are not there."""
    if (folder / "ca.crt").exists():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Without its use a CA is refused by Python from 3.13 on: ssl.VERIFY_X509_STRICT.
    about = ["-days", str(days), "-subj", "/CN=Lab's own CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    _openssl(folder, ["req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.crt", *about])


def make(folder: Path, address: str) -> None:
    """Write server.pem (key and certificate of an address) where it is not there, and so the authority's files."""
    if (folder / "server.pem").exists():
        return
    make_authority(folder)
    names = ["-addext", f"subjectAltName=IP:{address},DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-days", "30", "-subj", f"/CN={address}"]
    _openssl(folder, ["req", "-x509", *_KEY, "-keyout", "server.key", "-out", "server.crt", *signed, *names])
    (folder / "server.pem").touch(mode=0o600)
    (folder / "server.pem").write_text((folder / "server.key").read_text() + (folder / "server.crt").read_text())


def _openssl(folder: Path, arguments: list[str]) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
