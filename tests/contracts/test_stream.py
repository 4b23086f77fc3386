"""What every stream promises; run over each one that needs nothing but this machine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import Backpressure, Unknown
from penstock.model.batch import Lane, ReadingBatch
from penstock.stream.log import LogStream
from penstock.stream.log_writer import Limits
from penstock.stream.memory import MemoryStream
from penstock.stream.port import Place, Stream
from penstock.stream.record import encode_batch
from penstock.stream.room import weight_of
from stream.readings import any_batch, content, plain

MINUTE_US = 60_000_000
NOW_US = 1_700_000_000 // 60 * MINUTE_US
BOTH = {Lane.CRITICAL: plain(3), Lane.BULK: plain(5)}
Make = Callable[..., Stream]


def make_memory(_: Path, bytes_max: int = 2**24, keep_bytes: int = 2**20, keep_days: float = 7) -> Stream:
    return MemoryStream(bytes_max, keep_bytes=keep_bytes, keep_days=keep_days)


def make_log(folder: Path, bytes_max: int = 2**24, keep_bytes: int = 2**20, keep_days: float = 7) -> Stream:
    return LogStream(folder, Limits(bytes_max, keep_bytes, keep_days, 0), writable=True)


@pytest.fixture(params=[make_memory, make_log], ids=["memory", "log"])
def kind(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.fixture
async def make(kind: Make, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Stream] = []

    def one(**limits: float) -> Stream:
        made.append(kind(tmp_path / str(len(made)), **limits))
        return made[-1]

    yield one
    for stream in made:
        await stream.close()


@pytest.fixture
def stream(make: Make) -> Stream:
    return make()


async def test_shards_are_the_lanes_the_most_urgent_first(stream: Stream):
    assert list(stream.shards) == ["critical", "bulk"]


async def test_positions_begin_at_1_and_grow_by_1_in_each_shard(stream: Stream):
    first = await stream.append(BOTH, NOW_US)
    second = await stream.append({Lane.BULK: plain(2)}, NOW_US)
    assert first.places == (Place("critical", 1), Place("bulk", 1))
    assert second.places == (Place("bulk", 2),)
    assert first.overloaded == frozenset()


async def test_counted_grows_by_the_readings_of_each_entry(stream: Stream):
    for n in (3, 1, 7):
        await stream.append({Lane.BULK: plain(n)}, NOW_US)
    assert [entry.counted for entry in await stream.take("bulk", 0, 100)] == [3, 4, 11]
    assert await stream.totals() == {"critical": (0, 0), "bulk": (3, 11)}


async def test_take_gives_what_comes_after_and_at_least_one_entry(stream: Stream):
    for n in (5, 5, 5, 50):
        await stream.append({Lane.BULK: plain(n)}, NOW_US)
    assert [e.position for e in await stream.take("bulk", 0, 10)] == [1, 2]
    assert [e.position for e in await stream.take("bulk", 0, 14)] == [1, 2]
    assert [e.position for e in await stream.take("bulk", 3, 10)] == [4]
    assert [e.position for e in await stream.take("bulk", 4, 10)] == []
    assert [e.position for e in await stream.take("critical", 0, 10)] == []


async def test_an_entry_keeps_when_it_was_received(stream: Stream):
    await stream.append({Lane.CRITICAL: plain(1)}, NOW_US + 17)
    (entry,) = await stream.take("critical", 0, 10)
    assert (entry.shard, entry.received_us) == ("critical", NOW_US + 17)


async def test_what_was_forgotten_can_be_read_but_totals_never_go_back(stream: Stream):
    receipt = await stream.append(BOTH, NOW_US)
    for shard in stream.shards:
        await stream.forget(shard, 1)
        await stream.forget(shard, 1)
    read = await stream.read(receipt.places[1])
    assert read is not None
    assert content(read.batch) == content(BOTH[Lane.BULK])
    assert await stream.totals() == {"critical": (1, 3), "bulk": (1, 5)}


async def test_read_finds_nothing_where_nothing_stands(stream: Stream):
    await stream.append(BOTH, NOW_US)
    assert await stream.read(Place("bulk", 2)) is None


async def test_a_batch_id_says_where_its_parts_stand(stream: Stream):
    await stream.append({Lane.BULK: plain(1)}, NOW_US)
    for lanes in (BOTH, {Lane.CRITICAL: plain(1)}, {Lane.BULK: plain(1)}):
        receipt = await stream.append(lanes, NOW_US)
        assert stream.places(receipt.batch_id) == receipt.places


async def test_a_batch_id_of_another_stream_is_unknown(make: Make):
    ours, theirs = make(), make()
    assert ours.identity != theirs.identity
    receipt = await theirs.append(BOTH, NOW_US)
    await ours.append(BOTH, NOW_US)
    for foreign in (receipt.batch_id, "", "1-1-00000000", "x" * 500, receipt.batch_id.replace("1-1", "1-2")):
        with pytest.raises(Unknown):
            ours.places(foreign)


async def test_received_counts_by_the_minute(stream: Stream):
    await stream.append(BOTH, NOW_US + MINUTE_US - 1)
    await stream.append({Lane.BULK: plain(2)}, NOW_US + MINUTE_US)
    assert await stream.received(0, 2**62) == 10
    assert await stream.received(NOW_US, NOW_US + MINUTE_US) == 8
    assert await stream.received(NOW_US + MINUTE_US, NOW_US + 2 * MINUTE_US) == 2
    assert await stream.received(NOW_US + 1, NOW_US + MINUTE_US) == 0


async def test_a_full_bulk_lane_leaves_the_last_tenth_to_the_critical_one(make: Make):
    weight = weight_of(encode_batch(plain(100)))
    stream = make(bytes_max=10 * weight)
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


async def test_forgetting_frees_room(make: Make):
    stream = make(bytes_max=3 * weight_of(encode_batch(plain(100))))
    for _ in range(40):
        receipt = await stream.append({Lane.BULK: plain(100)}, NOW_US)
        await stream.append({Lane.CRITICAL: plain(10)}, NOW_US)
        await stream.forget("bulk", receipt.places[0].position)
        await stream.forget("critical", receipt.places[0].position)
    assert (await stream.totals())["bulk"] == (40, 4_000)


async def test_only_so_much_is_kept_of_what_is_stored(make: Make):
    weight = weight_of(encode_batch(plain(100)))
    stream = make(keep_bytes=40 * weight)
    for position in range(1, 301):
        await stream.append({Lane.BULK: plain(100)}, NOW_US)
        await stream.forget("bulk", position)
    kept = [p for p in range(1, 301) if await stream.read(Place("bulk", p)) is not None]
    assert 10 <= len(kept) <= 41
    assert kept == list(range(kept[0], 301))
    assert await stream.received(0, 2**62) == 30_000


async def test_what_is_older_than_kept_goes(make: Make):
    stream = make(keep_days=1)
    await stream.append({Lane.BULK: plain(1)}, NOW_US)
    await stream.append({Lane.BULK: plain(1)}, NOW_US + 10)
    await stream.append({Lane.BULK: plain(1)}, NOW_US + 20)
    await stream.forget("bulk", 2)
    await stream.append({Lane.CRITICAL: plain(1)}, NOW_US + 25 * 60 * MINUTE_US)
    assert await stream.read(Place("bulk", 1)) is None
    assert await stream.read(Place("bulk", 3)) is not None, "what is not stored is never dropped"


async def test_wait_ends_with_news_and_not_before(stream: Stream):
    for shard in stream.shards:
        await stream.take(shard, 0, 10)
    waiting = asyncio.create_task(stream.wait(10))
    await asyncio.sleep(0.03)
    assert not waiting.done()
    await stream.append({Lane.CRITICAL: plain(1)}, NOW_US)
    await asyncio.wait_for(waiting, 0.5)


async def test_wait_misses_nothing_that_came_before_it(stream: Stream):
    for shard in stream.shards:
        await stream.take(shard, 0, 10)
    await stream.append({Lane.CRITICAL: plain(1)}, NOW_US)
    await asyncio.wait_for(stream.wait(10), 0.5)


async def test_wait_gives_up_after_its_time(stream: Stream):
    for shard in stream.shards:
        await stream.take(shard, 0, 10)
    await asyncio.wait_for(stream.wait(0.02), 0.5)


async def test_appends_at_once_all_stand_in_one_order(stream: Stream):
    receipts = await asyncio.gather(*(stream.append({Lane.BULK: plain(n)}, NOW_US) for n in range(1, 40)))
    entries = {entry.position: entry for entry in await stream.take("bulk", 0, 10**6)}
    assert sorted(entries) == list(range(1, 40))
    for n, receipt in enumerate(receipts, start=1):
        assert len(entries[receipt.places[0].position].batch) == n


LANES = st.one_of(
    st.fixed_dictionaries({Lane.BULK: any_batch()}, optional={Lane.CRITICAL: any_batch()}),
    st.fixed_dictionaries({Lane.CRITICAL: any_batch()}),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(appends=st.lists(LANES, min_size=1, max_size=6), step=st.integers(1, 30), data=st.data())
async def test_taking_in_steps_gives_every_append_once_in_order_to_the_bit(
    kind: Make, tmp_path_factory: pytest.TempPathFactory, appends: list[dict[Lane, ReadingBatch]], step: int, data
):
    stream = kind(tmp_path_factory.mktemp("any"))
    try:
        for lanes in appends:
            await stream.append(lanes, NOW_US)
        for lane in Lane:
            taken = await _take_all(stream, lane, step, forgets=data.draw(st.booleans()))
            assert taken == [content(lanes[lane]) for lanes in appends if lane in lanes]
    finally:
        await stream.close()


async def _take_all(stream: Stream, lane: Lane, step: int, *, forgets: bool) -> list[object]:
    taken: list[object] = []
    while entries := await stream.take(lane, len(taken), step):
        assert len(entries) == 1 or sum(len(entry.batch) for entry in entries) <= step
        taken += [content(entry.batch) for entry in entries]
        if forgets:
            await stream.forget(lane, len(taken))
    return taken
