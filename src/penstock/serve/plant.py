"""`/v1/plant`, `/v1/shards`, `/v1/live`: the plant as a whole."""

from datetime import datetime
from typing import Annotated, Any, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from penstock.errors import Undecodable
from penstock.model.access import ALL_SITES, Caller
from penstock.serve.answers import Listing, PlantAnswer, ShardAnswer
from penstock.serve.conditions import conditions_of
from penstock.serve.desk import Desk, seen_paths
from penstock.serve.given import GivenCaller, GivenDesk, GivenLive, Prefix
from penstock.serve.hub import Wish
from penstock.serve.tallies import ShardTally
from penstock.serve.words import prefix_of, rfc3339, told
from penstock.store.standing import Standing

TAGS_MAX: Final = 2_000


@get("/v1/plant", raises=[])
async def get_plant(desk: GivenDesk, caller: GivenCaller, started_us: NamedDependency[int]) -> PlantAnswer:
    """The plant's name, zone and version, the sites that the caller sees, the shards, and what ails the pipeline."""
    settings = desk.parts.settings.serve
    standing = await desk.parts.tallies.standing()
    forgotten = await desk.forgotten.status()
    sites = [site for site in await desk.registry.sites() if caller.may_read(site)]
    return PlantAnswer(
        name=settings.plant,
        zone=settings.zone,
        version=desk.parts.version,
        started=rfc3339(started_us),
        sites=sites,
        shards=await _shards(desk, caller, standing),
        conditions=conditions_of(standing),
        archived_before=None if forgotten.newest is None else told(forgotten.newest),
        archived_in=None if forgotten.newest is None else forgotten.url,
    )


@get("/v1/shards", raises=[])
async def list_shards(desk: GivenDesk, caller: GivenCaller) -> Listing[ShardAnswer]:  # whoever may read
    """How far each shard is committed, by whom, and how much and how old is what waits; without those that ended."""
    return Listing(await _shards(desk, caller, await desk.parts.tallies.standing()))


@get("/v1/live", media_type="text/event-stream", raises=[])
async def get_live(
    caller: GivenCaller,
    live: GivenLive,
    tag: Annotated[list[str] | None, QueryParameter(description=f"{TAGS_MAX} at most.")] = None,
    prefix: Prefix = None,
    last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID", max_length=64)] = None,
) -> Stream:
    """Server-sent events: `reading` (a list, each tag twice a second at most), `alarm`, `health`, and `reset`.

    `Last-Event-ID` resumes within 60 s; `reset` says that something was missed: ask anew.
    """
    if tag and prefix:
        raise Undecodable("ask for tags or for a prefix", code="bad_prefix")
    wish = Wish(caller, frozenset(seen_paths(caller, tag or [], TAGS_MAX)), prefix_of(prefix), bool(tag))
    listener = live.listen(wish, last_event_id or "")
    headers: dict[str, Any] = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return Stream(live.events(listener), media_type="text/event-stream", headers=headers)


async def _shards(desk: Desk, caller: Caller, standing: Standing) -> list[ShardAnswer]:
    names_owners = ALL_SITES in caller.sites
    commits = {shard.shard: shard.committed_at for shard in standing.shards}
    return [
        _shard(tally, commits.get(tally.books.shard), names_owner=names_owners)
        for tally in await desk.parts.tallies.shards()
    ]


def _shard(tally: ShardTally, committed_at: datetime | None, *, names_owner: bool) -> ShardAnswer:
    books = tally.books
    return ShardAnswer(
        stream=books.stream,
        shard=books.shard,
        lane=books.lane,
        owner=books.owner if names_owner else None,
        held=books.held,
        epoch=books.epoch,
        position=str(books.position),
        committed=books.fates.readings,
        lag=tally.in_flight,
        behind_s=None if books.behind_ms is None else books.behind_ms / 1_000,
        last_commit=None if committed_at is None else told(committed_at),
    )


ROUTES: Final = [get_plant, list_shards, get_live]
