"""Detector state at rest: one versioned block of bytes, keyed by tag path."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import zstandard

from penstock.process.detect.memory import Memory, Patch
from penstock.process.detect.season import Season
from penstock.telemetry import log

VERSION: Final = 1
LEVEL: Final = 1


class Frozen(msgspec.Struct, frozen=True):
    """n tags: for each memory its field names and float64 columns [fields, n], and the days [n, 48]."""

    version: int
    paths: Sequence[str]
    fields: dict[str, tuple[str, ...]]
    columns: dict[str, bytes]
    mean: bytes
    visits: bytes


def freeze(paths: Sequence[str], memories: Mapping[str, Memory], season: Season) -> bytes:
    """The state of the first len(paths) slots."""
    slots = np.arange(len(paths))
    frozen = Frozen(
        version=VERSION,
        paths=paths,
        fields={name: memory.names for name, memory in memories.items()},
        columns={name: memory.take(slots).columns.tobytes() for name, memory in memories.items()},
        mean=season.mean[: len(paths)].tobytes(),
        visits=season.visits[: len(paths)].tobytes(),
    )
    return zstandard.compress(msgspec.msgpack.encode(frozen), LEVEL)


def thaw(snapshot: bytes, slot_of: Mapping[str, int], memories: Mapping[str, Memory], season: Season) -> None:
    """Put a snapshot's state where its tags now are. One of another version is left, and logged."""
    try:
        frozen = msgspec.msgpack.decode(zstandard.decompress(snapshot), type=Frozen)
    except (msgspec.MsgspecError, zstandard.ZstdError) as error:
        log.warning("detectors start afresh: their snapshot cannot be read", error=str(error))
        return
    if frozen.version != VERSION or frozen.fields != {name: memory.names for name, memory in memories.items()}:
        log.warning("detectors start afresh: their snapshot is of another version", version=frozen.version)
        return
    places = np.array([i for i, path in enumerate(frozen.paths) if path in slot_of], np.intp)
    slots = np.array([slot_of[frozen.paths[i]] for i in places], np.intp)
    for name, memory in memories.items():
        columns = np.frombuffer(frozen.columns[name]).reshape(len(memory.names), len(frozen.paths))
        memory.put(Patch(slots, columns[:, places]))
    season.mean[slots] = np.frombuffer(frozen.mean, np.float32).reshape(-1, season.mean.shape[1])[places]
    season.visits[slots] = np.frombuffer(frozen.visits, np.uint8).reshape(-1, season.visits.shape[1])[places]
