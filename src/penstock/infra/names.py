"""What things are called: `resource-type-environment-suffix`, so that two deployments side by side never collide."""

import hashlib
from typing import Final, NamedTuple

ROLES: Final = ("ingest", "work", "serve")
"""What a task is called by what it does; the command line's own words."""
HASH_LENGTH: Final = 8
LIMITS: Final = {
    "alb": 32,
    "backup": 50,
    "bucket": 63 - 13,  # the account's number follows
    "cache": 40,
    "db": 63,
    "function": 64,
    "nlb": 32,
    "role": 64,
    "selection": 50,
    "target": 32,
    "user": 40,
}
"""What a service allows, by type; elsewhere the general limit is far away."""
LIMIT: Final = 128


class Names(NamedTuple):
    """The names of one deployment."""

    profile: str
    environment: str
    suffix: str

    def __call__(self, resource: str, kind: str) -> str:
        """`tokyo-ingest-role-prod-main`: the profile is part of the resource, since roles and buckets are global."""
        return cut(f"{self.profile}-{resource}-{kind}-{self.tail}", LIMITS.get(kind, LIMIT))

    @property
    def tail(self) -> str:
        """What every name ends in, unless it was cut."""
        return f"{self.environment}-{self.suffix}"

    @property
    def stack(self) -> str:
        """The deployment itself: its state, its folder."""
        return f"{self.profile}-{self.tail}"

    def logs(self, component: str) -> str:
        """A log group of ours."""
        return f"/penstock/{self(component, 'logs')}"


def cut(name: str, limit: int) -> str:
    """*name*, or as much of it as fits before a hash of the whole: names that differ stay different."""
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:HASH_LENGTH]
    return f"{name[: limit - HASH_LENGTH - 1].rstrip('-')}-{digest}"
