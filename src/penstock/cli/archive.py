"""`archive`: what is kept outside the database, up to when, and doing it now."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from penstock.cli.loop import run_loop
from penstock.cli.manage import store_url
from penstock.cli.options import Data, Json
from penstock.cli.show import show_one
from penstock.settings import Settings, read_settings

if TYPE_CHECKING:
    from datetime import date

    from penstock.store.archiver import Archived


def archive(
    now: Annotated[bool, typer.Option("--now", help="First archive every closed day, and what came late.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say what is archived, up to when, and what waits."""
    settings = read_settings(**({} if data is None else {"data": data}))
    with store_url(data) as url:
        if now:
            done = run_loop(_now(settings, url))
            typer.echo(_said(done), err=True)
        told = run_loop(_status(settings, url))
    show_one(told, as_json=as_json)


async def _now(settings: Settings, url: str) -> "Archived | None":
    from penstock.compose.archive import archive_now
    from penstock.store.postgres import Database

    database = Database(url, application="archive", connections_max=3)
    await database.open()
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("archive", total=None)

            def told(day: "date", done: int, most: int) -> None:
                progress.update(task, description=f"{day}", completed=done, total=most)

            return await archive_now(settings, database, told)
    finally:
        await database.close()


async def _status(settings: Settings, url: str) -> dict[str, Any]:
    from penstock.store.archive_books import ArchiveBooks
    from penstock.store.forget_books import ForgetBooks
    from penstock.store.postgres import Database

    database = Database(url, application="archive", connections_max=2)
    await database.open()
    try:
        books = ArchiveBooks(database)
        done, waiting = await books.status(), await books.waiting(timedelta(hours=settings.archive.after_h))
        forgotten, expired = await ForgetBooks(database).status(), await ForgetBooks(database).expired()
    finally:
        await database.close()
    through = done["last_day"] if waiting.first is None else waiting.first - timedelta(days=1)
    return {
        "archive": settings.archive.url or None,
        "retention": settings.archive.retention,
        "complete_through": None if done["last_day"] is None else through,
        **done,
        "bytes_a_reading": round(done["bytes"] / done["readings"], 2) if done["readings"] else None,
        "days_waiting": waiting.days,
        "days_with_late_readings": waiting.late_days,
        "left_the_database_before": forgotten.newest,
        "readings_left_the_database": forgotten.readings,
        "expired_before": expired,
    }


def _said(done: "Archived | None") -> str:
    if done is None:
        return "another process is archiving"
    return f"archived {done.readings:,} readings, {done.bytes:,} bytes, in {done.objects} files"
