"""The simulated account on its own: prints its URL once it listens, ends on SIGTERM or SIGINT."""

import argparse
import contextlib
import os
import signal
import sys

# Read by moto when it is first imported.
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")

from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from simaws.corrections import correct


def main() -> None:
    parser = argparse.ArgumentParser(prog="simaws", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--uncorrected", action="store_true", help="moto as it comes")
    named = parser.parse_args()
    if not named.uncorrected:
        correct()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", named.port, application, threaded=True, request_handler=MotoRequestHandler)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
