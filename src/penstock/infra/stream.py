"""Where readings wait between ingest and work: two Kinesis streams, one for each lane."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.keys import Keys
from penstock.infra.policy import Statement, allow
from penstock.infra.station import Station
from penstock.infra.terraform import aws

METRICS: Final = [
    "IncomingBytes",
    "IncomingRecords",
    "IteratorAgeMilliseconds",
    "OutgoingBytes",
    "OutgoingRecords",
    "ReadProvisionedThroughputExceeded",
    "WriteProvisionedThroughputExceeded",
]
PUT: Final = ("kinesis:PutRecords", "kinesis:DescribeStreamSummary")
READ: Final = ("kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords")
SUBSCRIBE: Final = ("kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard")
CONSUMER: Final = "penstock"
NAMESPACE: Final = "AWS/Kinesis"


class Metric(NamedTuple):
    """A figure that Kinesis tells CloudWatch."""

    name: str
    dimensions: Mapping[str, str]


class Stream(Station):
    """The bulk lane, and the critical one unless both share."""

    def __init__(self, scope: Construct, deployment: Deployment, keys: Keys) -> None:
        super().__init__(scope, "stream", deployment)
        self._key = keys.data.arn
        part = deployment.stream
        self.bulk = self._stream("bulk", part.shards)
        self.critical = self._stream("critical", part.critical_shards) if part.critical_shards else None

    @property
    def every(self) -> list[Any]:
        """All streams there are."""
        return [self.bulk] if self.critical is None else [self.bulk, self.critical]

    @property
    def lanes(self) -> list[tuple[str, Any]]:
        """(lane, its stream)."""
        return list(zip(("bulk", "critical"), self.every, strict=False))

    def age(self, stream: Any) -> Metric:
        """How long what workers take next has waited; where Kinesis pushes, it calls that otherwise."""
        of_stream = {"StreamName": stream.name}
        if self.deployment.stream.fan_out:
            return Metric("SubscribeToShardEvent.MillisBehindLatest", of_stream | {"ConsumerName": CONSUMER})
        return Metric("GetRecords.IteratorAgeMilliseconds", of_stream)

    def environment(self) -> dict[str, str]:
        """What a task is told."""
        told = {
            "PENSTOCK_STREAM__URL": f"kinesis://{self.bulk.name}",
            "PENSTOCK_STREAM__REGION": self.deployment.region,
        }
        if self.critical is not None:
            told["PENSTOCK_STREAM__CRITICAL"] = self.critical.name
        return told

    def environment_of_takers(self) -> dict[str, str]:
        """What a worker is told besides."""
        return {"PENSTOCK_STREAM__FAN_OUT": CONSUMER} if self.deployment.stream.fan_out else {}

    def puts(self) -> Statement:
        """May put readings, and see that the stream takes them."""
        return allow(PUT, *self._arns())

    def reads(self) -> Statement:
        """May read what was put."""
        return allow(READ, *self._arns())

    def subscribes(self) -> list[Statement]:
        """May have it pushed, where that is wanted, by a consumer of our own name."""
        if not self.deployment.stream.fan_out:
            return []
        consumers = [f"{arn}/consumer/{CONSUMER}:*" for arn in self._arns()]
        return [allow(["kinesis:RegisterStreamConsumer"], *self._arns()), allow(SUBSCRIBE, *consumers)]

    def _arns(self) -> list[str]:
        return [stream.arn for stream in self.every]

    def _stream(self, lane: str, shards: int) -> Any:
        on_demand = self.deployment.stream.on_demand
        return aws.kinesis_stream(
            self,
            lane,
            name=self.names(lane, "stream"),
            retention_period=self.deployment.stream.retention_h,
            encryption_type="KMS",
            kms_key_id=self._key,
            shard_level_metrics=METRICS,
            enforce_consumer_deletion=True,
            stream_mode_details={"stream_mode": "ON_DEMAND" if on_demand else "PROVISIONED"},
            tags=self.called(lane, "stream"),
            **({} if on_demand else {"shard_count": shards}),
        )
