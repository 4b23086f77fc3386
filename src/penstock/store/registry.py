"""The registry as people see it: tags found, listed and configured, every change kept with who made it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import AsyncConnection

from penstock.errors import Rejected, Unknown
from penstock.model.tag import Criticality, Tag, TagConfig
from penstock.store.postgres import Database
from penstock.store.sql import statements

SQL: Final = statements("registry")
_LIKE: Final = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_"})


class Change(NamedTuple):
    """One change of a tag's configuration."""

    at: datetime
    tag_id: int
    path: str
    who: str
    before: Any
    after: Any


class _ChangesLane(Exception):  # it is no error
    """On a shared stream the tag gets another owner: no flush may be under way that began before."""


class Registry:
    """Reads and configures tags. Only the worker registers new ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, prefix: str, sites: Sequence[str] | None, limit: int, after: str = "") -> Sequence[Tag]:
        """Tags whose path begins with *prefix* and comes after *after*, in byte order; None: of all sites."""
        return await self._tags(
            "list",
            after=after,
            pattern=f"{prefix.translate(_LIKE)}%",
            sites=None if sites is None else [*sites],
            limit=limit,
        )

    async def get(self, path: str) -> Tag:
        """Raises Unknown."""
        return _one(await self._tags("get", path=path))

    async def find(self, paths: Sequence[str]) -> Sequence[Tag]:
        """Those of *paths* that are tags."""
        return await self._tags("find", paths=[*paths])

    async def sites(self) -> Sequence[str]:
        """First segments of all tags."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL["sites"])
            return [site for (site,) in await cursor.fetchall()]

    async def put(self, path: str, config: TagConfig, who: str, *, version: int | None = None) -> Tag:
        """Configure a tag. Raises Unknown; Rejected (`changed_meanwhile`) if its version is not the one given.

        Setting what is set already is no change.
        """
        try:
            return await self._put(path, config, who, version, barred=False)
        except _ChangesLane:
            return await self._put(path, config, who, version, barred=True)

    async def _put(self, path: str, config: TagConfig, who: str, version: int | None, *, barred: bool) -> Tag:
        async with self._database.transaction() as connection:
            if barred:
                # first of all: whoever holds its counterpart may want the rest
                await connection.execute(SQL["bar_lanes"])
            row = await (await connection.execute(SQL["bump"])).fetchone()
            cursor = await connection.execute(SQL["lock"], {"path": path})
            tag = _one([_tag(*found) for found in await cursor.fetchall()])
            if version is not None and tag.version != version:
                raise Rejected("the tag was changed meanwhile: read it again", code="changed_meanwhile")
            if row is None or config == tag.config:
                return tag
            if not barred and _is_critical(config) != _is_critical(tag.config):
                raise _ChangesLane
            changed = msgspec.structs.replace(tag, config=config, version=row[0])
            await _set(connection, tag, changed, who)
            return changed

    async def changes(
        self,
        path: str | None,
        sites: Sequence[str] | None,
        limit: int,
        before: tuple[datetime, int],
    ) -> Sequence[Change]:
        """Changes to tags, newest first, of one tag or all."""
        given = {
            "path": path,
            "sites": None if sites is None else [*sites],
            "limit": limit,
            "before": before[0],
            "before_tag": before[1],
        }
        async with self._database.connection() as connection:
            return [Change(*row) for row in await (await connection.execute(SQL["changes"], given)).fetchall()]

    async def _tags(self, statement: str, **given: Any) -> Sequence[Tag]:
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL[statement], given)
            return [_tag(*row) for row in await cursor.fetchall()]


def _is_critical(config: TagConfig) -> bool:
    return config.criticality is Criticality.CRITICAL


async def _set(connection: AsyncConnection, tag: Tag, changed: Tag, who: str) -> None:
    before, after = (msgspec.json.encode(config).decode() for config in (tag.config, changed.config))
    await connection.execute(SQL["set"], {"tag_id": tag.tag_id, "config": after, "version": changed.version})
    await connection.execute(SQL["note_change"], {"tag_id": tag.tag_id, "who": who, "before": before, "after": after})


def _tag(tag_id: int, path: str, grp: int, holds: Any, config: Any, version: int) -> Tag:  # noqa: PLR0913, PLR0917  # the row
    return Tag(tag_id, path, grp, holds, msgspec.convert(config, TagConfig), version)


def _one(tags: Sequence[Tag]) -> Tag:
    if not tags:
        raise Unknown("there is no such tag")
    return tags[0]
