"""What every stream promises, run over each; what only those promise that count by themselves is `test_counted_…`."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.clock import SystemClock
from penstock.errors import Backpressure, Unknown
from penstock.ingest.foreign import decode_foreign
from penstock.model.batch import Lane, ReadingBatch
from penstock.model.slices import SLICES
from penstock.stream.batch_id import LANES
from penstock.stream.kinesis.put import Producer, PutLimits
from penstock.stream.kinesis.shards import Lanes
from penstock.stream.kinesis.stream import KinesisStream, Taking
from penstock.stream.log import LogStream
from penstock.stream.log_writer import Limits
from penstock.stream.memory import MemoryStream
from penstock.stream.port import CountedStream, Entry, Place, Stream
from penstock.stream.record import encode_batch
from penstock.stream.room import weight_of
from stream.on_fake import connect, create, fake
from stream.readings import any_batch, content, plain

MINUTE_US = 60_000_000
NOW_US = 1_700_000_000 // 60 * MINUTE_US
BOTH = {Lane.CRITICAL: plain(3), Lane.BULK: plain(5)}
WITHIN_S = 8.0

Put = dict[Lane, ReadingBatch]
Make = Callable[[], Awaitable[Stream]]
MakeCounted = Callable[..., CountedStream]


def make_memory(_: Path, bytes_max: int = 2**24, keep_bytes: int = 2**20, keep_days: float = 7) -> CountedStream:
    return MemoryStream(bytes_max, keep_bytes=keep_bytes, keep_days=keep_days)


def make_log(folder: Path, bytes_max: int = 2**24, keep_bytes: int = 2**20, keep_days: float = 7) -> CountedStream:
    return LogStream(folder, Limits(bytes_max, keep_bytes, keep_days, 0), writable=True)


COUNTED = {"memory": make_memory, "log": make_log}


def local(kind: MakeCounted) -> Callable[[Path], object]:
    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Make]:
        made: list[Stream] = []

        async def one() -> Stream:
            made.append(kind(folder / str(len(made))))
            return made[-1]

        yield one
        for stream in made:
            await stream.close()

    return opened


@asynccontextmanager
async def polled(_: Path) -> AsyncIterator[Make]:
    """One Kinesis stream for both lanes, of three shards."""
    async with fake() as kinesis:
        made: list[Stream] = []

        async def one() -> Stream:
            client = await connect(kinesis)
            name = f"plant-{len(made)}"
            await create(client, name, shards=3)
            main = await client.describe(name)
            made.append(_shared(client, Lanes(main), Taking()))
            return made[-1]

        yield one
        for stream in made:
            await stream.close()


@asynccontextmanager
async def pushed(_: Path) -> AsyncIterator[Make]:
    """A Kinesis stream for each lane, read by enhanced fan-out."""
    async with fake() as kinesis:
        kinesis.timing.idle_event_s = kinesis.timing.resubscribe_s = 0.05
        made: list[Stream] = []

        async def one() -> Stream:
            client = await connect(kinesis)
            names = f"bulk-{len(made)}", f"critical-{len(made)}"
            await create(client, *names, shards=2)
            main, critical = [await client.describe(name) for name in names]
            made.append(_shared(client, Lanes(main, critical), Taking(consumer="penstock")))
            return made[-1]

        yield one
        for stream in made:
            await stream.close()


def _shared(client, lanes: Lanes, taking: Taking) -> Stream:
    critical = lanes.critical or lanes.main
    streams = {Lane.BULK: lanes.main.name, Lane.CRITICAL: critical.name}
    created_ms = lanes.critical.created_ms if lanes.critical else None
    producer = Producer(client, streams, lanes.identity, PutLimits(), SystemClock(), critical_created_ms=created_ms)
    return KinesisStream(client, lanes, producer, decode_foreign, taking)


KINDS = {name: local(kind) for name, kind in COUNTED.items()} | {"kinesis": polled, "kinesis fan-out": pushed}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest):
    return KINDS[request.param]


@pytest.fixture
async def make(kind, tmp_path: Path) -> AsyncIterator[Make]:
    async with kind(tmp_path) as one:
        yield one


@pytest.fixture
async def stream(make: Make) -> Stream:
    return await make()


async def drained(stream: Stream, readings: int) -> list[Entry]:
    """Every shard's entries in order, once there are so many readings. Fails after a while, or with too many."""
    taken: dict[str, list[Entry]] = {shard: [] for unit in await stream.units() for shard in unit.names}
    async with asyncio.timeout(WITHIN_S):
        while sum(len(entry.batch) for entries in taken.values() for entry in entries) < readings:
            await asyncio.gather(*(_take_more(stream, shard, entries) for shard, entries in taken.items()))
            await stream.wait(0.05)
    entries = [entry for entries in taken.values() for entry in entries]
    assert sum(len(entry.batch) for entry in entries) == readings
    return entries


