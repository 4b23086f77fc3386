"""Senders: each has tags of its own, sends for ever, and again whatever was not acknowledged."""

import random
import threading
import time
from collections import Counter

from whole import Plant

Key = tuple[str, int, float]
STEP_US = 1_000


class Sender(threading.Thread):
    """Readings of its tags in order of time; now and then a request that was acknowledged is sent again."""

    def __init__(  # noqa: PLR0913, PLR0917  # what it sends where
        self, door: Plant, number: int, stop: threading.Event, *, batch: int = 200, tags: int = 100, resent: float = 0.05,
        pause_s: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(daemon=True)
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
        status, _ = self.door.post("/v1/readings", self.batch(number))
        self.answers[status] += 1
        if status != 202:
            time.sleep(0.1)
        return status == 202

    def batch(self, number: int) -> list[dict[str, object]]:
        first = number * self.size
        return [
            {"tag": f"proof/line/s{self.number}/t{i % self.tags}", "ts": self.begin_us + i * STEP_US, "value": i / 8}
            for i in range(first, first + self.size)
        ]

    @property
    def readings(self) -> int:
        return self.acknowledged * self.size


def told_in_full(sender: Sender, body: dict[str, int]) -> bool:
    """Whether every reading of a request was taken."""
    return body["accepted"] == sender.size
