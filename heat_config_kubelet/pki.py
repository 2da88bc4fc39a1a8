"""Node-local certificates between the agent and a standalone kubelet, made with the openssl command.

Four files in one directory (0700), each replaced as a whole (0600): `ca.crt`, the CA's certificate; `server.pem` and
`client.pem`, certificate and key together, so that a crash never leaves one without the other; and `authority.pem`,
the CA's certificate and key, with which the other two are renewed. The CA's random name, the issuer of the others,
tells whether files belong together.

The certificates are valid from 1970 on, and for 20 years (the CA's own for 100) from now or from the release of this
file, whichever is later: a node whose clock is wrong at its first boot must work then and after the clock is set.

What a renewal asks of the kubelet: nothing, while the CA stays. From 1.31 on it watches `tlsCertFile` (feature gate
ReloadKubeletServerCertificateFile, on by default) and takes a new one at once, or within a minute where it misses
the change. Only a new CA, made where the old one is lost, needs a restart up to 1.35: `clientCAFile` is
watched from 1.36 on (feature gate ReloadKubeletClientCAFile).
Not for: certificates of a kubelet that somebody else has set up.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from pathlib import Path

from .errors import KubeletError

LIFETIME = timedelta(days=20 * 365)
AUTHORITY_LIFETIME = 5 * LIFETIME
RENEW_BEFORE = timedelta(days=90)
"""Certificates that end sooner than this are renewed."""

_NOT_BEFORE = "19700101000000Z"
_CLOCK_FLOOR = datetime(2026, 11, 1, tzinfo=timezone.utc)
"""No node of this release runs earlier; a clock that says so is wrong."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)

_OPENSSL_CONFIG = """\
[req]
distinguished_name = name
[name]
[ca]
default_ca = local
[local]
dir = {work}
database = $dir/index
new_certs_dir = $dir
rand_serial = yes
default_md = sha256
policy = any
email_in_dn = no
copy_extensions = none
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1, DNS:localhost
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Pki:
    """The files of one directory; they need not be there yet."""

    directory: Path

    @property
    def ca(self) -> Path:
        """The CA's certificate, for both sides."""
        return self.directory / "ca.crt"

    @property
    def server(self) -> Path:
        """The kubelet's certificate and key, for 127.0.0.1 and localhost."""
        return self.directory / "server.pem"

    @property
    def client(self) -> Path:
        """The agent's certificate and key."""
        return self.directory / "client.pem"

    @property
    def authority(self) -> Path:
        """The CA's certificate and key, to sign with."""
        return self.directory / "authority.pem"


class Renewal(IntEnum):
    """What was made anew; false where nothing was."""

    NOTHING = 0
    CERTIFICATES = 1
    AUTHORITY = 2
    """The CA too: a kubelet up to 1.35 that runs has to be restarted."""


@dataclass(frozen=True)
class Certificate:
    """What the agent looks at in an X.509 certificate (RFC 5280, 4.1); names as DER, only to be compared."""

    issuer: bytes
    subject: bytes
    not_after: datetime


def renew_if_old(directory: Path, *, now: datetime | None = None) -> Renewal:
    """Make the certificates of `directory` anew where one is missing, damaged, of another CA, or soon ends.

    Reads three small files and starts no process where all is well: cheap enough for every pass.
    Tells what it made. Raises KubeletError where it cannot.
    """
    moment = now or datetime.now(timezone.utc)
    pki = Pki(directory)
    if _current(pki, moment):
        return Renewal.NOTHING
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(directory):
            return Renewal.NOTHING if _current(pki, moment) else _make(pki, moment)
    except OSError as error:
        raise KubeletError(f"{directory}: certificates for the kubelet cannot be written: {error}") from error


def read_certificate(path: Path) -> Certificate:
    """Read the first certificate of a PEM file; OSError or ValueError where there is none."""
    found = _CERTIFICATE.search(path.read_bytes())
    if not found:
        raise ValueError(f"{path}: holds no certificate")
    try:
        return _parse(base64.b64decode(found.group(1)))
    except (binascii.Error, IndexError, ValueError) as error:
        raise ValueError(f"{path}: holds no certificate that can be read ({error})") from error


def _current(pki: Pki, now: datetime) -> bool:
    try:
        authority, server, client = (read_certificate(path) for path in (pki.ca, pki.server, pki.client))
    except (OSError, ValueError):
        return False
    ends = min(authority.not_after, server.not_after, client.not_after)
    return server.issuer == client.issuer == authority.subject and ends - now > RENEW_BEFORE


