"""`penstock work` without its quarantine for what cannot be read, as anyone writes it first. The control of P7."""

import penstock.compose.kinesis as compose
from penstock.cli.loop import run_loop
from penstock.compose.worker import work
from penstock.errors import Undecodable
from penstock.ingest.foreign import decode_foreign
from penstock.settings import read_settings
from penstock.stream.port import Foreign


def strict(data: bytes) -> Foreign:
    """One bad item is an error, and the record comes again."""
    held = decode_foreign(data)
    if held.poison:
        raise Undecodable(held.poison[0].detail)
    return held


compose.decode_foreign = strict

if __name__ == "__main__":
    run_loop(work(read_settings()))
