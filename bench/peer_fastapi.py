"""The service a competent team writes in an afternoon: FastAPI, a pydantic model per reading, psycopg, one table.

    python bench/peer_fastapi.py DATA-DIRECTORY PORT API-KEY executemany|unnest

It commits before it answers, and runs an embedded PostgreSQL of its own with the options that ours has.
"""

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, Field

from penstock.store.embedded import EmbeddedPostgres

TABLE = """
create table if not exists reading (
    tag text not null,
    ts bigint not null,  -- microseconds since 1970
    value double precision not null,
    quality text not null,
    primary key (tag, ts)
)
"""
INSERT = "insert into reading (tag, ts, value, quality) values (%s, %s, %s, %s) on conflict do nothing"
INSERT_MANY = """
insert into reading (tag, ts, value, quality)
select * from unnest(%s::text[], %s::bigint[], %s::float8[], %s::text[]) on conflict do nothing
"""


class Reading(BaseModel):
    tag: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){1,7}$")]
    ts: int
    value: Annotated[float, Field(allow_inf_nan=False)]
    quality: Literal["good", "uncertain", "bad"] = "good"


Insert = Callable[[AsyncConnection, list[Reading]], Awaitable[None]]


async def executemany(connection: AsyncConnection, readings: list[Reading]) -> None:
    rows = [(one.tag, one.ts, one.value, one.quality) for one in readings]
    await connection.cursor().executemany(INSERT, rows)


async def unnest(connection: AsyncConnection, readings: list[Reading]) -> None:
    """What the team comes to when the first profile is read."""
    columns = [[getattr(one, name) for one in readings] for name in ("tag", "ts", "value", "quality")]
    await connection.execute(INSERT_MANY, columns)


def service(store_url: str, key: str, insert: Insert) -> FastAPI:
    pool = AsyncConnectionPool(store_url, min_size=4, max_size=16, open=False)
    latest: dict[str, Reading] = {}

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with pool:
            async with pool.connection() as connection:
                await connection.execute(TABLE)
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/readyz")
    async def readyz() -> str:
        return "ok"

    @app.post("/v1/readings", status_code=202)
    async def take(readings: list[Reading], x_api_key: Annotated[str, Header()]) -> dict[str, int]:
        if x_api_key != key:
            raise HTTPException(401)
        async with pool.connection() as connection:  # commits at its end
            await insert(connection, readings)
        for one in readings:
            held = latest.get(one.tag)
            if held is None or held.ts < one.ts:
                latest[one.tag] = one
        return {"accepted": len(readings)}

    @app.get("/v1/latest")
    async def newest(tag: str) -> Reading:
        if tag not in latest:
            raise HTTPException(404)
        return latest[tag]

    return app


def main() -> None:
    data, port, key, how = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn raises it again at its end; the database has to stop
    with EmbeddedPostgres(Path(data)) as server:
        app = service(server.url, key, {"executemany": executemany, "unnest": unnest}[how])
        config = uvicorn.Config(app, port=int(port), log_level="warning", access_log=False)
        uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
