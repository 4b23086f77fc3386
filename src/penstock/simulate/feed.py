"""Sends the simulated plant through the front door, and sets its tags up as a plant engineer would."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from penstock.client import Client
from penstock.clock import Clock, SystemClock, within
from penstock.errors import Backpressure, PenstockError, Rejected, Unavailable, Unknown
from penstock.model.tag import site_of
from penstock.simulate.faults import Fault, FaultTable, shipped_faults, write_truth
from penstock.simulate.plant import SECOND_US, Plant
from penstock.simulate.signals import DOING, Doing, doing_at, rounded, values_at
from penstock.telemetry import log

READINGS_MAX: Final = 5_000
"""In one request."""
SEND_EVERY_S: Final = 0.25
BEHIND_MAX_S: Final = 60.0
"""A plant does not wait: what could not be sent for so long is skipped."""
REGISTER_TRIES: Final = 30
PAGE: Final = 1_000

Columns = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class PlantOptions:
    """How large, how fast, and what goes wrong. *faults* None: as `shipped_faults`; *truth*: a CSV to write them to."""

    sensors: int = 200
    rate_hz: float = 1.0
    seed: int = 7
    faults: Sequence[Fault] | None = None
    truth: Path | None = None
    configure: bool = True


def columns_at(plant: Plant, faults: FaultTable, ts_us: int) -> Columns:
    """Everything the plant reports at one tick, in the column form of `POST /v1/readings`."""
    clean, noise = values_at(plant, ts_us)
    shown, reported = faults.apply(ts_us, clean, noise)
    doing = doing_at(plant, ts_us)
    doing[list(faults.tripped(ts_us))] = Doing.FAULT
    values: list[float | None] = [None] * len(plant.paths)
    for place, value in zip(np.flatnonzero(plant.measures), rounded(plant, shown).tolist(), strict=True):
        values[place] = value
    keep = np.ones(len(plant.paths), bool)
    keep[plant.measures] = reported
    kept = np.flatnonzero(keep).tolist()
    states = [None if sensor.channel else DOING[doing[sensor.machine]] for sensor in plant.sensors]
    return {
        "tags": [plant.paths[i] for i in kept],
        "ts": (ts_us - plant.phase_us[kept]).tolist(),
        "values": [values[i] for i in kept],
        "states": [states[i] for i in kept],
    }


async def run_plant(client: Client, options: PlantOptions, stop: asyncio.Event, *, clock: Clock | None = None) -> None:
    """Run until *stop* is set. A door that is full or away is waited for, as sensors do; a wrong key ends it."""
    clock = clock or SystemClock()
    plant = Plant(options.sensors, options.seed)
    start_us = clock.now_us()
    faults = shipped_faults(plant) if options.faults is None else options.faults
    if options.truth is not None:
        write_truth(options.truth, faults, start_us)
    feed = _Feed(client, plant, FaultTable(plant, faults, start_us), options.rate_hz)
    configuring = asyncio.create_task(_configure(client, plant, options.rate_hz) if options.configure else _nothing())
    try:
        await feed.run(clock, stop)
    finally:
        configuring.cancel()
        await asyncio.gather(configuring, return_exceptions=True)


async def _nothing() -> None: ...


class _Feed:
    """One plant on its way to one door."""

    def __init__(self, client: Client, plant: Plant, faults: FaultTable, rate_hz: float) -> None:
        self._client, self._plant, self._faults = client, plant, faults
        self._period_us = max(1, round(SECOND_US / rate_hz))

    async def run(self, clock: Clock, stop: asyncio.Event) -> None:
        tick_us = clock.now_us() // self._period_us * self._period_us
        while not stop.is_set():
            now_us = clock.now_us()
            tick_us = max(tick_us, now_us - int(BEHIND_MAX_S * SECOND_US))
            ticks = range(tick_us, now_us, self._period_us)
            for batch in self._batches(ticks):
                await self._send(batch)
            tick_us += len(ticks) * self._period_us
            await within(max(SEND_EVERY_S, (tick_us - clock.now_us()) / SECOND_US), stop)

    def _batches(self, ticks: Sequence[int]) -> Iterator[Columns]:
        batch: Columns = {"tags": [], "ts": [], "values": [], "states": []}
        for tick_us in ticks:
            for name, column in columns_at(self._plant, self._faults, tick_us).items():
                batch[name] += column
            while len(batch["tags"]) >= READINGS_MAX:
                yield {name: column[:READINGS_MAX] for name, column in batch.items()}
                batch = {name: column[READINGS_MAX:] for name, column in batch.items()}
        if batch["tags"]:
            yield batch

    async def _send(self, batch: Columns) -> None:
        try:
            await self._client.send(batch)
        except (Backpressure, Unavailable) as error:
            log.warning("the simulated plant's readings were not taken", readings=len(batch["tags"]), why=str(error))


async def _configure(client: Client, plant: Plant, rate_hz: float) -> None:
    """Set up the tags that nobody has set up yet; what a person set is left alone."""
    try:
        await _registered(client, plant)
        held = await _described(client, plant)
        for path, config in plant.configs(rate_hz).items():
            if path not in held:
                await client.put(f"/v1/tags/{path}", msgspec.to_builtins(config))
    except PenstockError as error:
        log.warning("the simulated plant's tags were not set up", why=str(error))


async def _registered(client: Client, plant: Plant) -> None:
    """Return once the last tag is known, which is after its first reading is stored."""
    for _ in range(REGISTER_TRIES):
        try:
            await client.get(f"/v1/tags/{plant.paths[-1]}")
        except Unknown:
            await asyncio.sleep(0.5)
        else:
            return
    raise Rejected("they were never registered")


async def _described(client: Client, plant: Plant) -> set[str]:
    found: set[str] = set()
    for site in {site_of(path) for path in plant.paths}:
        cursor = None
        while True:
            page = await client.get("/v1/tags", prefix=f"{site}/", limit=PAGE, cursor=cursor)
            found |= {_path_of(item) for item in page["items"] if item.get("description")}
            cursor = page["next"]
            if cursor is None:
                break
    return found


def _path_of(item: dict[str, Any]) -> str:
    return str(item.get("tag") or item.get("path"))
