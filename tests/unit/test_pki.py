"""The node-local certificates: made by openssl, renewed when missing, damaged, mixed or old."""

from __future__ import annotations

import ssl
import stat
import subprocess
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from heat_config_kubelet import pki
from heat_config_kubelet.errors import KubeletError


@pytest.fixture
def made(tmp_path: Path) -> pki.Pki:
    assert pki.renew_if_old(tmp_path / "pki")
    return pki.Pki(tmp_path / "pki")


def contents(certificates: pki.Pki) -> list[bytes]:
    return [path.read_bytes() for path in (certificates.ca, certificates.server, certificates.client)]


def test_nobody_else_can_read_them(made: pki.Pki) -> None:
    assert stat.S_IMODE(made.directory.stat().st_mode) == 0o700
    files = sorted(made.directory.iterdir())
    assert [path.name for path in files] == ["authority.pem", "ca.crt", "client.pem", "server.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_the_cas_key_is_not_in_what_others_are_given(made: pki.Pki) -> None:
    assert b"PRIVATE KEY" not in made.ca.read_bytes()
    assert made.authority.read_bytes().startswith(made.ca.read_bytes())


def test_openssl_agrees(made: pki.Pki) -> None:
    for path, purpose in ((made.server, "sslserver"), (made.client, "sslclient")):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(made.ca), str(path)]
        assert subprocess.run(command, capture_output=True, text=True).stdout == f"{path}: OK\n"


def test_server_is_for_the_loopback_address_only(made: pki.Pki) -> None:
    command = ["openssl", "x509", "-in", str(made.server), "-noout", "-ext", "subjectAltName"]
    told = subprocess.run(command, capture_output=True, text=True).stdout
    assert told.split("\n")[1].strip() == "IP Address:127.0.0.1, DNS:localhost"


def test_both_sides_take_them(made: pki.Pki) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.ca))
    server.load_cert_chain(made.server, made.server)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(made.ca))
    client.load_cert_chain(made.client, made.client)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for end in ends * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert ends[1].getpeercert()


def test_a_clock_that_is_wrong_at_first_boot_does_no_harm(tmp_path: Path) -> None:
    pki.renew_if_old(tmp_path, now=datetime(1970, 1, 2, tzinfo=timezone.utc))
    read = pki.read_certificate(pki.Pki(tmp_path).server)
    assert read.not_after > datetime(2046, 1, 1, tzinfo=timezone.utc)
    command = ["openssl", "x509", "-in", str(pki.Pki(tmp_path).server), "-noout", "-startdate"]
    assert "Jan  1 00:00:00 1970 GMT" in subprocess.run(command, capture_output=True, text=True).stdout


def test_years_past_2049_are_read(tmp_path: Path) -> None:
    now = datetime(2040, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
    pki.renew_if_old(tmp_path, now=now)
    assert pki.read_certificate(pki.Pki(tmp_path).client).not_after == now + pki.LIFETIME
    assert not pki.renew_if_old(tmp_path, now=now)


def test_good_ones_are_kept_without_a_process(made: pki.Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    before = contents(made)
    assert not pki.renew_if_old(made.directory)
    assert contents(made) == before


def test_they_are_renewed_before_they_end_by_the_same_ca(made: pki.Pki) -> None:
    ca, server, client = contents(made)
    end = pki.read_certificate(made.server).not_after
    before = end - pki.RENEW_BEFORE
    assert not pki.renew_if_old(made.directory, now=before - timedelta(minutes=1))
    assert pki.renew_if_old(made.directory, now=before + timedelta(minutes=1)) is pki.Renewal.CERTIFICATES
    assert pki.read_certificate(made.server).not_after > end
    renewed = contents(made)
    assert renewed[0] == ca
    assert renewed[1] != server and renewed[2] != client
    test_openssl_agrees(made)


def test_a_ca_that_ends_sooner_is_replaced(made: pki.Pki) -> None:
    end = pki.read_certificate(made.ca).not_after
    now = end - pki.LIFETIME + timedelta(days=1)
    assert pki.renew_if_old(made.directory, now=now) is pki.Renewal.AUTHORITY
    assert pki.read_certificate(made.ca).not_after > end
    test_openssl_agrees(made)


def test_a_ca_without_its_key_is_replaced_only_when_needed(made: pki.Pki) -> None:
    before = contents(made)
    made.authority.unlink()
    assert not pki.renew_if_old(made.directory)
    made.client.unlink()
    assert pki.renew_if_old(made.directory) is pki.Renewal.AUTHORITY
    assert contents(made)[0] != before[0]


@pytest.mark.parametrize("key", [b"", b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"])
def test_a_ca_that_cannot_sign_is_replaced(made: pki.Pki, key: bytes) -> None:
    made.authority.write_bytes(made.ca.read_bytes() + key)
    made.client.unlink()
    assert pki.renew_if_old(made.directory) is pki.Renewal.AUTHORITY
    test_openssl_agrees(made)


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"])
def test_a_damaged_file_renews_all(made: pki.Pki, content: bytes) -> None:
    made.client.write_bytes(content)
    assert pki.renew_if_old(made.directory)
    assert not pki.renew_if_old(made.directory)


def test_a_missing_file_renews_all(made: pki.Pki) -> None:
    made.ca.unlink()
    assert pki.renew_if_old(made.directory)


def test_files_of_two_generations_are_renewed(made: pki.Pki, tmp_path: Path) -> None:
    pki.renew_if_old(tmp_path / "other")
    made.client.write_bytes(pki.Pki(tmp_path / "other").client.read_bytes())
    assert pki.renew_if_old(made.directory)


def test_what_a_power_loss_left_is_removed(made: pki.Pki) -> None:
    left = made.directory / ".new-abc"
    left.mkdir()
    (left / "authority.key").write_text("secret")
    made.ca.unlink()
    pki.renew_if_old(made.directory)
    assert not left.exists()


def test_only_one_of_several_makes_them(tmp_path: Path) -> None:
    told: list[pki.Renewal] = []
    threads = [threading.Thread(target=lambda: told.append(pki.renew_if_old(tmp_path / "pki"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [0, 0, 0, pki.Renewal.AUTHORITY]


def test_no_openssl_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KubeletError, match="install openssl"):
        pki.renew_if_old(tmp_path / "pki")


def test_openssl_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "openssl"
    program.write_text("#!/bin/sh\necho no entropy >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(KubeletError, match="openssl req failed with exit status 3: no entropy"):
        pki.renew_if_old(tmp_path / "pki")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KubeletError, match="certificates for the kubelet cannot be written"):
        pki.renew_if_old(tmp_path / "file" / "pki")
