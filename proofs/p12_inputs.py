"""P12: no input makes a 5xx. `p12_inputs.py [N]`: N grammar-aware inputs through the decoder, in this process.

Prints N, uncaught, the share that got past the JSON parser, and how much memory grew; exits 1 if anything that is not
ours was raised, if fewer than 30 % got past the parser, or if a decoder that lets one exception through is not caught.
"""

import random
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ingest.hostile import hostile
from penstock.errors import Rejected
from penstock.ingest.codec import Caps, Decoded, decode

SHARE_MIN = 0.30
GROWTH_MAX_MIB = 50
Decode = Callable[[bytes, str, Caps], Decoded]


class Outcome(NamedTuple):
    inputs: int
    uncaught: int
    past_parser: int
    growth_mib: float


def run(inputs: int, seed: int, decoder: Decode, *, is_told: bool = True) -> Outcome:
    chance, uncaught, past = random.Random(seed), 0, 0
    for number in range(inputs):
        if number == inputs // 10:
            settled = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        body, kind = hostile(chance)
        try:
            decoder(body, kind, Caps())
            past += 1
        except Rejected as error:
            past += error.code in ("empty", "form_unknown", "columns_unequal")
        except Exception as error:  # noqa: BLE001  # counting them is the point
            uncaught += 1
            if is_told:
                print(f"uncaught at {number}: {type(error).__name__}: {body[:200]!r}", file=sys.stderr)
    return Outcome(inputs, uncaught, past, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - settled) / 1024)


def careless(body: bytes, kind: str, caps: Caps) -> Decoded:
    """The control: forgets that text may not be UTF-8."""
    body.decode("utf-8")
    return decode(body, kind, caps)


def main() -> int:
    inputs = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    control = run(2_000, 1, careless, is_told=False)
    outcome = run(inputs, 2, decode)
    share = outcome.past_parser / inputs
    print(f"N {inputs}  uncaught {outcome.uncaught}  past the parser {share:.0%}  growth {outcome.growth_mib:.1f} MiB")
    print(f"bound on the rate of uncaught: {3 / inputs:.1e} (95 %)   control: {control.uncaught} caught of 2000")
    holds = outcome.uncaught == 0 and share >= SHARE_MIN and outcome.growth_mib <= GROWTH_MAX_MIB
    return 0 if holds and control.uncaught > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
