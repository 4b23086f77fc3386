"""What the database does not hold any more is told to whoever asks for it: nothing is missing in silence."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from penstock.errors import Unavailable
from penstock.serve.words import told
from penstock.store.forget_books import Floor, ForgetBooks
from penstock.store.read import EPOCH, Told

US = 1_000_000
BEFORE_HEADER = "penstock-archived-before"
WHERE_HEADER = "penstock-archived-in"
EXPIRED_HEADER = "penstock-expired-before"


async def floor_above(books: ForgetBooks, tag_id: int, start_us: int) -> Floor | None:
    """The tag's floor, if a range from *start_us* begins before it; without what expired, if it begins after that.

    Ask after reading: the floor is written down before anything leaves, so that whoever missed a reading sees it.
    """
    floor = await books.floor(tag_id)
    if floor is None or start_us >= microseconds_of(floor.before):
        return None
    expired = floor.expired_before
    return floor._replace(expired_before=expired if expired and start_us < microseconds_of(expired) else None)


def microseconds_of(moment: datetime) -> int:
    """Since 1970."""
    return round((moment.astimezone(UTC) - EPOCH).total_seconds()) * US  # floors are midnights


def expired_before(floor: Floor | None) -> str | None:
    """As answers tell it; None where the archive holds all that left."""
    return None if floor is None or floor.expired_before is None else told(floor.expired_before)


def headers_of(floor: Floor | None) -> dict[str, str]:
    """For answers that have no room for fields."""
    if floor is None:
        return {}
    where = {} if floor.url is None else {WHERE_HEADER: floor.url}
    expired = expired_before(floor)
    return {BEFORE_HEADER: told(floor.before)} | where | ({} if expired is None else {EXPIRED_HEADER: expired})


async def whole(
    stretches: AsyncIterator[Told], books: ForgetBooks, tag_id: int, start_us: int, said: Floor | None
) -> AsyncIterator[Told]:
    """The same, as long as what was *said* of the floor holds. Raises Unavailable: an answer cut off is seen to be."""
    async for stretch in stretches:
        floor = await floor_above(books, tag_id, start_us)
        if floor is not None and (said is None or floor.before > said.before):
            raise Unavailable("readings of this range left for the archive while they were read: ask again")
        yield stretch
