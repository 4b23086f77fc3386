"""Which shards there are, as units of work: asked seldom, and at once when one ended or an unknown one is named."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from penstock.errors import Unavailable, Unknown
from penstock.model.batch import Lane
from penstock.model.shard import Shard, Unit
from penstock.model.slices import slices_between
from penstock.stream.kinesis.client import Kinesis, StreamFacts, shard_name
from penstock.stream.kinesis.trouble import FOREIGN

LISTED_S: Final = 5.0
"""How long a list is believed."""
PAGE: Final = 1_000


class Lanes(NamedTuple):
    """The Kinesis streams that make one of ours."""

    main: StreamFacts
    critical: StreamFacts | None = None
    """Of the critical lane alone; None: it shares the main stream."""

    @property
    def identity(self) -> str:
        """The critical lane's stream is not in it: its shards' names say which one it is."""
        return f"kinesis:{self.main.arn}@{self.main.created_ms}"


class Address(NamedTuple):
    """A shard as Kinesis calls it."""

    stream: str
    arn: str
    """The stream's."""
    shard_id: str


class Listing(NamedTuple):
    """What was found at one look."""

    units: tuple[Unit, ...] = ()
    addresses: Mapping[str, Address] = {}


class Shards:
    """The list of shards, kept for LISTED_S."""

    def __init__(self, kinesis: Kinesis, lanes: Lanes) -> None:
        self._kinesis, self._lanes = kinesis, lanes
        self._listing = Listing()
        self._known: dict[str, Address] = {}
        self._until_s = 0.0
        self._asking = asyncio.Lock()

    def outdate(self) -> None:
        """Something has changed: ask again at the next look."""
        self._until_s = 0.0

    async def units(self) -> tuple[Unit, ...]:
        """All shards that Kinesis still lists, the critical lane's first. Raises Unavailable."""
        async with self._asking:
            if time.monotonic() >= self._until_s:
                self._listing = await self._list()
                self._known |= self._listing.addresses
                self._until_s = time.monotonic() + LISTED_S
        return self._listing.units

    async def find(self, shard: str) -> Address:
        """Raises Unknown for a shard that was never listed, Unavailable."""
        if shard not in self._known:
            self.outdate()
            await self.units()
        try:
            return self._known[shard]
        except KeyError:
            raise Unknown(f"there is no shard {shard} in {self._lanes.main.name}") from None

    async def lists(self, shard: str) -> bool:
        """Whether Kinesis lists the shard now. Raises Unavailable."""
        self.outdate()
        await self.units()
        return shard in self._listing.addresses

    async def _list(self) -> Listing:
        main, critical = self._lanes
        urgent = [] if critical is None else await self._listed(critical, critical.created_ms)
        common = await self._listed(main, None)
        units = _units(urgent, Lane.CRITICAL) + _units(common, None if critical is None else Lane.BULK)
        return Listing(tuple(units), {name: address for name, address, _ in urgent + common})

    async def _listed(self, stream: StreamFacts, created_ms: int | None) -> list[tuple[str, Address, dict[str, Any]]]:
        """Our name, theirs, and what Kinesis says of each shard, parents' ids turned into our names."""
        try:
            found = await self._pages(stream.name)
        except FOREIGN as error:
            raise Unavailable(str(self._kinesis.later(error, "ListShards", stream.name))) from error
        return [
            (
                shard_name(one["ShardId"], created_ms),
                Address(stream.name, stream.arn, one["ShardId"]),
                one | {"parents": _parents(one, found, created_ms)},
            )
            for one in found.values()
        ]

    async def _pages(self, stream: str) -> dict[str, dict[str, Any]]:
        """By id. A token lives for five minutes: a list that takes longer is trouble like any other."""
        found: dict[str, dict[str, Any]] = {}
        asked: dict[str, object] = {"StreamName": stream}
        while True:
            page = await self._kinesis.api.list_shards(**asked, MaxResults=PAGE)
            found |= {one["ShardId"]: one for one in page["Shards"]}
            if not page.get("NextToken"):
                return found
            asked = {"NextToken": page["NextToken"]}


def _parents(one: Mapping[str, Any], listed: Mapping[str, object], created_ms: int | None) -> tuple[str, ...]:
    """Of those that Kinesis lists no longer nothing can be read: nobody has to wait for them."""
    ids = (one.get("ParentShardId"), one.get("AdjacentParentShardId"))
    return tuple(shard_name(str(parent), created_ms) for parent in ids if parent in listed)


def _units(listed: Sequence[tuple[str, Address, Mapping[str, Any]]], lane: Lane | None) -> list[Unit]:
    """Each shard is a unit of its own."""
    return [Unit(name, (Shard(name, lane, one["parents"], _slices(one["HashKeyRange"])),)) for name, _, one in listed]


def _slices(keys: Mapping[str, str]) -> range:
    return slices_between(int(keys["StartingHashKey"]), int(keys["EndingHashKey"]))
