"""The comparison with expected files: what varies is replaced, anything else that differs is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("since 2026-11-23T06:00:00Z", "since TIME"),
        ("at 2026-11-23 06:00:00.123+01:00 on 2026-11-23, 06:00:01", "at TIME on DATE, TIME"),
        ("5m03s ago, 0.4s, 12s, 2h07m, 5d3h", "DURATION ago, DURATION, DURATION, DURATION, DURATION"),
        ("not ready within 120 s", "not ready within 120 s"),
        ("id 6f1e2d3c-07e8-4166-a26c-91f0a679010e", "id UUID"),
        ("heat-web-0123456789ab.json", "heat-web-HASH.json"),
        ("image " + "0af1" * 16, "image HASH"),
        ("https://127.0.0.1:34567/pods, port 10250", "https://127.0.0.1:PORT/pods, port PORT"),
        ("pod_ip 10.88.3.7", "pod_ip ADDRESS"),
        ("web-node7 on node7, not node77", "web-NODE on NODE, not node77"),
        ("image nginx:1.27, kubelet 1.35.0, container c1s", "image nginx:1.27, kubelet 1.35.0, container c1s"),
    ],
)
def test_what_varies_is_a_word(text: str, word: str) -> None:
    assert expected.steady(text, node="node7") == word + "\n"


def test_temporary_paths_are_a_word(tmp_path: Path) -> None:
    assert expected.steady(f"{tmp_path}/store, /tmp/lab-shared-x1_y/agent: gone") == "TMP/store, TMP/agent: gone\n"


def test_a_test_may_name_more_that_varies() -> None:
    assert expected.steady("process 4711 ended", also={r"process \d+": "process PID"}) == "process PID ended\n"


def test_tables_are_drawn_again_to_fit_the_words() -> None:
    short, long = ("NAME  AGE    STATE\nweb   9s     ready\n", "NAME  AGE      STATE\nweb   1000h07m  ready\n")
    assert expected.steady(short) == expected.steady(long) == "NAME  AGE       STATE\nweb   DURATION  ready\n"


def test_an_output_as_expected_passes_and_another_shows_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expected, "FOLDER", tmp_path)
    monkeypatch.delenv(expected.WRITE_VARIABLE, raising=False)
    with pytest.raises(AssertionError, match=r"\+all is well since TIME"):
        expected.check("status/one", "all is well since 06:00:00\n")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(expected.WRITE_VARIABLE, "1")
    expected.check("status/one", "all is well since 06:00:00\n")
    monkeypatch.delenv(expected.WRITE_VARIABLE)
    assert (tmp_path / "status" / "one.txt").read_text() == "all is well since TIME\n"
    expected.check("status/one", "all is well since 07:12:13\n")
    with pytest.raises(AssertionError, match=r"-all is well since TIME\n\+all is lost since TIME"):
        expected.check("status/one", "all is lost since 07:12:13\n")
