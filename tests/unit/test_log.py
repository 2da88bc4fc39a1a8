"""The log: one line an event, whatever it is given."""

from __future__ import annotations

import io

import pytest

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
