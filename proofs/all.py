"""Every proof, the long form: `python3 run.py prove`; one, as long as you like: `python3 run.py prove p2 1000`."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LONG = {"p2": ("p2_kills.py", "100"), "p4": ("p4_schedules.py", "10000"), "p12": ("p12_inputs.py", "1000000")}


def main(words: list[str]) -> int:
    chosen = [words[0]] if words else list(LONG)
    if unknown := set(chosen) - LONG.keys():
        sys.exit(f"no proof is called {', '.join(unknown)}; there are {', '.join(LONG)}")
    failed = [name for name in chosen if run(name, words[1:])]
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def run(name: str, size: list[str]) -> int:
    file, long = LONG[name]
    print(f"{name}: {file} {' '.join(size) or long}", flush=True)
    return subprocess.run([sys.executable, str(HERE / file), *(size or [long])], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
