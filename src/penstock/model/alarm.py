"""An alarm's life (ISA-18.2, figure 7): one pure table of what may happen in which state, and what follows."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from penstock.model.anomaly import Priority, Test


class State(StrEnum):
    """Where an alarm stands; all but `closed` are open."""

    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned"
    """Returned to normal, and nobody has acknowledged it yet."""
    SHELVED = "shelved"
    SUPPRESSED = "suppressed"
    CLOSED = "closed"


class Event(StrEnum):
    """What can happen to an alarm: the first two by detectors, `expire` by time, the others by people."""

    RAISE = "raise"
    RETURN = "return"
    ACKNOWLEDGE = "acknowledge"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"
    EXPIRE = "expire"
    SUPPRESS = "suppress"
    RELEASE = "release"


class Impossible(ValueError):
    """This cannot happen to an alarm in this state."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """What of an alarm decides its next state. `test` and `priority` only name it."""

    test: Test
    priority: Priority
    state: State = State.UNACKNOWLEDGED
    active: bool = True
    acknowledged: bool = False
    occurrences: int = 1

    @property
    def resting(self) -> State:
        """The state of an alarm that is neither shelved nor suppressed."""
        if self.active:
            return State.ACKNOWLEDGED if self.acknowledged else State.UNACKNOWLEDGED
        return State.CLOSED if self.acknowledged else State.RETURNED


def step(alarm: Alarm, event: Event) -> Alarm:
    """The alarm after *event*. Raises Impossible, with a sentence for whoever tried."""
    move = _TABLE.get((alarm.state, event))
    if move is None:
        raise Impossible(f"the alarm is {alarm.state}; {_WANTS[event]}")
    return move(alarm)


def _raised(alarm: Alarm) -> Alarm:
    """An edge up; one while already up is only counted."""
    again = msgspec.structs.replace(alarm, active=True, occurrences=alarm.occurrences + 1)
    return again if alarm.active else msgspec.structs.replace(again, acknowledged=False)


def _returned(alarm: Alarm) -> Alarm:
    return msgspec.structs.replace(alarm, active=False)


def _acknowledged(alarm: Alarm) -> Alarm:
    return msgspec.structs.replace(alarm, acknowledged=True)


def _rest(alarm: Alarm) -> Alarm:
    return msgspec.structs.replace(alarm, state=alarm.resting)


def _shelved(alarm: Alarm) -> Alarm:
    """Whoever shelves an alarm has seen it."""
    return msgspec.structs.replace(_acknowledged(alarm), state=State.SHELVED)


def _suppressed(alarm: Alarm) -> Alarm:
    return msgspec.structs.replace(alarm, state=State.SUPPRESSED)


def _then_rest(move: Callable[[Alarm], Alarm]) -> Callable[[Alarm], Alarm]:
    return lambda alarm: _rest(move(alarm))


_WANTS: Final = {
    Event.RAISE: "an alarm that is closed is raised as a new one",
    Event.RETURN: "only an open alarm returns to normal",
    Event.ACKNOWLEDGE: "only an unacknowledged or returned alarm can be acknowledged",
    Event.SHELVE: "only an open alarm that is not yet shelved or suppressed can be shelved",
    Event.UNSHELVE: "only a shelved alarm can be unshelved",
    Event.EXPIRE: "only a shelved alarm expires",
    Event.SUPPRESS: "only an open alarm can be suppressed",
    Event.RELEASE: "only a suppressed alarm can be released",
}
_IN_VIEW: Final = (State.UNACKNOWLEDGED, State.ACKNOWLEDGED, State.RETURNED)
_SET_ASIDE: Final = (State.SHELVED, State.SUPPRESSED)
_TABLE: Final[dict[tuple[State, Event], Callable[[Alarm], Alarm]]] = {
    **{(state, Event.RAISE): _then_rest(_raised) for state in _IN_VIEW},
    **{(state, Event.RETURN): _then_rest(_returned) for state in _IN_VIEW},
    **{(state, Event.RAISE): _raised for state in _SET_ASIDE},
    **{(state, Event.RETURN): _returned for state in _SET_ASIDE},
    (State.UNACKNOWLEDGED, Event.ACKNOWLEDGE): _then_rest(_acknowledged),
    (State.RETURNED, Event.ACKNOWLEDGE): _then_rest(_acknowledged),
    **{(state, Event.SHELVE): _shelved for state in _IN_VIEW},
    **{(state, Event.SUPPRESS): _suppressed for state in (*_IN_VIEW, State.SHELVED)},
    (State.SHELVED, Event.UNSHELVE): _rest,
    (State.SHELVED, Event.EXPIRE): _rest,
    (State.SUPPRESSED, Event.RELEASE): _rest,
}
