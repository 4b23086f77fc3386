"""An archiver with its forgetter as a process, to be killed: `crash_forget.py URL FOLDER [DAYS]`.

*DAYS*: readings that are not critical are archived apart, for so long. Ends when all has left.
"""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from penstock.store.archive import Retention
from penstock.store.archive_files import FilesArchive
from penstock.store.archiver import ArchiveLimits, Archiver
from penstock.store.forget_books import Keeping
from penstock.store.forgetter import Forgetter
from penstock.store.postgres import Database


async def main(url: str, folder: str, standard_days: str = "") -> None:
    database = Database(url, application="archive", connections_max=4)
    await database.open()
    archive = FilesArchive(Path(folder), Retention.EPHEMERAL)
    standard = timedelta(days=float(standard_days)) if standard_days else None
    await Archiver(database, archive, ArchiveLimits(late=timedelta(0), keep_standard=standard)).run()
    week = timedelta(days=7)
    await Forgetter(database, archive, Keeping(week, week if standard else None), packs_max=1).run()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
