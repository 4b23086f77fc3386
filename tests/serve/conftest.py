from collections.abc import AsyncIterator

import httpx
import pytest

from serve.plant import Plant, plant_on


@pytest.fixture
async def plant(postgres_url: str) -> AsyncIterator[Plant]:
    async with plant_on(postgres_url) as plant:
        yield plant


@pytest.fixture
async def client(plant: Plant) -> AsyncIterator[httpx.AsyncClient]:
    async with plant.client() as client:
        yield client
