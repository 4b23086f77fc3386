"""The books: received, what became of it, and what neither can explain."""

from typing import Final

from penstock.model.tag import Tag
from penstock.serve.answers import BalanceAnswer
from penstock.serve.tallies import Tallies
from penstock.serve.words import told
from penstock.store.accounts import Accounts
from penstock.store.forget_books import ForgetBooks
from penstock.store.read import Reader, at
from penstock.store.tally import Sums

MINUTE_US: Final = 60_000_000


async def balance(tallies: Tallies) -> BalanceAnswer:
    """Since installation: the stream of now, and those before it."""
    return _answer(await tallies.whole())


async def balance_between(tallies: Tallies, start_us: int, end_us: int) -> BalanceAnswer:
    """Of the readings with start <= received minute < end."""
    return _answer(await tallies.between(start_us // MINUTE_US * MINUTE_US, -(-end_us // MINUTE_US) * MINUTE_US))


async def balance_of_tag(  # noqa: PLR0913, PLR0917  # the books of many rooms
    accounts: Accounts,
    reader: Reader,
    forgotten: ForgetBooks,
    tallies: Tallies,
    tag: Tag,
    span_us: tuple[int, int] | None,
) -> BalanceAnswer:
    """Of one tag; a range is by when each reading's flush was received.

    No stream counts single tags, so that received is what was found of it: only the whole can be unaccounted. A shared
    stream does not tell what it still holds of a tag either: there a reading counts as received once it is committed.
    """
    if span_us is None:
        fates = await accounts.tag(tag.tag_id, tag.path)
    else:
        start, end = at(span_us[0]), at(span_us[1])
        stored = await reader.stored_by(tag.tag_id, await accounts.flushes(start, end))
        fates = await accounts.tag_between(tag.tag_id, tag.path, start, end, stored)
    in_flight = await tallies.in_flight_of(tag.path, *(span_us or (-(2**63), 2**63 - 1)))
    answer = _answer(Sums(fates.readings + in_flight, in_flight, fates))
    answer.late = None
    floor = None if span_us is None else await forgotten.floor(tag.tag_id)
    answer.archived_before = floor and told(floor.before)
    return answer


def _answer(sums: Sums) -> BalanceAnswer:
    fates = sums.fates
    return BalanceAnswer(
        received=sums.received,
        stored=fates.stored,
        duplicate=fates.duplicate,
        conflict=fates.conflict,
        quarantined=fates.quarantined,
        in_flight=sums.in_flight,
        unaccounted=sums.unaccounted,
        late=fates.late,
    )
