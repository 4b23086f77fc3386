"""A start against Kinesis fails with the setting and its mend; later the same trouble is waited out."""

from collections.abc import AsyncIterator

import pytest

from kinesis_fake import FakeKinesis, Timing
from penstock.errors import Backpressure, Misconfigured, Unavailable
from penstock.model.batch import Lane
from penstock.stream.kinesis.client import Kinesis, KinesisSettings, open_client, shard_name
from stream.on_fake import connect, create, fake

NOTHING_LISTENS = "http://127.0.0.1:9"
ENTRY = {"Data": b"x", "PartitionKey": "k"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def kinesis() -> AsyncIterator[FakeKinesis]:
    async with fake() as one:
        yield one


@pytest.fixture
async def client(kinesis: FakeKinesis) -> AsyncIterator[Kinesis]:
    async with await connect(kinesis) as one:
        await create(one)
        yield one


async def stopped(client: Kinesis, stream: str = "plant") -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        await client.describe(stream)
    return caught.value


async def test_a_stream_tells_its_facts(client: Kinesis, kinesis: FakeKinesis):
    facts = await client.describe("plant")
    assert facts.arn == "arn:aws:kinesis:us-east-1:000000000000:stream/plant"
    assert abs(facts.created_ms - kinesis.account.now_ms()) < 60_000
    assert (facts.name, facts.retention_hours, facts.status) == ("plant", 24, "ACTIVE")


async def test_an_unknown_stream_is_named_with_region_and_account(client: Kinesis):
    error = await stopped(client, "plnt")
    assert error.setting == "stream.url"
    for said in ("plnt", "us-east-1", "account 000000000000"):
        assert said in error.why


async def test_what_is_not_allowed_is_named_with_its_action_and_arn(client: Kinesis, kinesis: FakeKinesis):
    kinesis.faults.access_denied = ["DescribeStreamSummary"]
    error = await stopped(client)
    assert "kinesis:DescribeStreamSummary on arn:aws:kinesis:us-east-1:ACCOUNT:stream/plant" in error.mend


async def test_that_we_may_put_is_seen_without_putting(client: Kinesis, kinesis: FakeKinesis):
    await client.check_put("plant")
    assert kinesis.state()["streams"]["plant"]["appended"] == 0  # type: ignore[index]
    kinesis.faults.access_denied = ["PutRecords"]
    with pytest.raises(Misconfigured, match="allow kinesis:PutRecords on arn:aws:kinesis"):
        await client.check_put("plant")


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        ("UnrecognizedClientException", "check that the key is active"),
        ("InvalidSignatureException", "check the secret key, and this machine's clock"),
        ("ExpiredTokenException", "get new ones"),
    ],
)
async def test_wrong_credentials_stop_the_start_and_are_waited_out_later(
    client: Kinesis, kinesis: FakeKinesis, code: str, mend: str
):
    kinesis.faults.credentials_error = code
    error = await stopped(client)
    assert error.setting == "the AWS credentials"
    assert code in error.why
    assert mend in error.mend
    with pytest.raises(Unavailable, match=code):
        await client.put("plant", [ENTRY])


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        ("KMSAccessDeniedException", "kms:GenerateDataKey"),
        ("KMSDisabledException", "enable the key"),
        ("KMSInvalidStateException", "enable the key"),
    ],
)
async def test_a_key_that_cannot_be_used_is_named(client: Kinesis, kinesis: FakeKinesis, code: str, mend: str):
    kinesis.faults.kms_error = code
    with pytest.raises(Misconfigured, match=mend):
        await client.check_put("plant")
    with pytest.raises(Unavailable, match="KMS key"):
        await client.put("plant", [ENTRY])


async def test_no_credentials(kinesis: FakeKinesis, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    async with await connect(kinesis) as client:
        error = await stopped(client)
    assert "none were found" in error.why
    assert "task role" in error.mend


async def test_no_region_and_no_url():
    with pytest.raises(Misconfigured, match=r"stream\.region.*AWS_REGION"):
        await open_client(KinesisSettings("plant"))
    with pytest.raises(Misconfigured, match=r"stream\.endpoint.*https://HOST"):
        await open_client(KinesisSettings("plant", region="eu-central-1", endpoint="here"))


async def test_nobody_at_the_endpoint():
    async with await open_client(KinesisSettings("plant", region="eu-west-2", endpoint=NOTHING_LISTENS)) as client:
        error = await stopped(client)
        assert "eu-west-2" in error.why
        assert NOTHING_LISTENS in error.why
        with pytest.raises(Unavailable, match="does not answer"):
            await client.put("plant", [ENTRY])


async def test_a_stream_that_is_being_deleted():
    async with fake(timing=Timing(create_s=0, delete_s=30)) as kinesis, await connect(kinesis) as client:
        await create(client)
        await client.api.delete_stream(StreamName="plant")
        assert "being deleted" in (await stopped(client)).why


async def test_a_failing_call_is_our_own_to_try_again(client: Kinesis, kinesis: FakeKinesis):
    kinesis.faults.calls_failed = 1.0
    with pytest.raises(Unavailable):
        await client.put("plant", [ENTRY])
    kinesis.faults.calls_failed, kinesis.faults.lost_replies = 0.0, 1.0
    with pytest.raises(Unavailable):
        await client.put("plant", [ENTRY])
    assert kinesis.account.calls["PutRecords"] == 2


async def test_throttling_is_backpressure_at_start_too(client: Kinesis, kinesis: FakeKinesis):
    kinesis.faults.calls_throttled = 1.0
    with pytest.raises(Backpressure):
        await client.put("plant", [ENTRY])
    with pytest.raises(Backpressure):
        await client.check_put("plant")


async def test_a_call_that_is_never_answered_ends(kinesis: FakeKinesis):
    kinesis.faults.put_latency_s = 5.0
    async with await connect(kinesis, read_timeout_s=0.1) as client:
        await create(client)
        with pytest.raises(Unavailable):
            await client.put("plant", [ENTRY])


def test_shards_of_two_streams_have_two_names():
    assert shard_name("shardId-000000000001") == "shardId-000000000001"
    assert shard_name("shardId-000000000001", 36**2 + 35) == "critical.10z/shardId-000000000001"
    assert KinesisSettings("a").streams == {Lane.BULK: "a", Lane.CRITICAL: "a"}
    assert KinesisSettings("a", "b").streams == {Lane.BULK: "a", Lane.CRITICAL: "b"}