async def _take_more(stream: Stream, shard: str, entries: list[Entry]) -> None:
    entries += await stream.take(shard, entries[-1].position if entries else 0, 10**6)


def lane_of(entry: Entry) -> Lane:
    if entry.origin is None:
        return Lane(entry.shard)
    return Lane.CRITICAL if entry.origin.belt >= SLICES else Lane.BULK


def by_tag(batches: Sequence[tuple[Lane, ReadingBatch]]) -> dict[tuple[Lane, str], list[object]]:
    """Every reading to the bit, but for its place in its request, by lane and tag in order."""
    rows = defaultdict(list)
    for lane, batch in batches:
        states, units = (*batch.states, None), (*batch.units, None)
        columns = (batch.ts, batch.value.view("i8"), batch.state, batch.quality, batch.seq, batch.unit)
        for tag, (ts, value, state, quality, seq, unit) in zip(
            batch.tag.tolist(), zip(*(column.tolist() for column in columns), strict=True), strict=True
        ):
            rows[lane, batch.paths[tag]].append((ts, value, states[state], quality, seq, units[unit]))
    return dict(rows)


def given_by(entries: Sequence[Entry]) -> dict[tuple[Lane, str], list[object]]:
    return by_tag([(lane_of(entry), entry.batch) for entry in entries])


def put_by(appends: Sequence[Mapping[Lane, ReadingBatch]]) -> dict[tuple[Lane, str], list[object]]:
    return by_tag([(lane, batch) for lanes in appends for lane, batch in lanes.items()])


async def at_the_tip(stream: Stream) -> None:
    for unit in await stream.units():
        for shard in unit.names:
            assert await stream.take(shard, 0, 10) == []


# -- every stream -----------------------------------------------------------------------------------------------------


async def test_every_tag_has_one_unit_and_what_is_urgent_comes_first(stream: Stream):
    units = await stream.units()
    assert len({name for unit in units for name in unit.names}) == sum(len(unit.names) for unit in units)
    for path in [f"lyon/press/{n}" for n in range(50)]:
        for critical in (True, False):
            assert [unit.owns(path, critical=critical) for unit in units].count(True) == 1
    lanes = [shard.lane for unit in units for shard in unit.shards]
    assert None in lanes or lanes == sorted(lanes, key=lambda lane: lane != Lane.CRITICAL)


async def test_what_is_appended_comes_where_the_receipt_says(stream: Stream):
    receipts = [await stream.append(BOTH, NOW_US), await stream.append({Lane.BULK: plain(7, 5)}, NOW_US)]
    assert [receipt.overloaded for receipt in receipts] == [frozenset(), frozenset()]
    assert receipts[0].batch_id != receipts[1].batch_id
    entries = await drained(stream, 15)
    assert given_by(entries) == put_by([BOTH, {Lane.BULK: plain(7, 5)}])
    places = {Place(entry.shard, entry.position) for entry in entries}
    assert {place for receipt in receipts for place in receipt.places} == places


async def test_positions_grow_and_each_tag_comes_in_a_unit_that_owns_it(stream: Stream):
    for n in range(6):
        await stream.append({Lane.CRITICAL: plain(4, 10 * n), Lane.BULK: plain(9, 10 * n)}, NOW_US)
    by_shard = defaultdict(list)
    units = {shard: unit for unit in await stream.units() for shard in unit.names}
    for entry in await drained(stream, 78):
        by_shard[entry.shard].append(entry.position)
        paths = {entry.batch.paths[tag] for tag in entry.batch.tag.tolist()}
        assert all(units[entry.shard].owns(path, critical=lane_of(entry) is Lane.CRITICAL) for path in paths)
    for positions in by_shard.values():
        assert positions[0] >= 1
        assert positions == sorted(set(positions))


