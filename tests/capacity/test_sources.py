"""No figure without a source, no price that is used and not there, none that is there and not used."""

import ast
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from penstock.capacity import measured
from penstock.capacity.bill import GATEWAY_TIERS
from penstock.capacity.cache import NODES
from penstock.capacity.database import CLASSES
from penstock.capacity.demand import Demand
from penstock.capacity.design import CHOICES, PROFILES, kept_as_in, naive
from penstock.capacity.plan import costed, plan_for
from penstock.capacity.prices import SHIPPED, prices_of, read_prices
from penstock.errors import Misconfigured
from penstock.settings import ProcessSettings, StoreSettings, StreamSettings
from penstock.store.archiver import PART_READINGS
from penstock.stream.kinesis.poll import CALLS_PER_S
from penstock.stream.kinesis.put import PutLimits

PRICES = read_prices()
KEYS = {key for key, _ in PRICES.known}
REGIONS = {region for _, region in PRICES.known}
UNITS = {
    "_hour": {"hour"},
    "_gb": {"GB", "GB-month", "GB-hour"},
    "_lcu": {"LCU-hour"},
    "rds_t": {"instance-hour"},
    "redis_": {"node-hour"},
    "api_gateway_": {"million requests"},
}


def used() -> set[str]:
    """Keys of every bill that profiles, choices and sizes can come to."""
    found = {one.price for one in (*NODES, *CLASSES)} | {key for key, _ in GATEWAY_TIERS}
    for profile in PROFILES.values():
        designs = [profile, naive(profile), *(replace(profile, **changes) for changes in CHOICES.values())]
        for design in designs:
            bill = costed(Demand(peak=100_000, tags=20_000), design, PRICES).bill
            found |= {line.price.key for line in bill.lines}
    return found


def test_every_price_used_is_there_and_every_price_there_is_used() -> None:
    assert used() == KEYS


def test_every_price_is_there_in_every_region() -> None:
    assert {design.region for design in PROFILES.values()} == REGIONS
    assert PRICES.known.keys() == {(key, region) for key in KEYS for region in REGIONS}


def test_every_price_says_where_it_is_from_and_when() -> None:
    for price in PRICES.known.values():
        assert price.usd > 0
        assert len(price.source) > 20, price
        assert date(2025, 1, 1) <= price.dated <= date(2026, 12, 31)
        assert price.verified != ("memory" in price.source), price


def test_a_price_is_told_in_the_unit_of_its_key() -> None:
    for price in PRICES.known.values():
        for part, units in UNITS.items():
            if part in price.key and price.key != "fargate_gb":
                assert price.unit in units, price
    assert {PRICES.at("fargate_gb", region).unit for region in REGIONS} == {"GB-hour"}


def constants() -> list[tuple[str, str]]:
    """Every name of measured.py with the text below it."""
    body = ast.parse(Path(measured.__file__).read_text()).body
    found = []
    for here, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(here, ast.AnnAssign) and isinstance(here.target, ast.Name):
            said = below.value if isinstance(below, ast.Expr) else None
            found.append((here.target.id, str(said.value) if isinstance(said, ast.Constant) else ""))
    return found


@pytest.mark.parametrize(("name", "said"), constants())
def test_every_figure_names_its_source(name: str, said: str) -> None:
    assert re.search(r"Assumption|Definition|AWS|bench/|docs/|measured|\.py|settings|rollup_1|HOURS|Aurora", said), name
    for path in re.findall(r"(?:bench|docs)/[\w./-]+\w", said):
        root = Path(measured.__file__).parents[3]
        assert list(root.glob(f"{path}*")), f"{name} names {path}"


def test_figures_of_other_modules_are_still_theirs() -> None:
    limits = PutLimits()
    assert limits.records_per_s == measured.BULK_RECORDS_PER_S
    assert limits.critical_records_per_s == measured.CRITICAL_RECORDS_PER_S
    assert (limits.linger_s * 1e3, limits.critical_linger_s * 1e3) == (
        StreamSettings().linger_ms,
        StreamSettings().critical_linger_ms,
    )
    assert measured.POLLS_PER_S == CALLS_PER_S
    assert StoreSettings().connections_max == measured.CONNECTIONS
    assert 1_000 / ProcessSettings().linger_ms == measured.FLUSHES_PER_S
    assert PART_READINGS == measured.OBJECT_READINGS


def test_a_file_of_ones_own_corrects_single_prices(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[kinesis_shard]\nus-east-1 = { usd = 0.5, source = "our contract", date = 2026-11-01, verified = true }\n'
    )
    prices = read_prices(own)
    corrected = prices.at("kinesis_shard", "us-east-1")
    assert (corrected.usd, corrected.source, corrected.unit) == (0.5, "our contract", "shard-hour")
    assert prices.known.keys() == PRICES.known.keys()
    assert prices.at("kinesis_put", "us-east-1") == PRICES.at("kinesis_put", "us-east-1")


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        '[kinesis_shard]\nus-east-1 = { usd = "dear", source = "x", date = 2026-11-01, verified = true }',
        '[kinesis_shard]\nus-east-1 = { usd = -1, source = "x", date = 2026-11-01, verified = true }',
        "[kinesis_shard]\nus-east-1 = { usd = 1 }",
        '[new]\nus-east-1 = { usd = 1, source = "x", date = 2026-11-01, verified = true }',
        "kinesis_shard = 3",
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(Misconfigured, match=r"own\.toml cannot be read"):
        read_prices(own)


def test_a_region_without_prices_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"prices\.kinesis_shard: there is none in mars-1.*--prices"):
        PRICES.at("kinesis_shard", "mars-1")


def test_the_shipped_file_is_all_there_is() -> None:
    assert prices_of({}).known == {}
    assert "verified" in SHIPPED.read_text()


def test_the_page_on_costs_shows_what_the_plan_says() -> None:
    rows = {cells[1].strip(): [cell.strip() for cell in cells[2:5]] for cells in table_of("costs.md")}
    demands = {
        "montreal": Demand(peak=500, tags=500),
        "london": Demand(peak=10_000),
        "virginia": Demand(peak=100_000),
    }
    plans = [plan_for(kept_as_in(profile, demand), PRICES, profile) for profile, demand in demands.items()]
    doubted = [sum(line.usd for line in plan.ours.bill.unverified()) for plan in plans]
    assert rows["dollars a month"] == [f"{plan.ours.bill.usd:,.0f}" for plan in plans]
    assert rows["of them on unverified prices"] == [f"{usd:,.0f}" for usd in doubted]
    assert rows["naive design, dollars a month"] == [f"{plan.naive.bill.usd:,.0f}" for plan in plans]
    assert rows["archive when full"] == [f"{plan.ours.sizes.archive[-1].tb:.2f} TB" for plan in plans]


def table_of(page: str) -> list[list[str]]:
    text = (Path(measured.__file__).parents[3] / "docs" / page).read_text()
    return [cells for line in text.splitlines() if len(cells := line.split("|")) > 4]
