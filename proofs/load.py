"""Senders: each has tags of its own, sends for ever, and again whatever was not acknowledged."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from whole import Plant

if TYPE_CHECKING:
    from fleet import Fleet

Key = tuple[str, int, float]
STEP_US = 1_000


class Timed(NamedTuple):
    """One request: when it was due and what it took from then on, by the monotonic clock, and its status."""

    due_s: float
    took_s: float
    status: int


class Sender(threading.Thread):
    """Readings of its tags in order of time; now and then a request that was acknowledged is sent again."""

    def __init__(  # noqa: PLR0913  # what it sends where
        self, door: Plant, number: int, stop: threading.Event, *, batch: int = 200, tags: int = 100,
        resent: float = 0.05, pause_s: float = 0.0, step_us: int = STEP_US,
    ) -> None:  # fmt: skip
        super().__init__(daemon=True)
        self.step_us = step_us
        self.timed: list[Timed] = []
        self.door, self.number, self.stop = door, number, stop
        self.size, self.tags, self.resent, self.pause_s = batch, tags, resent, pause_s
        self.begin_us = time.time_ns() // 1_000
        self.acknowledged = self.again = 0
        self.answers: Counter[int] = Counter()

    def run(self) -> None:
        rng = random.Random(self.number)
        while not self.stop.is_set():
            if self.send(self.acknowledged):
                self.acknowledged += 1
                if rng.random() < self.resent:
                    self.again += self.send(self.acknowledged - 1)
            time.sleep(self.pause_s)
        # one more time what nobody acknowledged: it may be there, and then it is what was sent
        while not self.send(self.acknowledged):
            time.sleep(0.2)
        self.acknowledged += 1

    def send(self, number: int) -> bool:
        due_s = self.due_s(number)
        status, _ = self.door.post("/v1/readings", self.batch(number))
        self.timed.append(Timed(due_s, time.monotonic() - due_s, status))
        self.answers[status] += 1
        if status != 202:
            time.sleep(0.1)
        return status == 202

    def due_s(self, number: int) -> float:
        """When this request should have been sent: now, for who has no schedule."""
        return time.monotonic()

    def batch(self, number: int) -> list[dict[str, object]]:
        first = number * self.size
        return [
            {
                "tag": f"proof/line/s{self.number}/t{i % self.tags}",
                "ts": self.begin_us + i * self.step_us,
                "value": i / 8,
            }
            for i in range(first, first + self.size)
        ]

    @property
    def readings(self) -> int:
        return self.acknowledged * self.size


class Paced(Sender):
    """Sends by a schedule, whatever the door does: a request that waits for the one before it is late itself.

    Source times follow the schedule. What comes back unacknowledged is sent again, and the schedule goes on.
    """

    def __init__(  # noqa: PLR0913  # what it sends where, and when
        self, door: Plant, number: int, stop: threading.Event, *, every_s: float, batch: int = 20, tags: int = 20,
        resent: float = 0.05,
    ) -> None:  # fmt: skip
        step_us = round(every_s * 1e6 / batch)
        super().__init__(door, number, stop, batch=batch, tags=tags, resent=resent, step_us=step_us)
        self.every_s = every_s
        self.paused = threading.Event()
        self._begin_s = time.monotonic()
        self._fresh = -1

    def send(self, number: int) -> bool:
        while self.paused.is_set() and not self.stop.is_set():
            time.sleep(0.01)
        time.sleep(max(0.0, self._begin_s + number * self.every_s - time.monotonic()))
        return super().send(number)

    def due_s(self, number: int) -> float:
        """By the schedule, if it is sent for the first time."""
        first, self._fresh = number > self._fresh, max(number, self._fresh)
        return self._begin_s + number * self.every_s if first else time.monotonic()

    def resume(self) -> None:
        """After a pause the schedule begins anew."""
        self._begin_s = time.monotonic() - self.acknowledged * self.every_s
        self.paused.clear()


def answers(senders: Iterable[Sender], since_s: float, until_s: float) -> dict[str, object]:
    """What was answered to requests due in that time: how often each status, and the time it took."""
    timed = [each for sender in senders for each in tuple(sender.timed) if since_s <= each.due_s < until_s]
    took_ms = sorted(each.took_s * 1_000 for each in timed)
    statuses = Counter(each.status for each in timed)
    return {"statuses": dict(statuses)} | {
        name: round(took_ms[int(share * (len(took_ms) - 1))], 1)
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0))
        if took_ms
    }


def judged(fleet: "Fleet", senders: Iterable[Sender]) -> dict[str, int]:
    """What was acknowledged against what is stored, and whether the books balance; see `penstock balance`."""
    sent = sum(sender.readings for sender in senders)
    ((rows, distinct),) = fleet.ask("select count(*), count(distinct (tag_id, ts)) from readings")
    ((late, settled),) = fleet.ask(
        "select coalesce(sum(late), 0)::bigint, sum(stored + duplicate + conflict + quarantined + moved)::bigint"
        " from shard"
    )
    ((received,),) = fleet.ask("select sum(greatest(put, seen))::bigint from produced")
    return {
        "sent": sent, "stored": rows, "lost": sent - distinct, "duplicated": rows - distinct, "late": late,
        "unaccounted": received - settled,
    }  # fmt: skip


FAULTS = ("lost", "duplicated", "late", "unaccounted")


def told_in_full(sender: Sender, body: dict[str, int]) -> bool:
    """Whether every reading of a request was taken."""
    return body["accepted"] == sender.size
