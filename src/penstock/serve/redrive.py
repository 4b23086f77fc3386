"""A quarantined reading sent through the stream again, once what it broke is mended."""

import msgspec

from penstock.errors import Rejected
from penstock.model.access import Caller
from penstock.model.batch import NO_SEQ, NO_TEXT, Lane, ReadingBatch, batch_of
from penstock.model.quality import Quality
from penstock.model.tag import Criticality
from penstock.serve.answers import RedriveAnswer
from penstock.serve.desk import Desk, sites_of


class Raw(msgspec.Struct):
    """A reading as quarantine keeps it."""

    tag: str
    ts: int
    value: float | None = None
    state: str | None = None
    quality: str | int = "good"
    seq: int | None = None
    unit: str | None = None


async def redrive(desk: Desk, caller: Caller, quarantine_id: int) -> RedriveAnswer:
    """Append the reading anew. Raises Unknown, Rejected (`already_redriven`), Backpressure."""
    stream = desk.parts.stream
    async with desk.exceptions.redriving(quarantine_id, sites_of(caller)) as (held, mark):
        if held.redriven_as is not None:
            raise Rejected("this reading was sent again before", code="already_redriven")
        batch = batch_of_raw(held.raw)
        receipt = await stream.append({await _lane(desk, held.path): batch}, desk.parts.clock.now_us())
        await mark(caller.name, receipt.batch_id)
    return RedriveAnswer(id=quarantine_id, batch_id=receipt.batch_id)


async def _lane(desk: Desk, path: str) -> Lane:
    tags = await desk.registry.find([path])
    critical = any(tag.config.criticality is Criticality.CRITICAL for tag in tags)
    return Lane.CRITICAL if critical else Lane.BULK


def batch_of_raw(raw: bytes) -> ReadingBatch:
    """The one reading that *raw* is. Raises Rejected when it is none."""
    try:
        reading = msgspec.json.decode(raw, type=Raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected("what was kept of this reading cannot be sent again", code="not_redrivable") from error
    quality = Quality[reading.quality.upper()] if isinstance(reading.quality, str) else reading.quality
    return batch_of(
        [reading.tag],
        [0],
        [reading.ts],
        [float("nan") if reading.value is None else reading.value],
        states=[reading.state] if reading.state is not None else [],
        state=[NO_TEXT if reading.state is None else 0],
        quality=[int(quality)],
        seq=[NO_SEQ if reading.seq is None else reading.seq],
        units=[reading.unit] if reading.unit is not None else [],
        unit=[NO_TEXT if reading.unit is None else 0],
    )
