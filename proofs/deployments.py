"""DEPLOYMENTS: all five, really applied on simulated AWS, one after another; one twice, side by side; two under lock.

Synthesised, validated, applied; a second plan changes nothing; readings go through the applied tasks into PostgreSQL,
Redis and the archive; destroyed, and nothing is left. The control: a queue that no stack made is found as left.
`governed`: an archive under a lock is a reason not to destroy, until its role lifts it. `sealed`: it stays.

    python3 run.py prove deployments [PROFILE… | beside | governed | sealed]

What this is not: no permission is enforced, no container runs, nothing scales, no alarm goes off, no real account.
"""

import sys
import tempfile
import time
import traceback
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from simaws import SimulatedAws  # noqa: E402
from simaws.leftovers import leftovers  # noqa: E402
from simaws.locks import lift, stay  # noqa: E402
from simaws.loop import Life, Trial, live, standing  # noqa: E402
from simaws.plant import carry  # noqa: E402
from simaws.terraform import NotHere  # noqa: E402

PROFILES = ("tokyo", "london", "montreal", "virginia", "frankfurt")
SMALLEST = "montreal"
SECONDS_MAX = 300


def main(words: list[str]) -> int:
    chosen = " ".join(words).split() or [*PROFILES, *OTHERS]
    folder = Path(tempfile.mkdtemp(prefix="penstock-deployments-"))
    print(f"logs, stacks and states: {folder}", flush=True)
    failed = [name for name in chosen if not holds(name, folder)]
    print(f"{len(chosen) - len(failed)} hold, {len(failed)} do not {failed or ''}")
    return 1 if failed else 0


def holds(name: str, folder: Path) -> bool:
    began_s = time.monotonic()
    try:
        told = OTHERS[name](folder) if name in OTHERS else str(live(Trial(name, folder, say=say), carry))
    except Exception as error:  # noqa: BLE001  # the others are tried whatever befell this one
        why = str(error) if isinstance(error, (AssertionError, NotHere)) else traceback.format_exc()
        say(f"{name}: FAILED after {time.monotonic() - began_s:.0f} s: {why}")
        return False
    took_s = time.monotonic() - began_s
    say(f"{told}{'' if took_s < SECONDS_MAX else f' (more than {SECONDS_MAX} s)'}")
    return True


def beside(folder: Path) -> str:
    """Two suffixes of the smallest profile stand in one account at once."""
    one, two = (Life(Trial(SMALLEST, folder, suffix, ("fast=true",), say)) for suffix in ("one", "two"))
    with SimulatedAws(region=one.trial.deployment.region, log=folder / "beside.log") as aws:
        with standing(one, aws) as first, standing(two, aws) as second:
            assert first.output("kinesis_stream_name") != second.output("kinesis_stream_name")
        left = leftovers(aws)
        assert not left, f"destroyed, and still there: {left}"
        aws.client("sqs").create_queue(QueueName="nobodys")
        assert list(leftovers(aws)) == ["queues"], "the control was not found"
    return f"beside: {one.resources} and {two.resources} resources stood in one account; the control was found"


def governed(folder: Path) -> str:
    """Destroyed only by who may lift locks, and says so."""
    trial = Trial(SMALLEST, folder, "governed", ("fast=true", "archive.retention=governance"), say)
    return f"governed: refused, then lifted: {live(trial, carry, lift)}"


def sealed(folder: Path) -> str:
    """Applied and used; then neither `destroy` nor S3 lets it go. What stands ends with simulated AWS."""
    trial = Trial(SMALLEST, folder, "sealed", ("fast=true", "archive.retention=sealed"), say)
    life, region = Life(trial), trial.deployment.region
    with SimulatedAws(region=region, log=folder / "sealed.log") as aws, standing(life, aws, stay) as applied:
        life.used = carry(applied)
    return f"sealed: refused, by S3 too: {life}"


OTHERS = {"beside": beside, "governed": governed, "sealed": sealed}


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
