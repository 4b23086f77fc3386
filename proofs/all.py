"""Every proof long: `python3 run.py prove`; all short ones: `prove short`; one, so long: `prove p2 1000`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SHORT_S, LONG_S, END_S = 600, 7_200, 60
"""A proof that takes longer has failed; so long it may take to put its things away."""


class Proof(NamedTuple):
    """A file, and the sizes it is run at; without a short one it is among the tests."""

    file: str
    long: str
    short: str


PROOFS = {
    "p2": Proof("p2_kills.py", "100", "3"),
    "p4": Proof("p4_schedules.py", "10000", "300"),
    "p5": Proof("p5_resharding.py", "300", "15"),
    "p6": Proof("p6_partial_puts.py", "120", "8"),
    "p7": Proof("p7_poison.py", "10", "2"),
    "p8": Proof("p8_database.py", "20", "5"),
    "p9": Proof("p9_redis.py", "60", "5"),
    "p11": Proof("p11_rotation.py", "50", "6"),
    "p12": Proof("p12_inputs.py", "1000000", "20000"),
    "p20": Proof("p20_canaries.py", "1", "1"),
    "deployments": Proof("deployments.py", "tokyo london montreal virginia frankfurt beside governed sealed", ""),
}


def main(words: list[str]) -> int:
    short = words[:1] == ["short"]
    words = words[short:]
    chosen = [words[0]] if words else [name for name, proof in PROOFS.items() if proof.short or not short]
    if unknown := set(chosen) - PROOFS.keys():
        sys.exit(f"no proof is called {', '.join(unknown)}; there are {', '.join(PROOFS)}")
    failed = [name for name in chosen if run(PROOFS[name], words[1:], short=short)]
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def run(proof: Proof, size: list[str], *, short: bool) -> int:
    size = size or [proof.short if short else proof.long]
    print(f"{proof.file} {' '.join(size)}", flush=True)
    begun_s = time.monotonic()
    environment = os.environ | ({"PENSTOCK_SHORT_PROOF": "1"} if short else {})
    command = [sys.executable, str(HERE / proof.file), *size]
    code = ended(subprocess.Popen(command, env=environment), SHORT_S if short else LONG_S)
    print(f"{proof.file}: {'failed' if code else 'passed'} after {time.monotonic() - begun_s:.0f} s", flush=True)
    return code


def ended(proof: subprocess.Popen[bytes], patience_s: float) -> int:
    """Its exit code; one that hangs is interrupted, so that it shows where it stood and stops what it started."""
    try:
        return proof.wait(patience_s)
    except subprocess.TimeoutExpired:
        print(f"it is interrupted after {patience_s} s", flush=True)
        proof.send_signal(signal.SIGINT)
    try:
        return proof.wait(END_S) or 1
    except subprocess.TimeoutExpired:
        proof.kill()
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