async def test_take_gives_at_least_one_entry_and_then_only_as_many_readings_as_asked(stream: Stream):
    batch = plain(30)
    for _ in range(5):
        await stream.append({Lane.BULK: batch.pick(batch.tag == 0)}, NOW_US)
    entries = await drained(stream, 50)
    (shard,) = {entry.shard for entry in entries}
    after = 0
    for expected in entries:
        (entry,) = await _take(stream, shard, after, 1)
        assert content(entry.batch) == content(expected.batch)
        after = entry.position
    some = await _take(stream, shard, 0, 25)
    assert len(some) == 1 or sum(len(entry.batch) for entry in some) <= 25


async def _take(stream: Stream, shard: str, after: int, readings_max: int) -> Sequence[Entry]:
    """Where it is known that something comes."""
    async with asyncio.timeout(WITHIN_S):
        while not (entries := await stream.take(shard, after, readings_max)):
            await stream.wait(0.5, [shard])
    return entries


async def test_taking_again_gives_the_same_again(stream: Stream):
    for n in range(4):
        await stream.append({Lane.BULK: plain(3, 10 * n)}, NOW_US)
    first, again = await drained(stream, 12), await drained(stream, 12)
    assert [(entry.shard, entry.position) for entry in first] == [(entry.shard, entry.position) for entry in again]
    assert [content(entry.batch) for entry in first] == [content(entry.batch) for entry in again]


async def test_an_entry_keeps_when_it_was_received(stream: Stream):
    await stream.append({Lane.CRITICAL: plain(1)}, NOW_US + 17)
    assert [entry.received_us for entry in await drained(stream, 1)] == [NOW_US + 17]


async def test_what_was_forgotten_can_be_read(stream: Stream):
    await stream.append(BOTH, NOW_US)
    entries = await drained(stream, 8)
    for entry in entries * 2:
        await stream.forget(entry.shard, entry.position)
    for entry in entries:
        read = await stream.read(Place(entry.shard, entry.position))
        assert read is not None
        assert (read.shard, read.position, read.received_us) == (*entry[:2], entry.received_us)
        assert content(read.batch) == content(entry.batch)


async def test_read_finds_nothing_where_nothing_stands(stream: Stream):
    await stream.append(BOTH, NOW_US)
    for entry in await drained(stream, 8):
        assert await stream.read(Place(entry.shard, entry.position + 1)) is None


async def test_two_streams_are_never_the_same(make: Make):
    assert (await make()).identity != (await make()).identity


async def test_a_stream_that_works_is_ready_and_at_its_tip_and_has_no_end(stream: Stream):
    await stream.ready()
    await at_the_tip(stream)
    for unit in await stream.units():
        assert not any(stream.ended(shard) for shard in unit.names)
        assert not any(stream.behind_ms(shard) for shard in unit.names)


async def test_wait_ends_with_news_and_not_before(stream: Stream):
    await at_the_tip(stream)
    waiting = asyncio.create_task(stream.wait(10))
    await asyncio.sleep(0.03)
    assert not waiting.done()
    await stream.append({Lane.CRITICAL: plain(1)}, NOW_US)
    await asyncio.wait_for(waiting, 1)


async def test_wait_misses_nothing_that_came_before_it(stream: Stream):
    await at_the_tip(stream)
    await stream.append({Lane.CRITICAL: plain(1)}, NOW_US)
    await asyncio.wait_for(stream.wait(10), 1)


async def test_wait_gives_up_after_its_time(stream: Stream):
    await at_the_tip(stream)
    await asyncio.wait_for(stream.wait(0.02), 0.5)


async def test_appends_at_once_all_come(stream: Stream):
    appends = [{Lane.BULK: plain(n, 1_000 * n)} for n in range(1, 40)]
    receipts = await asyncio.gather(*(stream.append(lanes, NOW_US) for lanes in appends))
    given = given_by(await drained(stream, sum(range(40))))
    assert {tag: sorted(rows) for tag, rows in given.items()} == {
        tag: sorted(rows) for tag, rows in put_by(appends).items()
    }
    assert len({receipt.batch_id for receipt in receipts}) == len(receipts)


APPENDS = st.one_of(
    st.fixed_dictionaries({Lane.BULK: any_batch()}, optional={Lane.CRITICAL: any_batch()}),
    st.fixed_dictionaries({Lane.CRITICAL: any_batch()}),
)


MANY = st.lists(APPENDS, min_size=1, max_size=6)


@pytest.mark.parametrize("kind", list(COUNTED))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(appends=MANY, step=st.integers(1, 30), forgets=st.booleans())
async def test_taking_in_steps_gives_every_append_once_in_order_to_the_bit(
    kind: str, tmp_path_factory: pytest.TempPathFactory, appends: list[Put], step: int, forgets: bool
):
    async with KINDS[kind](tmp_path_factory.mktemp("any")) as make:
        await _check_steps(await make(), appends, step, forgets=forgets)


