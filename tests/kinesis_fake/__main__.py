"""The fake on its own: prints its URL once it listens, ends on SIGTERM or SIGINT."""

import argparse
import asyncio
import signal
import sys
from dataclasses import fields

import uvloop

from kinesis_fake.faults import Faults
from kinesis_fake.limits import UNLIMITED, Limits
from kinesis_fake.server import FakeKinesis
from kinesis_fake.streams import create_stream
from kinesis_fake.timing import Timing
from kinesis_fake.wire import CreateStream


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kinesis_fake", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--stream", action="append", default=[], metavar="NAME:SHARDS", help="made at the start")
    parser.add_argument("--unlimited", action="store_true", help="no rates; sizes stay limited")
    parser.add_argument("--retention-s", type=float, help="what the 24 hours of a new stream last")
    for settings in (Limits, Timing, Faults):
        for field in fields(settings):
            if field.type in {"float", "int", "float | None", float, int, float | None}:
                flag = f"--{field.name.replace('_', '-')}"
                parser.add_argument(flag, type=int if field.type in {int, "int"} else float, metavar="N")
    parser.add_argument("--records-per-s", dest="write_records_per_s", type=float, metavar="N")
    return parser.parse_args()


def given(settings: object, named: argparse.Namespace) -> None:
    """Take over what was named on the command line."""
    for field in fields(settings):  # type: ignore[arg-type]
        if (value := getattr(named, field.name, None)) is not None:
            setattr(settings, field.name, value)


def composed(named: argparse.Namespace) -> FakeKinesis:
    kinesis = FakeKinesis(port=named.port, region=named.region)
    if named.unlimited:
        vars(kinesis.limits).update(vars(UNLIMITED))
    if named.retention_s is not None:
        kinesis.timing.hour_s = named.retention_s / 24
    for settings in (kinesis.limits, kinesis.timing, kinesis.faults):
        given(settings, named)
    kinesis.account.trouble.reseed()
    return kinesis


async def serve(named: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with composed(named) as kinesis:
        for wanted in named.stream:
            name, _, shards = wanted.partition(":")
            create_stream(kinesis.account, CreateStream(stream_name=name, shard_count=int(shards or 1)))
        sys.stdout.write(f"{kinesis.url}\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    uvloop.run(serve(arguments()))