def _parse(der: bytes) -> Certificate:
    tbs = _children(_children(der)[0][1])[0][1]
    fields = _children(tbs)
    if fields[0][0] == 0xA0:  # the version, absent in version 1
        fields = fields[1:]
    _serial, _algorithm, issuer, validity, subject = (content for _tag, content in fields[:5])
    return Certificate(issuer, subject, _time(*_children(validity)[1]))


def _children(der: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each DER element in `der`."""
    found, place = [], 0
    while place < len(der):
        tag, size, place = der[place], der[place + 1], place + 2
        if size & 0x80:
            more = size & 0x7F
            size, place = int.from_bytes(der[place : place + more], "big"), place + more
        if place + size > len(der):
            raise ValueError("cut short")
        found.append((tag, der[place : place + size]))
        place += size
    return found


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == 0x17:  # UTCTime: two digits of the year, 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    month, day, hour, minute, second = (int(text[place : place + 2]) for place in range(4, 14, 2))
    return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=timezone.utc)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _make(pki: Pki, now: datetime) -> Renewal:
    start = max(now, _CLOCK_FLOOR)
    for left in pki.directory.glob(".new-*"):  # of a power loss; keys that nobody uses must not stay
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=pki.directory) as folder:
        work = Path(folder)
        (work / "openssl.cnf").write_text(_OPENSSL_CONFIG.format(work=work))
        (work / "index").touch()
        done = Renewal.CERTIFICATES if _kept(pki, start + LIFETIME, work) else Renewal.AUTHORITY
        if done is Renewal.AUTHORITY:
            _sign(work, "authority", f"/CN=kubelet of this node {secrets.token_hex(8)}", start + AUTHORITY_LIFETIME)
            _sign_ends(work, start + LIFETIME)
        fresh = {
            pki.authority: (work / "authority.pem").read_bytes(),
            pki.ca: _without_key((work / "authority.pem").read_bytes()),
            pki.server: (work / "server.pem").read_bytes(),
            pki.client: (work / "client.pem").read_bytes(),
        }
        for path, content in fresh.items():
            _replace(path, content, work / "aside")
    _sync(pki.directory)
    return done


def _kept(pki: Pki, until: datetime, work: Path) -> bool:
    """Sign new certificates by the CA that is there; tell whether that can be done, and is of any use."""
    try:
        authority = read_certificate(pki.authority)
        if authority.not_after < until or read_certificate(pki.ca).subject != authority.subject:
            return False
        _replace(work / "authority.pem", pki.authority.read_bytes(), work / "aside")
        _sign_ends(work, until)
    except (OSError, ValueError, KubeletError):  # a CA that cannot sign is replaced as one that is not there
        return False
    return True


def _sign_ends(work: Path, until: datetime) -> None:
    _sign(work, "server", "/CN=kubelet", until)
    _sign(work, "client", "/CN=heat-config-kubelet", until)


def _sign(work: Path, name: str, subject: str, until: datetime) -> None:
    """Make a key and its certificate, signed by the authority or, as the authority, by itself."""
    key, request, certificate = (work / f"{name}.{suffix}" for suffix in ("key", "csr", "crt"))
    config = ["-config", str(work / "openssl.cnf")]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl(["req", "-new", *config, *curve, "-subj", subject, "-keyout", str(key), "-out", str(request)])
    own, authority = name == "authority", str(work / "authority.pem")
    signer = ["-selfsign", "-keyfile", str(key)] if own else ["-cert", authority, "-keyfile", authority]
    # "x509 -not_before" came with OpenSSL 3.4 only; "ca" can date a certificate back in every release.
    dates = ["-startdate", _NOT_BEFORE, "-enddate", until.strftime("%Y%m%d%H%M%SZ")]
    files = ["-in", str(request), "-out", str(certificate)]
    _openssl(["ca", *config, "-batch", "-notext", *signer, *dates, "-extensions", name, *files])
    _replace(work / f"{name}.pem", certificate.read_bytes() + key.read_bytes(), work / "aside")


def _without_key(pem: bytes) -> bytes:
    found = _CERTIFICATE.search(pem)
    return found.group(0) + b"\n" if found else b""


def _openssl(arguments: list[str]) -> None:
    program = shutil.which("openssl")
    if not program:
        raise KubeletError("certificates for the kubelet need the command openssl", hint="install openssl")
    done = subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
    )
    if done.returncode:
        told = " ".join(done.stderr.split())[-500:]
        raise KubeletError(f"openssl {arguments[0]} failed with exit status {done.returncode}: {told}")


def _replace(path: Path, content: bytes, aside: Path) -> None:
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    aside.rename(path)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
