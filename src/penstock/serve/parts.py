"""What the reading side is made of, handed in by whoever composes a process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.clock import Clock
from penstock.door.keys import Keyring
from penstock.door.port import KeyStore
from penstock.serve.tallies import Tallies
from penstock.settings import Settings
from penstock.store.feed import Feed
from penstock.store.latest import LatestCache
from penstock.store.postgres import Database
from penstock.store.window import MemoryWindow, WindowCache
from penstock.stream.port import Stream


@dataclass(frozen=True, slots=True)
class ServeParts:
    """*written_paths* are OpenAPI paths of doors beside this one; *feed* is shared with others that serve, if any."""

    database: Database
    stream: Stream
    latest: LatestCache
    keys: KeyStore
    keyring: Keyring
    clock: Clock
    settings: Settings
    version: str
    written_paths: Mapping[str, Any] = field(default_factory=dict)
    window: WindowCache = field(default_factory=MemoryWindow)
    feed: Feed | None = None
    tallies: Tallies = field(kw_only=True)
