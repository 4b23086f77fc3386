"""AWS played by something else, for tests."""

import os
from typing import NamedTuple


class Simulated(NamedTuple):
    """What differs from the real one."""

    endpoint: str = ""
    """Where it answers; empty: Amazon itself."""
    provider_version: str = ""
    """Another version of Terraform's provider than the bindings were made for."""


def simulated_by_environment() -> Simulated:
    """As `PENSTOCK_TEST_AWS_ENDPOINT` and `PENSTOCK_TEST_AWS_PROVIDER_VERSION` say; nothing is simulated by default."""
    return Simulated(
        os.environ.get("PENSTOCK_TEST_AWS_ENDPOINT", ""), os.environ.get("PENSTOCK_TEST_AWS_PROVIDER_VERSION", "")
    )
