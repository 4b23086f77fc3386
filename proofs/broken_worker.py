"""`penstock work` with its most important line broken: rows are committed first, the checkpoint later, and nobody looks
whether they are there already. The control of P5; and what most systems do."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np

from penstock.cli.loop import run_loop
from penstock.compose.worker import work
from penstock.settings import read_settings
from penstock.store.history import PostgresFlush
from penstock.store.port import NO_ARRIVALS, Arrivals, Fates, Known, Rows

settle = PostgresFlush.settle


async def rows_first(self: Any, fates: Mapping[int, Fates], arrivals: Arrivals = NO_ARRIVALS) -> None:
    await self._connection.execute("commit")
    await asyncio.sleep(0.05)
    await self._connection.execute("begin")
    await settle(self, fates, arrivals)


async def never_known(_: Any, suspects: Rows) -> Any:
    return np.full(len(suspects), Known.NEW, np.int8)


PostgresFlush.settle = rows_first  # type: ignore[method-assign]
PostgresFlush.compare = never_known  # type: ignore[method-assign]

if __name__ == "__main__":
    run_loop(work(read_settings()))
