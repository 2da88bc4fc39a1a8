"""The log: one line an event, whatever it is given."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from heat_config_kubelet import log as log_module
from heat_config_kubelet.log import Log


def logged(level: str = "info", *, journal: bool = False) -> tuple[Log, io.StringIO]:
    out = io.StringIO()
    return Log(level, out=out, journal=journal), out


def test_an_event_is_one_line_of_key_and_value() -> None:
    log, out = logged()
    log.info("pod gone", pod="default/web", code=1, why="grace period over", empty="")
    assert out.getvalue() == 'INFO pod gone pod=default/web code=1 why="grace period over" empty=""\n'


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\x85b", "a\u2028b", "a\x1b[31mb", "a\x00b", "a\ud800b"])
def test_no_text_of_others_can_begin_a_line_or_command_a_terminal(text: str) -> None:
    log, out = logged()
    log.warning("said", text=text)
    assert out.getvalue().isprintable() or out.getvalue()[:-1].isprintable()
    assert out.getvalue().startswith('WARNING said text="a\\') and out.getvalue().count("\n") == 1


def test_quotes_and_backslashes_are_told_apart() -> None:
    log, out = logged()
    log.error("said", text='a "b" \\n')
    assert out.getvalue() == 'ERROR said text="a \\"b\\" \\\\n"\n'


def test_letters_of_any_language_stay_as_they_are() -> None:
    log, out = logged()
    log.info("said", text="größe")
    assert out.getvalue() == "INFO said text=größe\n"


def test_events_below_the_level_are_left_out() -> None:
    log, out = logged("warning")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert out.getvalue() == "WARNING c\nERROR d\n"


def test_the_journal_is_told_the_level_in_its_own_form() -> None:
    log, out = logged("debug", journal=True)
    log.debug("a")
    log.error("b")
    assert out.getvalue() == "<7>a\n<3>b\n"


def test_the_journal_is_known_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    out = io.StringIO()
    Log(out=out).info("a")
    assert out.getvalue() == "<6>a\n"


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    log, out = logged()
    out.close()
    log.info("a")
    assert out.closed


# --- the journal's own socket


class Journal:
    """Stands for systemd's: takes datagrams, and reads them by its protocol."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(5)

    def entry(self) -> dict[str, str]:
        """The next entry's fields."""
        data, found = self.socket.recv(65536), {}
        while data:
            name, _, rest = data.partition(b"\n")
            if b"=" in name:
                key, _, value = name.partition(b"=")
                data = rest
            else:
                length = int.from_bytes(rest[:8], "little")
                key, value = name, rest[8 : 8 + length]
                assert rest[8 + length : 9 + length] == b"\n"
                data = rest[9 + length :]
            found[key.decode()] = value.decode()
        return found


@pytest.fixture
def journal() -> Iterator[Journal]:
    with tempfile.TemporaryDirectory() as folder:
        found = Journal(Path(folder))
        with contextlib.closing(found.socket):
            yield found


def test_the_journal_gets_deployment_and_pod_as_fields(journal: Journal) -> None:
    out = io.StringIO()
    log = Log(out=out, journal=True, socket=journal.path)
    log.warning("manifest written", pod="default/web", deployment="shop/front", file="a b.json", config="id-1")
    assert journal.entry() == {
        "MESSAGE": 'manifest written pod=default/web deployment=shop/front file="a b.json" config=id-1',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "heat-config-kubelet",
        "POD": "default/web",
        "HEAT_DEPLOYMENT": "shop/front",
        "HEAT_CONFIG": "id-1",
    }
    assert out.getvalue() == ""


@pytest.mark.parametrize("name", ["a\nPRIORITY=0", "größe", "a\ud800b", "=", ""])
def test_no_name_can_forge_a_field(journal: Journal, name: str) -> None:
    Log(journal=True, socket=journal.path).info("said", deployment=name)
    found = journal.entry()
    assert found["PRIORITY"] == "6" and found["HEAT_DEPLOYMENT"] == name.replace("\ud800", "\\ud800")
    assert found.keys() == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "HEAT_DEPLOYMENT"}


def test_what_the_journal_does_not_take_goes_to_standard_error(journal: Journal, tmp_path: Path) -> None:
    out = io.StringIO()
    Log(out=out, journal=True, socket=journal.path).info("said", text="x" * 2**22)
    Log(out=out, journal=True, socket=tmp_path / "none").info("said", pod="default/web")
    assert [len(line) > 2**22 for line in out.getvalue().splitlines()] == [True, False]
    assert out.getvalue().endswith("<6>said pod=default/web\n")


def test_the_socket_is_used_only_where_standard_error_is_the_journal(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log_module, "JOURNAL_SOCKET", journal.path)
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    Log().info("to the journal")
    assert journal.entry()["MESSAGE"] == "to the journal"
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
    Log().info("to a file")
    assert capfd.readouterr().err == "<6>to a file\n"
