"""`penstock` with one line of its doors broken, for the controls: `broken_door.py FAULT ingest …`.

all-is-well     whoever puts records looks at the call's status alone, and not at each record's fate
needs-redis     a limit that cannot be asked for is a request that cannot be taken
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.__main__ import main
from penstock.door.limit import Limiter
from penstock.door.redis import RedisLimiter, RedisLine
from penstock.errors import Unavailable
from penstock.stream.kinesis.client import Kinesis

put = Kinesis.put


async def all_is_well(self: Kinesis, stream: str, records: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
    fates = await put(self, stream, records)
    one = next((fate for fate in fates if "ErrorCode" not in fate), None)
    if one is None:
        raise Unavailable("none was taken")
    return [one if "ErrorCode" in fate else fate for fate in fates]


class Unhelped:
    """The limits of a door that believes it is lost without Redis."""

    def __init__(self, local: Limiter) -> None:
        self.rate, self.burst = local.rate, local.burst

    async def take(self, name: str, *_: float | None) -> None:
        raise Unavailable(f"nobody can tell how much {name} may send")


begin = RedisLimiter.__init__


def needs_redis(self: RedisLimiter, line: RedisLine, local: Limiter) -> None:
    begin(self, line, Unhelped(local))  # type: ignore[arg-type]


FAULTS = {
    "all-is-well": lambda: setattr(Kinesis, "put", all_is_well),
    "needs-redis": lambda: setattr(RedisLimiter, "__init__", needs_redis),
}

if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    main()
