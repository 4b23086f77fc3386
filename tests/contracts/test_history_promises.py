"""What every history promises the worker, and the store of snapshots beside it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import numpy as np
import pytest

from make import MINUTE_US, T0_US, row, rows
from penstock.errors import Fenced
from penstock.model import anomaly
from penstock.model.batch import NO_SEQ, NO_TEXT
from penstock.model.tag import TagConfig
from penstock.process.holding import Snapshots
from penstock.store.history import PostgresHistory
from penstock.store.memory import MemoryHistory
from penstock.store.port import Checkpoint, Contested, Fates, Held, History, Known, Lease, Repeats, Rows, Span
from penstock.store.postgres import Database
from penstock.store.registry import Registry
from penstock.store.snapshots import PostgresSnapshots

SHARDS = ("critical", "bulk")
STREAM = "3f0e0d6c-6a39-4c6f-9a0d-0d8a4d1f7a11"
FINDING = anomaly.Finding(
    slot=0, ts_us=T0_US, test=anomaly.Test.SILENCE, active=True, priority=anomaly.Priority.LOW, value=None, score=1.0,
    low=None, high=None, because="nothing came",
)  # fmt: skip


class Store(NamedTuple):
    history: History
    snapshots: Snapshots
    registry: MemoryHistory | Registry

    async def configure(self, path: str, config: TagConfig) -> None:
        if isinstance(self.registry, Registry):
            await self.registry.put(path, config, "test")
        else:
            self.registry.configure(path, config)

    async def claim(self, owner: str = "test") -> Lease:
        return await self.history.claim(STREAM, SHARDS, owner)

    async def put(self, lease: Lease, span: Span, *parts: Rows, **fates: int) -> None:
        async with self.history.flush(lease, span) as flush:
            for part in parts:
                await flush.write(part)
            await flush.settle({T0_US: Fates(stored=sum(map(len, parts)), **fates)})

    async def register(self, lease: Lease, span: Span, *paths: str) -> Sequence[int]:
        async with self.history.flush(lease, span) as flush:
            ids = [tag.tag_id for tag in await flush.register(paths)]
            await flush.settle({})
        return ids

    async def known(self, suspects: Rows) -> list[int]:
        """Asked in a transaction that leaves nothing behind."""
        lease = await self.claim()
        at = lease.checkpoints["bulk"]
        async with self.history.flush(lease, Span("bulk", at.position, at.position, at.counted, T0_US)) as flush:
            return (await flush.compare(suspects)).tolist()


@pytest.fixture(params=["memory", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else ""


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    if not url:
        memory = MemoryHistory()
        yield Store(memory, memory, memory)
        return
    database = Database(url, application="test")
    await database.open()
    history = PostgresHistory(database)
    yield Store(history, PostgresSnapshots(database), Registry(database))
    await history.close()
    await database.close()


def span(lo: int, hi: int, counted: int = 0, shard: str = "bulk") -> Span:
    return Span(shard, lo, hi, counted or hi, T0_US)


async def test_a_new_store_is_empty(store: Store) -> None:
    lease = await store.claim()
    assert lease.checkpoints == dict.fromkeys(SHARDS, Checkpoint(0, 0))
    assert lease.epochs == dict.fromkeys(SHARDS, 1)
    assert (await store.history.tags())[1] == []
    assert [column.size for column in await store.history.watermarks()] == [0, 0]
    assert await store.history.state_texts() == {}
    assert await store.snapshots.load(STREAM, "all") is None


async def test_nothing_is_visible_until_a_flush_is_settled_and_left(store: Store) -> None:
    lease = await store.claim()
    async with store.history.flush(lease, span(0, 3, 40)) as flush:
        (tag,) = await flush.register(["a/x"])
        (state,) = await flush.register_states(["IDLE"])
        await flush.fix_kind([tag.tag_id], [])
        await flush.write(row(tag.tag_id, T0_US))
        await flush.settle({T0_US: Fates(stored=1)})
        assert (await store.history.tags())[1] == []
        assert await store.history.state_texts() == {}
        assert (await store.history.watermarks())[0].size == 0
    ((found,), version) = ((await store.history.tags())[1], (await store.history.tags())[0])
    assert (found.path, found.holds, found.tag_id) == ("a/x", "value", tag.tag_id)
    assert version >= found.version > 0
    assert await store.history.state_texts() == {"IDLE": state}
    assert [column.tolist() for column in await store.history.watermarks()] == [[tag.tag_id], [T0_US]]
    assert (await store.claim()).checkpoints == {"critical": Checkpoint(0, 0), "bulk": Checkpoint(3, 40)}


@pytest.mark.parametrize("how", ["unsettled", "failing", "failing when settled", "cancelled"])
async def test_a_flush_that_is_not_settled_or_fails_leaves_nothing(store: Store, how: str) -> None:
    lease = await store.claim()
    ids = await store.register(lease, span(0, 1), "a/known")

    async def attempt() -> None:
        async with store.history.flush(lease, span(1, 2)) as flush:
            (tag,) = await flush.register(["a/x"])
            await flush.register_states(["IDLE"])
            await flush.fix_kind([], ids)
            await flush.write(row(tag.tag_id, T0_US))
            await flush.keep([], [], Repeats([2], np.array([0], np.int32), np.array([1], np.int32)))
            if how == "failing when settled":
                await flush.settle({T0_US: Fates(stored=1)})
            if how.startswith("failing"):
                raise ZeroDivisionError
            if how == "cancelled":
                raise asyncio.CancelledError

    try:
        await attempt()
    except (ZeroDivisionError, asyncio.CancelledError):
        assert how != "unsettled"
    (known,) = (await store.history.tags())[1]
    assert (known.path, known.holds) == ("a/known", None)
    assert await store.history.state_texts() == {}
    assert (await store.history.watermarks())[0].size == 0
    assert await store.snapshots.unstored(STREAM, "bulk", 0, 9) == {}
    await store.put(lease, span(1, 2), row(ids[0], T0_US))
    assert await store.known(row(ids[0], T0_US)) == [Known.DUPLICATE]


async def test_whoever_held_the_lease_before_is_fenced(store: Store) -> None:
    old = await store.claim("old")
    new = await store.claim("new")
    assert all(new.epochs[shard] > old.epochs[shard] for shard in SHARDS)
    for shard in SHARDS:
        with pytest.raises(Fenced):
            await store.put(old, span(0, 1, shard=shard), row(1, T0_US))
    ids = await store.register(new, span(0, 1), "a/x")
    with pytest.raises(Fenced):
        await store.put(old, span(1, 2), row(ids[0], T0_US))
    assert await store.known(row(ids[0], T0_US)) == [Known.NEW]


async def test_entries_are_committed_once_and_without_a_gap(store: Store) -> None:
    lease = await store.claim()
    (tag,) = await store.register(lease, span(0, 5), "a/x")
    for lo, hi in ((0, 5), (0, 6), (4, 6), (6, 7)):
        with pytest.raises(Fenced):
            await store.put(lease, span(lo, hi), row(tag, T0_US))
    assert await store.known(row(tag, T0_US)) == [Known.NEW]
    assert (await store.claim()).checkpoints["bulk"].position == 5


async def test_a_claim_during_a_flush_sees_it_whole_or_not_at_all(store: Store) -> None:
    lease = await store.claim("old")
    (tag,) = await store.register(lease, span(0, 1), "a/x")
    claim: asyncio.Task[Lease]
    fenced = False
    try:
        async with store.history.flush(lease, span(1, 2)) as flush:
            await flush.write(row(tag, T0_US))
            await flush.settle({T0_US: Fates(stored=1)})
            claim = asyncio.create_task(store.claim("new"))
            await asyncio.sleep(0.1)
    except Fenced:
        fenced = True
    new = await claim
    stored = await store.known(row(tag, T0_US)) == [Known.DUPLICATE]
    assert stored == (new.checkpoints["bulk"].position == 2) == (not fenced)


async def test_shards_and_streams_have_checkpoints_of_their_own(store: Store) -> None:
    lease = await store.claim()
    await store.put(lease, span(0, 7, 70))
    await store.put(lease, span(0, 2, 20, shard="critical"))
    again = await store.claim()
    assert again.checkpoints == {"critical": Checkpoint(2, 20), "bulk": Checkpoint(7, 70)}
    other = await store.history.claim("another stream", SHARDS, "test")
    assert other.checkpoints == dict.fromkeys(SHARDS, Checkpoint(0, 0))


async def test_suspects_are_told_apart_by_key_and_content(store: Store) -> None:
    lease = await store.claim()
    x, y = await store.register(lease, span(0, 1), "a/x", "a/y")
    good, bad = 0, 0x8000_0000
    stored = [
        (x, T0_US, 0.0, NO_TEXT, good, NO_SEQ),
        (x, T0_US, 0.1 + 0.2, NO_TEXT, good, -5),
        (x, T0_US + 1, np.nan, NO_TEXT, bad, NO_SEQ),
        (y, T0_US, np.nan, 3, good, NO_SEQ),
    ]
    await store.put(lease, span(1, 2), rows(*stored))
    cases = [
        ((x, T0_US, 0.0, NO_TEXT, good, NO_SEQ), Known.DUPLICATE),
        ((x, T0_US, -0.0, NO_TEXT, good, NO_SEQ), Known.CONFLICT),
        ((x, T0_US, 0.0, NO_TEXT, bad, NO_SEQ), Known.CONFLICT),
        ((x, T0_US, 0.0, NO_TEXT, good, 0), Known.NEW),
        ((x, T0_US, 0.3, NO_TEXT, good, -5), Known.CONFLICT),
        ((x, T0_US, 0.1 + 0.2, NO_TEXT, good, -5), Known.DUPLICATE),
        ((x, T0_US + 1, np.nan, NO_TEXT, bad, NO_SEQ), Known.DUPLICATE),
        ((x, T0_US + 1, 0.0, NO_TEXT, bad, NO_SEQ), Known.CONFLICT),
        ((x, T0_US + 2, 0.0, NO_TEXT, good, NO_SEQ), Known.NEW),
        ((x, T0_US - 1, 0.0, NO_TEXT, good, NO_SEQ), Known.NEW),
        ((y, T0_US, np.nan, 3, good, NO_SEQ), Known.DUPLICATE),
        ((y, T0_US, np.nan, 4, good, NO_SEQ), Known.CONFLICT),
    ]
    for suspect, expected in cases:
        assert await store.known(rows(suspect)) == [expected], suspect
    together = sorted(cases, key=lambda case: (*case[0][:2], case[0][5]))
    assert await store.known(rows(*(suspect for suspect, _ in together))) == [expected for _, expected in together]
    assert await store.known(rows()) == []


async def test_the_same_key_may_be_asked_with_several_contents(store: Store) -> None:
    lease = await store.claim()
    (tag,) = await store.register(lease, span(0, 1), "a/x")
    await store.put(lease, span(1, 2), row(tag, T0_US, 1.0))
    suspects = rows(*((tag, T0_US, value, NO_TEXT, 0, NO_SEQ) for value in (2.0, 1.0, 3.0, 1.0)))
    assert await store.known(suspects) == [Known.CONFLICT, Known.DUPLICATE, Known.CONFLICT, Known.DUPLICATE]


async def test_watermarks_are_the_newest_whatever_came_late(store: Store) -> None:
    lease = await store.claim()
    x, y, _ = await store.register(lease, span(0, 1), "a/x", "a/y", "a/silent")
    await store.put(lease, span(1, 2), rows((x, T0_US, 1.0, -1, 0, NO_SEQ), (x, T0_US + 9, 1.0, -1, 0, NO_SEQ)))
    await store.put(lease, span(2, 3), rows((x, T0_US + 5, 1.0, -1, 0, NO_SEQ), (y, -7, 1.0, -1, 0, NO_SEQ)))
    tags, ts = await store.history.watermarks()
    assert (tags.dtype, ts.dtype) == (np.int32, np.int64)
    assert dict(zip(tags.tolist(), ts.tolist(), strict=True)) == {x: T0_US + 9, y: -7}


async def test_paths_get_one_tag_for_ever(store: Store) -> None:
    lease = await store.claim()
    x, y = await store.register(lease, span(0, 1), "a/x", "a/y")
    z, again = await store.register(lease, span(1, 2), "b/z", "a/x")
    assert again == x
    assert len({x, y, z}) == 3
    version, tags = await store.history.tags()
    assert {tag.path: tag.tag_id for tag in tags} == {"a/x": x, "a/y": y, "b/z": z}
    assert all(tag.grp == (tag.tag_id - 1) // 100 and tag.version <= version for tag in tags)


async def test_states_get_one_number_for_ever(store: Store) -> None:
    lease = await store.claim()
    for lo, texts in enumerate((["IDLE", "Läuft"], ["RUNNING", "IDLE"])):
        async with store.history.flush(lease, span(lo, lo + 1)) as flush:
            ids = dict(zip(texts, await flush.register_states(texts), strict=True))
            await flush.settle({})
        known = await store.history.state_texts()
        assert ids.items() <= known.items()
    assert len(set(known.values())) == 3


async def test_a_kind_is_fixed_once(store: Store) -> None:
    lease = await store.claim()
    x, y = await store.register(lease, span(0, 1), "a/x", "a/y")
    for lo, (values, states) in enumerate((([x], [y]), ([y], [x])), 1):
        async with store.history.flush(lease, span(lo, lo + 1)) as flush:
            await flush.fix_kind(values, states)
            await flush.settle({})
    assert {tag.path: tag.holds for tag in (await store.history.tags())[1]} == {"a/x": "value", "a/y": "state"}


async def test_a_change_made_beside_an_open_flush_is_seen_by_the_next(store: Store) -> None:
    lease = await store.claim()
    await store.register(lease, span(0, 1), "a/x")
    async with store.history.flush(lease, span(1, 2)) as flush:
        seen = flush.registry_version
        assert await flush.changed_tags(seen) == []
        await store.configure("a/x", TagConfig(unit="bar"))
        await flush.register(["a/new"])
        await flush.settle({})
    async with store.history.flush(lease, span(2, 3)) as flush:
        assert flush.registry_version > seen
        changed = {tag.path: tag.config.unit for tag in await flush.changed_tags(seen)}
        assert changed == {"a/x": "bar", "a/new": None}
        assert await flush.changed_tags(flush.registry_version) == []


async def test_what_was_not_stored_is_told_by_position(store: Store) -> None:
    lease = await store.claim()
    (tag,) = await store.register(lease, span(0, 1), "a/x")
    held = Held(2, 7, "b/y", T0_US, "ts_ahead", "why", b'{"tag":"b/y"}')
    contested = Contested(3, 1, tag, T0_US, None, 1.5, None, 0)
    repeats = Repeats([2, 3], np.array([0, 4], np.int32), np.array([tag, tag], np.int32))
    async with store.history.flush(lease, span(1, 3, 30)) as flush:
        await flush.keep([held], [contested], repeats)
        await flush.settle({T0_US: Fates(duplicate=2, quarantined=1), T0_US + MINUTE_US: Fates(stored=9, conflict=1)})
    await store.put(lease, span(3, 4, 31), row(tag, T0_US))
    unstored = await store.snapshots.unstored(STREAM, "bulk", 1, 4)
    assert {position: sorted(items) for position, items in unstored.items()} == {2: [0, 7], 3: [1, 4]}
    assert await store.snapshots.unstored(STREAM, "bulk", 3, 4) == {}
    assert await store.snapshots.unstored(STREAM, "critical", 0, 4) == {}
    assert await store.snapshots.committed(STREAM, "bulk", 1, 4) == [(3, 13, frozenset()), (4, 1, frozenset())]
    assert await store.snapshots.committed(STREAM, "bulk", 3, 4) == [(4, 1, frozenset())]
    assert await store.snapshots.committed(STREAM, "critical", 0, 4) == []


async def test_findings_alone_leave_the_checkpoint_where_it_is(store: Store) -> None:
    lease = await store.claim()
    (tag,) = await store.register(lease, span(0, 4, 9), "a/x")
    for _ in range(2):
        async with store.history.flush(lease, span(4, 4, 9)) as flush:
            await flush.find([(tag, FINDING)])
            await flush.settle({})
    assert (await store.claim()).checkpoints["bulk"] == Checkpoint(4, 9)
    assert await store.snapshots.committed(STREAM, "bulk", 0, 9) == [(4, 0, frozenset())]
    with pytest.raises(Fenced):
        await store.put(lease, span(4, 4, 9))


async def test_a_snapshot_is_replaced_only_by_the_holder(store: Store) -> None:
    old = await store.claim("old")
    await store.snapshots.save(old, {"bulk": 3, "critical": 1}, b"\x00one")
    new = await store.claim("new")
    await store.snapshots.save(old, {"bulk": 9, "critical": 9}, b"late")
    assert await store.snapshots.load(STREAM, "all") == ({"bulk": 3, "critical": 1}, b"\x00one")
    await store.snapshots.save(new, {"bulk": 4, "critical": 1}, b"two")
    assert await store.snapshots.load(STREAM, "all") == ({"bulk": 4, "critical": 1}, b"two")
    assert await store.snapshots.load("another stream", "all") is None
