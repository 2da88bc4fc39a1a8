"""When a stored result is sent, waits, or is given up."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from heat_config_kubelet.outbox import EXPIRY_GRACE_SECONDS, Listed, Parcel, Step, decide, next_attempt
from heat_config_kubelet.values import Identity

WHO = Identity("st/uuid", "dep")
OTHER = Identity("st/uuid", "other")
PARCEL = Parcel("new", WHO, "CFN_SIGNAL", decided_at=1000.0)
MAX_AGE = 21600.0


def step(parcel: Parcel, *listed: Listed, now: float = 1001.0) -> Step:
    return decide(parcel, listed, now, max_age=MAX_AGE).step


def test_a_new_result_is_sent_at_once() -> None:
    assert step(PARCEL, Listed("new", WHO), Listed("x", OTHER)) is Step.SEND


def test_a_refused_or_lost_signal_is_sent_again_when_its_time_has_come() -> None:
    """Today a signal whose answer is an error is never sent again."""
    parcel = replace(PARCEL, attempts=1, next_attempt=1005.0)
    waiting = decide(parcel, [Listed("new", WHO)], 1001.0, max_age=MAX_AGE)
    assert (waiting.step, waiting.until) == (Step.WAIT, 1005.0)
    assert step(parcel, Listed("new", WHO), now=1005.0) is Step.SEND


@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "HEAT_SIGNAL", "TEMP_URL_SIGNAL", "ZAQAR_SIGNAL"])
def test_a_late_signal_of_an_old_configuration_is_dropped(transport: str) -> None:
    """It names the resource: sent late, it would complete the newer configuration."""
    old = replace(PARCEL, id="old", transport=transport)
    decision = decide(old, [Listed("new", WHO)], 1001.0, max_age=MAX_AGE)
    assert decision.step is Step.DROP and "superseded by new" in decision.reason


def test_what_has_vanished_from_the_metadata_is_dropped() -> None:
    decision = decide(PARCEL, [Listed("x", OTHER)], 1001.0, max_age=MAX_AGE)
    assert decision.step is Step.DROP and "vanished" in decision.reason


@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "HEAT_SIGNAL"])
def test_a_replaced_entrys_delete_is_not_signalled_before_its_successor(transport: str) -> None:
    """With two entries of one identity Heat gives the old one's signal to the new one."""
    old = replace(PARCEL, id="old", transport=transport, delete=True)
    listed = [Listed("old", WHO, owner=False), Listed("new", WHO)]
    decision = decide(old, listed, 1001.0, max_age=MAX_AGE)
    assert decision.step is Step.WAIT and "successor new" in decision.reason and decision.until is None
    assert step(old, listed[0], replace(listed[1], settled=True)) is Step.SEND
    assert step(replace(old, id="new", delete=False), *listed) is Step.SEND


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "HEAT_SIGNAL", "TEMP_URL_SIGNAL", "ZAQAR_SIGNAL"])
def test_what_a_replaced_entry_came_to_is_dropped(transport: str, settled: bool) -> None:
    """Sent after its successor's signal, a late failure would fail the resource that the successor has mended."""
    old = replace(PARCEL, id="old", transport=transport)
    listed = [Listed("new", WHO, settled=settled), Listed("old", WHO, owner=False)]
    decision = decide(old, listed, 1001.0, max_age=MAX_AGE)
    assert decision.step is Step.DROP and "superseded by new" in decision.reason


@pytest.mark.parametrize("transport", ["TEMP_URL_SIGNAL", "ZAQAR_SIGNAL"])
def test_a_replaced_entrys_delete_with_an_address_of_its_own_is_signalled(transport: str) -> None:
    old = replace(PARCEL, id="old", transport=transport, delete=True)
    assert step(old, Listed("old", WHO, owner=False), Listed("new", WHO)) is Step.SEND


def test_an_old_result_is_given_up() -> None:
    assert step(PARCEL, Listed("new", WHO), now=1000.0 + MAX_AGE) is Step.SEND
    decision = decide(replace(PARCEL, attempts=9), [Listed("new", WHO)], 1001.0 + MAX_AGE, max_age=MAX_AGE)
    assert decision.step is Step.DROP and "[signals] max_age" in decision.reason and "9 attempts" in decision.reason


def test_a_signal_whose_url_ended_is_tried_once_and_then_given_up() -> None:
    """The URL's age is known; but the node's clock may be wrong, so Heat is asked once."""
    parcel = replace(PARCEL, expires_at=1900.0)
    late = 1901.0 + EXPIRY_GRACE_SECONDS
    assert step(parcel, Listed("new", WHO), now=late) is Step.SEND
    assert step(replace(parcel, attempts=1), Listed("new", WHO), now=1901.0) is Step.SEND
    decision = decide(replace(parcel, attempts=1), [Listed("new", WHO)], late, max_age=MAX_AGE)
    assert decision.step is Step.DROP and "expired" in decision.reason


def test_attempts_back_off_with_jitter_up_to_a_minute() -> None:
    rng = random.Random(7)
    delays = [[next_attempt(n, 100.0, rng) - 100.0 for _ in range(50)] for n in range(1, 30)]
    assert all(0.75 <= delay <= 1.25 for delay in delays[0])
    assert all(1.5 <= delay <= 2.5 for delay in delays[1])
    assert all(36.0 <= delay <= 60.0 for row in delays[6:] for delay in row)
    assert all(len(set(row)) > 10 for row in delays)
    assert next_attempt(10**9, 100.0, rng) <= 160.0


def test_a_servers_retry_after_is_waited_for_up_to_an_hour() -> None:
    rng = random.Random(7)
    assert 130.0 <= next_attempt(1, 100.0, rng, retry_after=30.0) <= 133.0
    assert next_attempt(1, 100.0, rng, retry_after=10**7) <= 100.0 + 3600 * 1.1
    assert 100.75 <= next_attempt(1, 100.0, rng, retry_after=0.0) <= 101.25
