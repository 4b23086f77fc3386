"""Taking from Kinesis: in order, to the end, over whatever happens on the way."""
from collections.abc import AsyncIterator

import pytest

from kinesis_fake import FakeKinesis
from penstock.stream.kinesis.client import Kinesis
from penstock.stream.kinesis.stream import KinesisStream
from stream.on_fake import Plant, connect, create, fake, numbers, open_stream, take_all, TAKE

S0, S1, S2 = (f"shardId-{n:012d}" for n in range(3))


@pytest.fixture
async def kinesis() -> AsyncIterator[FakeKinesis]:
    async with fake() as one:
        yield one


@pytest.fixture
async def client(kinesis: FakeKinesis) -> AsyncIterator[Kinesis]:
    async with await connect(kinesis) as one:
        await create(one)
        yield one


@pytest.fixture
async def stream(client: Kinesis) -> AsyncIterator[KinesisStream]:
    one = await open_stream(client)
    yield one
    await one.close()


@pytest.fixture
def plant(client: Kinesis) -> Plant:
    return Plant(client)


async def test_records_come_in_order_with_the_producers_place(stream: KinesisStream, plant: Plant):
    await plant.records(0, 9, 63)
    entries = await stream.take(S0, 0, TAKE)
    assert numbers(entries) == [0, 1, 2]
    assert [entry.position for entry in entries] == [position for _, position in plant.put.values()]
    assert [entry.origin.belt for entry in entries] == [0, 9, 63]
    assert await stream.take(S0, entries[0].position, TAKE) == entries[1:]


async def test_split(stream: KinesisStream, plant: Plant):
    await plant.records(0, 9, 63)
    await plant.split(S0)
    await plant.records(0, 40, 63)
    assert numbers(await take_all(stream, S0, 9)) == [0, 1, 2]
    assert stream.ended(S0)
    units = {unit.name: unit for unit in await stream.units()}
    assert list(units) == [S0, S1, S2]
    assert units[S1].parents == units[S2].parents == (S0,)
    assert numbers(await take_all(stream, S1, 1)) == [3]
    assert numbers(await take_all(stream, S2, 2)) == [4, 5]
