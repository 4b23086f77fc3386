"""Leases in PostgreSQL: who works on which unit of a stream that many workers share."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.errors import Fenced
from penstock.model.shard import Shard
from penstock.store.port import Beat, Behind, Checkpoint, Lease, LeaseState, Terms
from penstock.store.postgres import Database
from penstock.store.sql import statements

LOST_AFTER_S: Final = 60.0
SQL: Final = statements("leases")


class PostgresLeases:
    """Keeps the promises of `Leases`. Give it a small pool of its own, or a heartbeat may wait for a connection."""

    def __init__(self, database: Database, *, lost_after_s: float = LOST_AFTER_S) -> None:
        """A unit is lost when nobody's list of the stream has named it for *lost_after_s*."""
        self._database, self._lost_after_s = database, lost_after_s

    async def meet(self, stream: str, shards: Sequence[Shard]) -> Sequence[str]:
        if not shards:
            return ()
        units = [shard.name for shard in shards]
        known = msgspec.json.encode([_shard_json(shard) for shard in shards]).decode()
        async with self._database.transaction() as connection:
            await connection.execute(SQL["meet"], {"stream": stream, "shards": known})
            await connection.execute(SQL["meet_leases"], {"stream": stream, "units": units})
        again = {"stream": stream, "units": units, "again_s": self._lost_after_s / 4}
        await self._rows("name_units", again, returning=False)
        lost = await self._rows("lose_units", {"stream": stream, "units": units, "after_s": self._lost_after_s})
        return [unit for (unit,) in lost]

    async def beat(self, stream: str, owner: str, ttl_s: float, held: Mapping[str, tuple[int, Behind]]) -> Beat:
        who = {"stream": stream, "owner": owner, "ttl_s": ttl_s}
        await self._rows("attend", who, returning=False)
        given = {
            "units": [*held],
            "epochs": [epoch for epoch, _ in held.values()],
            "behind_ms": [behind.behind_ms for _, behind in held.values()],
            "progressed": [behind.progressed for _, behind in held.values()],
        }
        ((kept, wanted, workers, open_units),) = await self._rows("beat", who | given)
        return Beat(frozenset(kept), frozenset(wanted), workers, open_units)

    async def acquire(
        self, stream: str, owner: str, ttl_s: float, avoid: Collection[str] = (), idle_s: float = 0.0
    ) -> Lease | None:
        given = {"stream": stream, "owner": owner, "ttl_s": ttl_s, "avoid": [*avoid], "idle_s": idle_s}
        rows = await self._rows("acquire", given)
        return _lease(stream, owner, *rows[0]) if rows else None

    async def renew(self, lease: Lease) -> Lease:
        rows = await self._rows("renew", _of(lease))
        if not rows:
            raise Fenced
        return _lease(lease.stream, lease.owner, *rows[0])

    async def want(self, stream: str, owner: str, share: int, avoid: Collection[str] = ()) -> bool:
        given = {"stream": stream, "owner": owner, "share": share, "avoid": [*avoid]}
        return bool(await self._rows("want", given))

    async def release(self, lease: Lease) -> None:
        await self._rows("release", _of(lease), returning=False)

    async def end(self, lease: Lease, position: int) -> None:
        if not await self._rows("end", _of(lease) | {"position": position}):
            raise Fenced

    async def leave(self, stream: str, owner: str) -> None:
        await self._rows("leave", {"stream": stream, "owner": owner}, returning=False)

    async def declare(self, stream: str, terms: Terms) -> None:
        await self._rows("declare", {"stream": stream, **terms._asdict()}, returning=False)

    async def terms(self, stream: str) -> Terms | None:
        rows = await self._rows("terms", {"stream": stream})
        return Terms(*rows[0]) if rows else None

    async def states(self, stream: str) -> Sequence[LeaseState]:
        return [_state(*row) for row in await self._rows("states", {"stream": stream})]

    async def _rows(self, statement: str, given: Mapping[str, Any], *, returning: bool = True) -> list[tuple[Any, ...]]:
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL[statement], given)
            return await cursor.fetchall() if returning else []


def _shard_json(shard: Shard) -> dict[str, Any]:
    lo, hi = (shard.slices.start, shard.slices.stop) if shard.slices is not None else (None, None)
    return {"name": shard.name, "lane": shard.lane, "parents": shard.parents, "lo": lo, "hi": hi}


def _of(lease: Lease) -> dict[str, Any]:
    epoch = lease.epochs[lease.unit]
    return {"stream": lease.stream, "owner": lease.owner, "unit": lease.unit, "epoch": epoch}


def _lease(stream: str, owner: str, unit: str, epoch: int, position: Any, counted: int) -> Lease:  # noqa: PLR0913, PLR0917  # the row
    return Lease(stream, owner, {unit: epoch}, {unit: Checkpoint(int(position), counted)}, unit)


def _state(  # noqa: PLR0913, PLR0917  # the row
    unit: str, lane: str | None, lo: int | None, hi: int | None, parents: Sequence[str], owner: str | None, epoch: int,
    position: Any, behind_ms: int | None, expires_in_s: float | None, wanted_by: str | None, ended: bool, lost: bool,
) -> LeaseState:  # fmt: skip
    slices = None if lo is None or hi is None else range(lo, hi)
    return LeaseState(
        unit, lane, slices, tuple(parents), owner, epoch, int(position), behind_ms, expires_in_s, wanted_by, ended, lost
    )
