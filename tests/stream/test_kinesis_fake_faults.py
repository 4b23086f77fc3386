"""The fake fails as it is told to, by seeded chance, in process and over HTTP; and it runs on its own."""

import asyncio
import json
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from botocore.exceptions import ConnectionClosedError

from kinesis_fake import Faults
from stream.asking_kinesis import (
    SESSION,
    Hand,
    consumer_of,
    drain,
    iterator,
    name,
    numbers,
    plant,
    put,
    refused,
    subscribed,
)

# Faults


async def test_entries_fail_one_by_one_by_seeded_chance_and_only_the_others_are_stored() -> None:
    async def fates(seed: int) -> list[str]:
        faults = Faults(seed=seed, put_entries_failed=0.2, put_entries_throttled=0.2)
        async with plant(faults=faults) as (kinesis, client):
            answer = await put(client, *map(str, range(500)))
            codes = [fate.get("ErrorCode", "") for fate in answer["Records"]]
            assert answer["FailedRecordCount"] == 500 - codes.count("")
            stored = [record["PartitionKey"] for record in (await drain(client, name(0)))[0]]
            assert stored == [str(n) for n, code in enumerate(codes) if not code]
            assert kinesis.account.trouble.counted["put_entries_failed"] == codes.count("InternalFailure")
            return codes

    first = await fates(1)
    assert 60 < first.count("InternalFailure") < 140
    assert 50 < first.count("ProvisionedThroughputExceededException") < 120
    assert first == await fates(1)
    assert first != await fates(2)


async def test_a_lost_reply_hides_a_put_that_happened_and_a_lost_request_one_that_did_not() -> None:
    async with plant() as (kinesis, client):
        for fault, stored in (("lost_requests", 0), ("lost_replies", 1)):
            setattr(kinesis.faults, fault, 1.0)
            with pytest.raises(ConnectionClosedError):
                await put(client, "k")
            setattr(kinesis.faults, fault, 0.0)
            assert len((await drain(client, name(0)))[0]) == stored


async def test_a_call_can_be_throttled_or_fail_as_a_whole() -> None:
    async with plant() as (kinesis, client):
        kinesis.faults.calls_throttled = 1.0
        assert await refused(put(client, "k")) == "ProvisionedThroughputExceededException"
        kinesis.faults.calls_throttled, kinesis.faults.calls_failed = 0.0, 1.0
        assert await refused(iterator(client, name(0))) == "InternalFailure"
        await client.list_shards(StreamName="s")


@pytest.mark.parametrize(
    ("fault", "value", "code"),
    [
        ("access_denied", ["PutRecords"], "AccessDeniedException"),
        ("access_denied", ["*"], "AccessDeniedException"),
        ("kms_error", "KMSAccessDeniedException", "KMSAccessDeniedException"),
        ("credentials_error", "UnrecognizedClientException", "UnrecognizedClientException"),
    ],
)
async def test_permissions_keys_and_credentials_can_be_refused(fault: str, value: object, code: str) -> None:
    async with plant() as (kinesis, client):
        setattr(kinesis.faults, fault, value)
        assert await refused(put(client, "k")) == code
        assert kinesis.state()["refusals"] == {code: 1}


async def test_a_producer_s_duplicate_has_two_numbers_and_a_delivery_s_has_one() -> None:
    async with plant() as (kinesis, client):
        kinesis.faults.put_twice = 1.0
        await put(client, *"abc")
        records, _ = await drain(client, name(0))
        assert [record["PartitionKey"] for record in records] == list("aabbcc")
        assert len(set(numbers(records))) == 6
        kinesis.faults.put_twice, kinesis.faults.deliver_again = 0.0, 1.0
        place, seen = await iterator(client, name(0)), []
        for _ in range(3):
            answer = await client.get_records(ShardIterator=place)
            place = answer["NextShardIterator"]
            seen += numbers(answer["Records"])
        assert set(seen) == set(numbers(records))
        assert len(seen) > 6


async def test_a_stalled_shard_takes_writes_and_delivers_nothing_until_it_recovers() -> None:
    clock = Hand()
    async with plant(clock=clock) as (kinesis, client):
        await put(client, "k")
        kinesis.faults.stalled_shards = [name(0)]
        clock.now_s += 9
        answer = await client.get_records(ShardIterator=await iterator(client, name(0)))
        assert (answer["Records"], answer["MillisBehindLatest"]) == ([], 9000)
        await put(client, "k")
        kinesis.faults.stalled_shards = []
        answer = await client.get_records(ShardIterator=answer["NextShardIterator"])
        assert len(answer["Records"]) == 2


async def test_latency_and_a_wrong_clock_can_be_set() -> None:
    async with plant() as (kinesis, client):
        loop = asyncio.get_running_loop()
        kinesis.faults.put_latency_s = kinesis.faults.get_latency_s = 0.05
        kinesis.faults.clock_offset_s = -1000
        before = loop.time()
        await put(client, "k")
        assert loop.time() - before >= 0.05
        record = (await drain(client, name(0)))[0][0]
        assert loop.time() - before >= 0.15
        assert 990 < kinesis.account.now_ms() / 1000 - record["ApproximateArrivalTimestamp"].timestamp() + 1000 < 1010
        kinesis.faults.clock_offset_s = 0
        await put(client, "k")
        records, _ = await drain(client, name(0))
        assert (records[1]["ApproximateArrivalTimestamp"] - records[0]["ApproximateArrivalTimestamp"]).seconds >= 999