@pytest.mark.parametrize("kind", ["kinesis", "kinesis fan-out"])
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases=st.lists(st.tuples(MANY, st.integers(1, 30)), min_size=1, max_size=2))
async def test_of_a_shared_stream_too(kind: str, tmp_path: Path, cases: list[tuple[list[Put], int]]):
    async with KINDS[kind](tmp_path) as make:
        for appends, step in cases:
            await _check_steps(await make(), appends, step, forgets=False)


async def _check_steps(stream: Stream, appends: list[Put], step: int, *, forgets: bool) -> None:
    for lanes in appends:
        await stream.append(lanes, NOW_US)
    whole = await drained(stream, sum(len(batch) for lanes in appends for batch in lanes.values()))
    assert given_by(whole) == put_by(appends)
    for shard in {entry.shard for entry in whole}:
        expected = [entry.position for entry in whole if entry.shard == shard]
        assert await _take_all(stream, shard, step, len(expected), forgets=forgets) == expected


async def _take_all(stream: Stream, shard: str, step: int, count: int, *, forgets: bool) -> list[int]:
    taken: list[int] = []
    while len(taken) < count:
        entries = await _take(stream, shard, taken[-1] if taken else 0, step)
        assert len(entries) == 1 or sum(len(entry.batch) for entry in entries) <= step
        taken += [entry.position for entry in entries]
        if forgets:
            await stream.forget(shard, taken[-1])
    return taken


# -- streams that count by themselves ---------------------------------------------------------------------------------


@pytest.fixture(params=list(COUNTED))
async def make_counted(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MakeCounted]:
    made: list[CountedStream] = []

    def one(**limits: float) -> CountedStream:
        made.append(COUNTED[request.param](tmp_path / str(len(made)), **limits))
        return made[-1]

    yield one
    for stream in made:
        await stream.close()


@pytest.fixture
def counted(make_counted: MakeCounted) -> CountedStream:
    return make_counted()


async def test_counted_shards_are_the_lanes(counted: CountedStream):
    (unit,) = await counted.units()
    assert unit.names == LANES


async def test_counted_positions_begin_at_1_and_grow_by_1_in_each_shard(counted: CountedStream):
    first = await counted.append(BOTH, NOW_US)
    second = await counted.append({Lane.BULK: plain(2)}, NOW_US)
    assert first.places == (Place("critical", 1), Place("bulk", 1))
    assert second.places == (Place("bulk", 2),)
    assert first.overloaded == frozenset()


async def test_counted_counted_grows_by_the_readings_of_each_entry(counted: CountedStream):
    for n in (3, 1, 7):
        await counted.append({Lane.BULK: plain(n)}, NOW_US)
    assert [entry.counted for entry in await counted.take("bulk", 0, 100)] == [3, 4, 11]
    assert await counted.totals() == {"critical": (0, 0), "bulk": (3, 11)}


async def test_counted_take_gives_what_comes_after_and_at_least_one_entry(counted: CountedStream):
    for n in (5, 5, 5, 50):
        await counted.append({Lane.BULK: plain(n)}, NOW_US)
    assert [e.position for e in await counted.take("bulk", 0, 10)] == [1, 2]
    assert [e.position for e in await counted.take("bulk", 0, 14)] == [1, 2]
    assert [e.position for e in await counted.take("bulk", 3, 10)] == [4]
    assert [e.position for e in await counted.take("bulk", 4, 10)] == []
    assert [e.position for e in await counted.take("critical", 0, 10)] == []


async def test_counted_what_was_forgotten_can_be_read_but_totals_never_go_back(counted: CountedStream):
    receipt = await counted.append(BOTH, NOW_US)
    for shard in LANES:
        await counted.forget(shard, 1)
        await counted.forget(shard, 1)
    read = await counted.read(receipt.places[1])
    assert read is not None
    assert content(read.batch) == content(BOTH[Lane.BULK])
    assert await counted.totals() == {"critical": (1, 3), "bulk": (1, 5)}


async def test_counted_a_batch_id_says_where_its_parts_stand(counted: CountedStream):
    await counted.append({Lane.BULK: plain(1)}, NOW_US)
    for lanes in (BOTH, {Lane.CRITICAL: plain(1)}, {Lane.BULK: plain(1)}):
        receipt = await counted.append(lanes, NOW_US)
        assert counted.places(receipt.batch_id) == receipt.places


