"""`penstock …`: run the command line, and turn our errors into exit codes that scripts can rely on."""

import atexit
import os
import shutil
import sys
import tempfile
from typing import Final, NoReturn

from penstock.errors import Backpressure, Misconfigured, PenstockError, Unavailable

EXIT_NOT_SO: Final = 1
EXIT_UNAVAILABLE: Final = 69
EXIT_TRY_LATER: Final = 75
EXIT_CONFIGURATION: Final = 78
METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"


def main() -> None:
    """Exit 0 done, 1 not so, 2 usage, 69 a service is unavailable, 75 try again later, 78 configuration."""
    if sys.argv[1:2] in ([], ["up"]):
        share_metrics()
    from penstock.cli import app  # noqa: PLC0415  # the metrics library looks once, when it is imported

    try:
        app()
    except PenstockError as error:
        end(str(error), exit_code(error))
    except UnicodeDecodeError as error:
        end(f"a file is not UTF-8 text (its byte {error.start} is not). Mend: save it as UTF-8", EXIT_NOT_SO)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        end(f"{where}{error.strerror or error}", EXIT_NOT_SO)


def end(why: str, code: int) -> NoReturn:
    """The last word of a command line: one line for a person, and a code for scripts."""
    print(f"penstock: {why}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def share_metrics() -> None:
    """Let the processes of one plant count together, so that one of them can answer /metrics for all."""
    if METRICS not in os.environ:
        os.environ[METRICS] = folder = tempfile.mkdtemp(prefix="penstock-metrics-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def exit_code(error: PenstockError) -> int:
    match error:
        case Misconfigured():
            return EXIT_CONFIGURATION
        case Unavailable():
            return EXIT_UNAVAILABLE
        case Backpressure():
            return EXIT_TRY_LATER
        case _:
            return EXIT_NOT_SO


if __name__ == "__main__":
    main()
