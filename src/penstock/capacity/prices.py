"""What AWS asks for: a dated file of prices, each with its unit, its source, and whether anybody verified it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from penstock.errors import Misconfigured

SHIPPED: Final = files("penstock.capacity") / "prices.toml"
WORDS: Final = ("what", "unit")
"""Of a key's table; every other name in it is a region."""
MEND: Final = "write it as prices.toml in the package does: [key] what, unit, region = { usd, source, date, verified }"


class Price(NamedTuple):
    """One price of one region, in US dollars a *unit*."""

    key: str
    region: str
    what: str
    unit: str
    usd: float
    source: str
    dated: date
    verified: bool


class _Quote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    usd: float
    source: str
    date: date
    verified: bool


@dataclass(frozen=True, slots=True)
class Prices:
    """All prices of a file, by key and region."""

    known: Mapping[tuple[str, str], Price]

    def at(self, key: str, region: str) -> Price:
        """Raises Misconfigured for a key or region without a price."""
        try:
            return self.known[key, region]
        except KeyError:
            mend = "add it to a file of your own and give it with --prices"
            raise Misconfigured(f"prices.{key}", f"there is none in {region}", mend) from None

    def with_own(self, own: "Prices") -> "Prices":
        """These, and where *own* has one, that."""
        return Prices({**self.known, **own.known})


def read_prices(own: Path | None = None) -> Prices:
    """The prices shipped, corrected by a file of one's own. Raises Misconfigured when that cannot be read."""
    shipped = prices_of(tomllib.loads(SHIPPED.read_text()))
    if own is None:
        return shipped
    try:
        return shipped.with_own(prices_of(tomllib.loads(own.read_text()), like=shipped))
    except (OSError, ValueError) as error:
        raise Misconfigured("prices", f"{own} cannot be read ({error})", MEND) from error


def prices_of(tables: Mapping[str, Any], *, like: Prices | None = None) -> Prices:
    """Prices of a parsed file. *like* says what its keys mean where they do not say it. Raises ValueError."""
    tables = msgspec.convert(tables, dict[str, dict[str, Any]])
    sources: Mapping[str, str] = tables.get("sources", {})
    meant = {key: {"what": price.what, "unit": price.unit} for (key, _), price in like.known.items()} if like else {}
    found = (
        _price(key, region, meant.get(key, {}) | table, sources)
        for key, table in tables.items()
        if key != "sources"
        for region in table
        if region not in WORDS
    )
    return Prices({(price.key, price.region): price for price in found})


def _price(key: str, region: str, table: Mapping[str, Any], sources: Mapping[str, str]) -> Price:
    missing = [word for word in WORDS if word not in table]
    if missing:
        raise ValueError(f"{key} lacks {' and '.join(missing)}")
    quote = msgspec.convert(table[region], _Quote)  # what is wrong in it is a ValueError, too
    if quote.usd < 0:
        raise ValueError(f"{key} of {region} is below zero")
    source = sources.get(quote.source, quote.source)
    return Price(key, region, table["what"], table["unit"], quote.usd, source, quote.date, quote.verified)