async def test_counted_a_batch_id_of_another_stream_is_unknown(make_counted: MakeCounted):
    ours, theirs = make_counted(), make_counted()
    assert ours.identity != theirs.identity
    receipt = await theirs.append(BOTH, NOW_US)
    await ours.append(BOTH, NOW_US)
    for foreign in (receipt.batch_id, "", "1-1-00000000", "x" * 500, receipt.batch_id.replace("1-1", "1-2")):
        with pytest.raises(Unknown):
            ours.places(foreign)


async def test_counted_received_counts_by_the_minute(counted: CountedStream):
    await counted.append(BOTH, NOW_US + MINUTE_US - 1)
    await counted.append({Lane.BULK: plain(2)}, NOW_US + MINUTE_US)
    assert await counted.received(0, 2**62) == 10
    assert await counted.received(NOW_US, NOW_US + MINUTE_US) == 8
    assert await counted.received(NOW_US + MINUTE_US, NOW_US + 2 * MINUTE_US) == 2
    assert await counted.received(NOW_US + 1, NOW_US + MINUTE_US) == 0


async def test_counted_a_full_bulk_lane_leaves_the_last_tenth_to_the_critical_one(make_counted: MakeCounted):
    weight = weight_of(encode_batch(plain(100)))
    stream = make_counted(bytes_max=10 * weight)
    for _ in range(9):
        await stream.append({Lane.BULK: plain(100)}, NOW_US)
    receipt = await stream.append({Lane.CRITICAL: plain(90), Lane.BULK: plain(100)}, NOW_US)
    assert receipt.overloaded == {Lane.BULK}
    assert receipt.places == (Place("critical", 1),)
    assert stream.places(receipt.batch_id) == receipt.places
    with pytest.raises(Backpressure):
        await stream.append({Lane.BULK: plain(1)}, NOW_US)
    with pytest.raises(Backpressure):
        await stream.append({Lane.CRITICAL: plain(100)}, NOW_US)
    assert await stream.totals() == {"critical": (1, 90), "bulk": (9, 900)}
    assert await stream.received(0, 2**62) == 990


async def test_counted_forgetting_frees_room(make_counted: MakeCounted):
    stream = make_counted(bytes_max=3 * weight_of(encode_batch(plain(100))))
    for _ in range(40):
        receipt = await stream.append({Lane.BULK: plain(100)}, NOW_US)
        await stream.append({Lane.CRITICAL: plain(10)}, NOW_US)
        await stream.forget("bulk", receipt.places[0].position)
        await stream.forget("critical", receipt.places[0].position)
    assert (await stream.totals())["bulk"] == (40, 4_000)


async def test_counted_only_so_much_is_kept_of_what_is_stored(make_counted: MakeCounted):
    weight = weight_of(encode_batch(plain(100)))
    stream = make_counted(keep_bytes=40 * weight)
    for position in range(1, 301):
        await stream.append({Lane.BULK: plain(100)}, NOW_US)
        await stream.forget("bulk", position)
    kept = [p for p in range(1, 301) if await stream.read(Place("bulk", p)) is not None]
    assert 10 <= len(kept) <= 41
    assert kept == list(range(kept[0], 301))
    assert await stream.received(0, 2**62) == 30_000


async def test_counted_what_is_older_than_kept_goes(make_counted: MakeCounted):
    stream = make_counted(keep_days=1)
    await stream.append({Lane.BULK: plain(1)}, NOW_US)
    await stream.append({Lane.BULK: plain(1)}, NOW_US + 10)
    await stream.append({Lane.BULK: plain(1)}, NOW_US + 20)
    await stream.forget("bulk", 2)
    await stream.append({Lane.CRITICAL: plain(1)}, NOW_US + 25 * 60 * MINUTE_US)
    assert await stream.read(Place("bulk", 1)) is None
    assert await stream.read(Place("bulk", 3)) is not None, "what is not stored is never dropped"


async def test_counted_appends_at_once_all_stand_in_one_order(counted: CountedStream):
    receipts = await asyncio.gather(*(counted.append({Lane.BULK: plain(n)}, NOW_US) for n in range(1, 40)))
    entries = {entry.position: entry for entry in await counted.take("bulk", 0, 10**6)}
    assert sorted(entries) == list(range(1, 40))
    for n, receipt in enumerate(receipts, start=1):
        assert len(entries[receipt.places[0].position].batch) == n
