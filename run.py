"""Sets up .venv beside this file, then runs Penstock in it. Needs Python 3.11 or newer, and nothing else.

python3 run.py               a live plant with simulated sensors
python3 run.py test          every test
python3 run.py prove         the long proofs
python3 run.py ANYTHING      the same as `penstock ANYTHING`
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def main(words):
    if sys.version_info < (3, 11):  # noqa: UP036  # the one line an old Python gets to read
        sys.exit(f"Penstock needs Python 3.11 or newer; this is {sys.version.split()[0]}. Mend: python3.11 run.py")
    testing = words[:1] in (["test"], ["prove"])
    prepare("requirements-test.lock" if testing else "requirements.lock")
    commands = {
        "test": ["-m", "pytest", "-n", "auto", "--dist", "loadfile"],
        "prove": [str(HERE / "proofs" / "all.py")],
    }
    command = commands[words.pop(0)] if testing else ["-m", "penstock"]
    if testing:
        os.chdir(HERE)
    os.execv(PYTHON, [str(PYTHON), *command, *words]) if os.name != "nt" else sys.exit(
        subprocess.call([str(PYTHON), *command, *words])
    )


def prepare(lock):
    """Install what *lock* pins, unless that was done before; the stamp is the content of what was installed."""
    stamp = VENV / f".{lock}.installed"
    content = b"".join((HERE / name).read_bytes() for name in (lock, "pyproject.toml"))
    wanted = hashlib.sha256(content + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"penstock: setting up {VENV} (first start only) …", file=sys.stderr, flush=True)
    if not PYTHON.exists():
        make_venv()
    # Python compiles what it imports by itself, and that is a tenth of it all; unless it was told not to keep it.
    compiling = [] if sys.dont_write_bytecode else ["--no-compile"]
    pip(*compiling, "--no-deps", "--require-hashes", "-r", HERE / lock)
    pip("--no-deps", "--no-build-isolation", "-e", HERE)
    stamp.write_text(wanted)


def make_venv():
    """With pip inside where the machine can; some Debian machines cannot, and then this machine's pip does it."""
    made = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True, text=True)
    if made.returncode:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", VENV], check=True)


def pip(*words):
    """This machine's pip or the venv's own; quiet unless it fails."""
    own = subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True)
    front = [PYTHON, "-m", "pip"] if own.returncode == 0 else [sys.executable, "-m", "pip", "--python", PYTHON]
    done = subprocess.run(
        [*front, "install", "--quiet", "--disable-pip-version-check", "--no-input", *words],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(
            f"penstock: setting up failed:\n{done.stderr.strip()}\n"
            "Mend: see that pip can reach a package index (a proxy or a mirror is set by `pip config`), then run again."
        )


if __name__ == "__main__":
    main(sys.argv[1:])
