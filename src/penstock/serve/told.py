"""Columns into the items of an answer: here, and only here, readings become one object each."""

from datetime import datetime
from typing import Any

import msgspec

from penstock.model.batch import NO_SEQ
from penstock.model.quality import name_of
from penstock.serve.answers import AlarmAnswer, AlarmEventAnswer, AnomalyAnswer, BinAnswer, ReadingAnswer
from penstock.serve.words import rfc3339, rfc3339_all
from penstock.serve.words import told as moment
from penstock.store.alarms import AlarmRow, AnomalyRow, EventRow
from penstock.store.latest import LatestReading
from penstock.store.read import Told
from penstock.store.rollups import Bins

_ENCODER = msgspec.json.Encoder()


def readings_told(path: str, told: Told) -> list[ReadingAnswer]:
    points = told.points
    columns = zip(
        rfc3339_all(points.ts),
        points.value.tolist(),
        points.state.tolist(),
        points.quality.tolist(),
        points.seq.tolist(),
        rfc3339_all(told.received_us),
        rfc3339_all(told.stored_us),
        strict=True,
    )
    return [
        ReadingAnswer(
            tag=path,
            ts=ts,
            value=None if value != value else value,  # noqa: PLR0124  # only NaN differs from itself
            state=told.states.get(state),
            quality=name_of(quality),
            seq=None if seq == NO_SEQ else seq,
            received_ts=received,
            stored_ts=stored,
        )
        for ts, value, state, quality, seq, received, stored in columns
    ]


def latest_told(reading: LatestReading) -> ReadingAnswer:
    return ReadingAnswer(
        tag=reading.path,
        ts=rfc3339(reading.ts_us),
        value=reading.value,
        state=reading.state,
        quality=name_of(reading.quality),
        seq=reading.seq,
        received_ts=rfc3339(reading.received_us),
        stored_ts=rfc3339(reading.stored_us),
    )


def as_json(answer: object) -> bytes:
    return _ENCODER.encode(answer)


def bins_told(bins: Bins) -> list[BinAnswer]:
    means = (bins.total / bins.n).tolist()
    columns = (rfc3339_all(bins.t), bins.n.tolist(), bins.lo.tolist(), bins.hi.tolist(), means, bins.last.tolist())
    return [BinAnswer(*row) for row in zip(*columns, strict=True)]


def alarm_told(alarm: AlarmRow) -> AlarmAnswer:
    return AlarmAnswer(id=alarm.alarm_id, **_fields(alarm, AlarmAnswer))


def anomaly_told(anomaly: AnomalyRow) -> AnomalyAnswer:
    return AnomalyAnswer(id=anomaly.anomaly_id, **_fields(anomaly, AnomalyAnswer))


def event_told(event: EventRow) -> AlarmEventAnswer:
    return AlarmEventAnswer(**_fields(event, AlarmEventAnswer))


def _fields(row: msgspec.Struct, answer: type[msgspec.Struct]) -> dict[str, Any]:
    """The row's fields that the answer has, times as text."""
    given = {name: getattr(row, name) for name in answer.__struct_fields__ if name != "id"}
    return {name: moment(value) if isinstance(value, datetime) else value for name, value in given.items()}