async def test_a_real_client_s_own_retries_make_the_duplicates_that_lost_replies_make() -> None:
    async with plant(faults=Faults(lost_replies=0.3, seed=5)) as (kinesis, _):
        retrying = SESSION.create_client(
            "kinesis",
            region_name="us-east-1",
            endpoint_url=kinesis.url,
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=AioConfig(retries={"mode": "standard", "total_max_attempts": 9}),
        )
        async with retrying as client:
            for number in range(10):
                await put(client, str(number))
            kinesis.faults.lost_replies = 0.0
            records, _ = await drain(client, name(0))
        assert {record["PartitionKey"] for record in records} == set(map(str, range(10)))
        assert len(records) == 10 + kinesis.account.trouble.counted["lost_replies"] > 10


# The doors of our own


def door(url: str, body: object = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method="GET" if data is None else "PUT")
    with urllib.request.urlopen(request, timeout=5) as answer:
        shown: dict[str, Any] = json.load(answer)
    return shown


async def test_faults_limits_and_timing_are_set_over_http_and_the_state_is_shown() -> None:
    async with plant(shards=2) as (kinesis, client):
        shown = await asyncio.to_thread(door, f"{kinesis.url}/_faults", {"put_entries_failed": 1, "seed": 3})
        assert (shown["put_entries_failed"], shown["seed"], shown["lost_replies"]) == (1.0, 3, 0.0)
        assert (await put(client, "k"))["FailedRecordCount"] == 1
        await asyncio.to_thread(door, f"{kinesis.url}/_faults", {"put_entries_failed": 0})
        await asyncio.to_thread(door, f"{kinesis.url}/_limits", {"write_records_per_s": 1})
        assert (await put(client, "k", "k"))["FailedRecordCount"] == 1
        await asyncio.to_thread(door, f"{kinesis.url}/_timing", {"update_s": 9})
        assert (kinesis.timing.update_s, kinesis.faults.seed) == (9, 3)
        for wrong in ({"no_such_fault": 1}, {"seed": "x"}):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                await asyncio.to_thread(door, f"{kinesis.url}/_faults", wrong)
        state = await asyncio.to_thread(door, f"{kinesis.url}/_state")
        assert state["streams"]["s"]["appended"] == 1
        assert sum(shard["held"] for shard in state["streams"]["s"]["shards"].values()) == 1
        assert state["injected"] == {"put_entries_failed": 1}
        assert state["refusals"] == {"entry:InternalFailure": 1, "entry:ProvisionedThroughputExceededException": 1}
        assert state["calls"]["PutRecords"] == 2


async def test_what_is_no_kinesis_call_is_refused_and_a_broken_one_hurts_nobody() -> None:
    async with plant() as (kinesis, client):
        for target, body in (("Kinesis_20131202.Nonsense", b"{}"), ("Kinesis_20131202.PutRecords", b"{"), ("", b"")):
            request = urllib.request.Request(kinesis.url, body, {"X-Amz-Target": target} if target else {})
            with pytest.raises(urllib.error.HTTPError):
                await asyncio.to_thread(urllib.request.urlopen, request)
        reader, writer = await asyncio.open_connection("127.0.0.1", kinesis.port)
        writer.write(b"\x00\x01 nonsense\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        bad = {"StreamName": "s", "Records": [{"Data": "not base64!", "PartitionKey": "k"}]}
        request = urllib.request.Request(
            kinesis.url, json.dumps(bad).encode(), {"X-Amz-Target": "Kinesis_20131202.PutRecords"}
        )
        with pytest.raises(urllib.error.HTTPError, match="400"):
            await asyncio.to_thread(urllib.request.urlopen, request)
        assert (await put(client, "k"))["FailedRecordCount"] == 0


async def test_it_runs_on_its_own_and_ends_on_sigterm() -> None:
    flags = ("--port", "0", "--records-per-s", "2", "--retention-s", "60", "--put-latency-s", "0.01", "--stream", "s:3")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kinesis_fake", *flags, cwd=Path(__file__).parents[1], stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        assert (await asyncio.to_thread(door, f"{url}/_limits"))["write_records_per_s"] == 2
        assert (await asyncio.to_thread(door, f"{url}/_timing"))["hour_s"] == 2.5
        assert (await asyncio.to_thread(door, f"{url}/_faults"))["put_latency_s"] == 0.01
        assert "s" in (await asyncio.to_thread(door, f"{url}/_state"))["streams"]
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 0


async def test_a_throttled_subscription_is_refused_in_its_own_words() -> None:
    async with plant(faults=Faults(calls_throttled=1.0)) as (_, client):
        assert await refused(subscribed(client, await consumer_of(client))) == "LimitExceededException"
