"""What stands in the simulated plant: sites, lines, machines, and a tag for each thing that is measured on them."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from penstock.model.batch import Floats, Int32s
from penstock.model.tag import Criticality, Limits, TagConfig

SITES: Final = ("lyon", "torino")
MACHINES_PER_LINE: Final = 6
LINES_PER_SITE: Final = 6
SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Channel:
    """One measurement of a kind of machine: value = idle + load * by_load + slow * by_rhythm + noise."""

    name: str
    unit: str
    idle: float
    by_load: float
    by_rhythm: float
    noise: float
    step: float
    """What the sensor resolves."""
    slow: bool = False

    @property
    def span(self) -> float:
        """From standstill to full load."""
        return self.by_load + self.by_rhythm

    def limits(self) -> Limits:
        """Wide of everything the machine does in good health."""
        top, spare = self.idle + self.span, max(0.2 * self.span, 8 * self.noise)
        return Limits(h=round(top + spare, 3), hh=round(top + 2 * spare, 3))


STATUS: Final = "status"
MACHINES: Final[dict[str, tuple[Channel, ...]]] = {
    "press": (
        Channel("temperature", "Cel", 42, 4, 22, 0.08, 0.1, slow=True),
        Channel("pressure", "bar", 12, 170, 6, 0.9, 0.25),
        Channel("vibration", "mm/s", 0.4, 3.2, 0.3, 0.09, 0.01),
        Channel("current", "A", 4, 58, 3, 0.5, 0.1),
    ),
    "oven": (
        Channel("temperature", "Cel", 175, 5, 45, 0.25, 0.1, slow=True),
        Channel("flow", "m3/h", 2, 34, 4, 0.3, 0.1),
        Channel("current", "A", 6, 40, 8, 0.4, 0.1),
    ),
    "compressor": (
        Channel("pressure", "bar", 5.8, 1.1, 0.4, 0.02, 0.01),
        Channel("temperature", "Cel", 48, 6, 18, 0.1, 0.1, slow=True),
        Channel("vibration", "mm/s", 0.9, 2.4, 0.2, 0.07, 0.01),
        Channel("current", "A", 12, 74, 5, 0.7, 0.1),
        Channel("flow", "m3/h", 40, 520, 30, 4.0, 1.0),
    ),
}
"""Orders of magnitude as a maintenance engineer would expect them; no machine in particular."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """One tag of the plant; a sensor without a channel reports its machine's state."""

    path: str
    machine: int
    channel: Channel | None


class Plant:
    """*sensors* tags on as many machines as that takes; their figures are arrays, one element a measuring sensor."""

    def __init__(self, sensors: int = 200, seed: int = 7) -> None:
        self.seed = seed
        self.sensors = _sensors(sensors)
        self.paths = [sensor.path for sensor in self.sensors]
        self.machines = 1 + max(sensor.machine for sensor in self.sensors)
        self.measures = np.array([sensor.channel is not None for sensor in self.sensors])
        channels = [sensor.channel for sensor in self.sensors if sensor.channel is not None]
        self.machine: Int32s = np.array([s.machine for s in self.sensors if s.channel is not None], np.int32)
        self.idle, self.by_load, self.by_rhythm, self.noise, self.step, self.span = (
            np.array([getattr(channel, name) for channel in channels], float)
            for name in ("idle", "by_load", "by_rhythm", "noise", "step", "span")
        )
        random = np.random.default_rng(seed)
        self.quirk: Floats = random.uniform(-0.03, 0.03, len(channels))
        """No two sensors are mounted alike."""
        self.wander_s: Floats = random.uniform(400, 2_400, (3, self.machines))
        self.wander_phase: Floats = random.uniform(0, 2 * np.pi, (3, self.machines))
        self.service_hour = random.integers(0, 7 * 24, self.machines)
        """The hour of the week in which a machine is maintained."""
        self.phase_us = random.integers(0, SECOND_US // 2, len(self.sensors))
        """Sensors do not report in step."""

    def configs(self, rate_hz: float) -> dict[str, TagConfig]:
        """What a plant engineer would set for each tag."""
        return {sensor.path: _config(sensor, rate_hz) for sensor in self.sensors}

    def find(self, machine: str, measurement: str) -> str:
        """The first tag of that kind, or else the first tag at all."""
        fitting = (path for path in self.paths if f"/{machine}-" in path and path.endswith(f"/{measurement}"))
        return next(fitting, self.paths[0])


def _sensors(count: int) -> list[Sensor]:
    sensors: list[Sensor] = []
    machine = 0
    while len(sensors) < count:
        kind = tuple(MACHINES)[machine % len(MACHINES)]
        place = _place(kind, machine)
        sensors += [Sensor(f"{place}/{channel.name}", machine, channel) for channel in MACHINES[kind]]
        sensors.append(Sensor(f"{place}/{STATUS}", machine, None))
        machine += 1
    return sensors[:count]


def _place(kind: str, machine: int) -> str:
    line = machine // MACHINES_PER_LINE
    site = SITES[line // LINES_PER_SITE % len(SITES)]
    area = f"hall-{1 + line // (LINES_PER_SITE * len(SITES))}"
    return f"{site}/{area}/line-{1 + line % LINES_PER_SITE}/{kind}-{1 + machine}"


def _config(sensor: Sensor, rate_hz: float) -> TagConfig:
    machine = sensor.path.split("/")[-2]
    if sensor.channel is None:
        return TagConfig(kind="state", description=f"What {machine} is doing", expected_interval_s=1 / rate_hz)
    channel = sensor.channel
    vital = machine.startswith("compressor") and channel.name == "pressure"
    return TagConfig(
        unit=channel.unit,
        kind=channel.name,
        description=f"{channel.name.capitalize()} of {machine}",
        criticality=Criticality.CRITICAL if vital else Criticality.STANDARD,
        expected_interval_s=1 / rate_hz,
        limits=channel.limits(),
        deadband=round(4 * channel.noise, 3),
        on_delay_s=0.0 if vital else 2.0,
        slow=channel.slow,
    )
