"""Kinesis through aiobotocore: one connection pool, short times, no retries but ours, and errors that name the mend."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple, Self

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from penstock.errors import Misconfigured, PenstockError, Unavailable
from penstock.model.batch import Lane
from penstock.model.slices import KEYS
from penstock.stream.kinesis.trouble import FOREIGN, Asked, at_start, being_deleted, code_of, later

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_IDLE_S: Final = 20.0
"""An unused connection is closed before a NAT gateway or load balancer forgets it without a word."""


Outgoing = Mapping[str, bytes | str]
"""An entry of PutRecords: Data, PartitionKey, ExplicitHashKey."""
Fate = Mapping[str, str]
"""Its answer: ShardId and SequenceNumber, or ErrorCode and ErrorMessage."""


class KinesisSettings(NamedTuple):
    """Where the streams are, and how long a call may take."""

    name: str
    critical: str = ""
    """A stream of its own for the critical lane; none: both lanes share `name`."""
    region: str = ""
    """Empty: what the environment or the profile says."""
    endpoint: str = ""
    """Empty: Amazon's own in the region."""
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 6.0
    connections_max: int = 32

    @property
    def streams(self) -> Mapping[Lane, str]:
        """The stream's name by lane."""
        return {Lane.BULK: self.name, Lane.CRITICAL: self.critical or self.name}


class StreamFacts(NamedTuple):
    """What a stream says of itself."""

    name: str
    arn: str
    created_ms: int
    """Two streams of one name, one after the other, differ in this."""
    retention_hours: int
    status: str
    """CREATING, DELETING, ACTIVE or UPDATING."""


def shard_name(shard_id: str, critical_created_ms: int | None = None) -> str:
    """What we call a shard: its id, and of a critical lane's own stream also which stream it is.

    *critical_created_ms*: when that stream was created; None for a shard of the main stream.
    """
    return shard_id if critical_created_ms is None else f"critical.{_base36(critical_created_ms)}/{shard_id}"


class Kinesis:
    """An open connection pool to Kinesis. `api` is aiobotocore's client; who calls it translates its errors here."""

    def __init__(self, api: Any, settings: KinesisSettings, undo: AsyncExitStack) -> None:
        self.api = api
        self.settings = settings
        self._undo = undo

    @property
    def region(self) -> str:
        return str(self.api.meta.region_name)

    def asked(self, action: str, stream: str) -> Asked:
        """For `trouble`: *action* as an API name, `PutRecords`."""
        return Asked(f"kinesis:{action}", stream, self.region, str(self.api.meta.endpoint_url))

    def later(self, error: BaseException, action: str, stream: str) -> PenstockError:
        """A running process's Unavailable or Backpressure for what a call of `api` raised."""
        return later(error, self.asked(action, stream))

    def at_start(self, error: BaseException, action: str, stream: str) -> PenstockError:
        """A beginning process's Misconfigured (or Unavailable, where no setting mends it)."""
        return at_start(error, self.asked(action, stream))

    async def describe(self, stream: str) -> StreamFacts:
        """The stream's facts. For use at start: raises Misconfigured with the setting and its mend, or Unavailable."""
        try:
            answer = await self.api.describe_stream_summary(StreamName=stream)
        except FOREIGN as error:
            raise self.at_start(error, "DescribeStreamSummary", stream) from error
        told = answer["StreamDescriptionSummary"]
        if told["StreamStatus"] == "DELETING":
            raise being_deleted(self.asked("DescribeStreamSummary", stream))
        created_ms = round(told["StreamCreationTimestamp"].timestamp() * 1_000)
        return StreamFacts(stream, told["StreamARN"], created_ms, told["RetentionPeriodHours"], told["StreamStatus"])

    async def check_put(self, stream: str) -> None:
        """At start: whether we may put records. Nothing is put: the hash key lies one past the greatest.

        Raises Misconfigured as `describe` does. A service that looks at the key first tells us nothing, which is
        no worse than not to ask.
        """
        never: Mapping[str, object] = {"Data": b"-", "PartitionKey": "-", "ExplicitHashKey": str(KEYS)}
        try:
            await self.api.put_records(StreamName=stream, Records=[never])
        except ClientError as error:
            if code_of(error) not in {"InvalidArgumentException", "ValidationException"}:
                raise self.at_start(error, "PutRecords", stream) from error
        except FOREIGN as error:
            raise self.at_start(error, "PutRecords", stream) from error

    async def put(self, stream: str, records: Sequence[Outgoing]) -> Sequence[Fate]:
        """One PutRecords call; a fate for each record, in order. Raises Backpressure or Unavailable for the whole."""
        try:
            answer = await self.api.put_records(StreamName=stream, Records=records)
        except FOREIGN as error:
            raise self.later(error, "PutRecords", stream) from error
        fates: Sequence[Fate] = answer.get("Records", ())
        if len(fates) != len(records):
            raise Unavailable(f"kinesis:PutRecords on {stream}: {len(fates)} answers to {len(records)} records")
        return fates

    async def close(self) -> None:
        await self._undo.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def open_client(settings: KinesisSettings) -> Kinesis:
    """A pool that connects at its first call; `async with`, or `close`. Raises Misconfigured: no region, no endpoint.

    Credentials are found as AWS tools find them, and renewed by themselves.
    """
    undo = AsyncExitStack()
    asked = Asked("kinesis:*", settings.name, settings.region, settings.endpoint)
    try:
        making = get_session().create_client(
            "kinesis",
            region_name=settings.region or None,
            endpoint_url=settings.endpoint or None,
            config=_config(settings),
        )
        return Kinesis(await undo.enter_async_context(making), settings, undo)
    except ValueError as error:  # botocore's own for an endpoint that is no URL
        mend = "write it as https://HOST[:PORT], or leave it empty for Amazon's own"
        raise Misconfigured("stream.endpoint", str(error), mend) from error
    except FOREIGN as error:
        raise at_start(error, asked) from error


def _config(settings: KinesisSettings) -> AioConfig:
    return AioConfig(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        max_pool_connections=settings.connections_max,
        tcp_keepalive=True,
        retries={"total_max_attempts": 1},  # a partly failed call must not be sent again as a whole
        parameter_validation=False,  # our own calls have no wrong shape, and looking costs as much as signing
        connector_args={"keepalive_timeout": _IDLE_S},
        user_agent_extra="penstock",
    )


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
