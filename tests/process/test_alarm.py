"""The life of an alarm: what may happen when, and what follows."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model.alarm import Alarm, Event, Impossible, State, step
from penstock.model.anomaly import Priority
from penstock.model.anomaly import Test as Check

RAISED = Alarm(test=Check.LIMIT_H, priority=Priority.HIGH)


def after(*events: Event) -> Alarm:
    alarm = RAISED
    for event in events:
        alarm = step(alarm, event)
    return alarm


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ("", "unacknowledged"),
        ("acknowledge", "acknowledged"),
        ("return", "returned"),
        ("acknowledge return", "closed"),
        ("return acknowledge", "closed"),
        ("return raise", "unacknowledged"),
        ("shelve", "shelved"),
        ("shelve return", "shelved"),
        ("shelve expire", "acknowledged"),
        ("shelve return expire", "closed"),
        ("shelve return raise expire", "unacknowledged"),
        ("shelve return raise return unshelve", "returned"),
        ("suppress", "suppressed"),
        ("suppress raise", "suppressed"),
        ("suppress release", "unacknowledged"),
        ("suppress return release", "returned"),
        ("shelve suppress release", "acknowledged"),
    ],
)
def test_what_follows(events: str, state: str) -> None:
    assert after(*map(Event, events.split())).state == state


def test_repeats_are_counted() -> None:
    assert after(Event.RETURN, Event.RAISE, Event.RAISE).occurrences == 3


def test_a_closed_alarm_stays_closed() -> None:
    closed = after(Event.ACKNOWLEDGE, Event.RETURN)
    for event in Event:
        with pytest.raises(Impossible, match="the alarm is closed"):
            step(closed, event)


def test_what_is_impossible_says_why() -> None:
    with pytest.raises(Impossible, match="the alarm is acknowledged; only an unacknowledged or returned alarm"):
        after(Event.ACKNOWLEDGE, Event.ACKNOWLEDGE)


@given(st.lists(st.sampled_from(Event), max_size=12))
def test_detectors_may_always_speak_of_an_open_alarm(events: list[Event]) -> None:
    alarm = RAISED
    for event in events:
        try:
            alarm = step(alarm, event)
        except Impossible:
            assert alarm.state is State.CLOSED or event not in (Event.RAISE, Event.RETURN)
        if alarm.state not in (State.SHELVED, State.SUPPRESSED):
            assert alarm.state is alarm.resting


def test_every_state_can_be_reached() -> None:
    seen = set()
    for events in itertools.product(Event, repeat=2):
        try:
            seen.add(after(*events).state)
        except Impossible:
            continue
    assert seen >= set(State)
