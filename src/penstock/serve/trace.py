"""Where the readings of a batch went."""

from penstock.errors import Unknown
from penstock.model.access import Caller
from penstock.model.tag import site_of
from penstock.serve.answers import FateAnswer, TraceAnswer
from penstock.serve.tallies import Tallies


async def trace(tallies: Tallies, caller: Caller, batch_id: str, index: int | None = None) -> TraceAnswer:
    """The fate of every reading of a batch, or of the one at *index*. Raises Unknown."""
    traced = await tallies.traced(batch_id, index)
    items = [item for item in traced.items if _sees(caller, item)]
    if index is not None:
        items = [item for item in items if item.index == index][:1]
    if not items and (traced.items or (index is not None and traced.complete)):
        raise Unknown("there is no such batch, or nothing of it is of your sites")
    items.sort(key=lambda item: item.index)
    return TraceAnswer(batch_id=batch_id, items=items, complete=traced.complete, in_flight=traced.in_flight)


def _sees(caller: Caller, item: FateAnswer) -> bool:
    """A reading whose tag is known no more is for those who see all sites."""
    return caller.may_read(site_of(item.tag) if item.tag else "*")
