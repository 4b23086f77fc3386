"""Who listens where."""

from typing import Final

WORLD: Final = "0.0.0.0/0"
HTTP: Final = 80
HTTPS: Final = 443
TASK: Final = 8080
WORKER: Final = 8081
TEST: Final = 8443
"""The colour that is not live yet."""
POSTGRESQL: Final = 5432
REDIS: Final = 6379
NFS: Final = 2049
