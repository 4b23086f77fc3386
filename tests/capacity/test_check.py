"""`check` says what does not hold, with the field, its value, the needed one and the mend; and the command exits 1."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from penstock.capacity.check import Given, check
from penstock.capacity.demand import Demand
from penstock.capacity.design import PROFILES
from penstock.capacity.sizes import Sizes, sizes_for
from penstock.cli import app
from penstock.errors import Misconfigured

PEAK = Demand(peak=100_000)
VIRGINIA = PROFILES["virginia"]
LONDON = PROFILES["london"]


def plan(*words: str) -> Result:
    return CliRunner().invoke(app, ["plan", *words])


def enough(sizes: Sizes) -> Given:
    shards = {stream.name: stream.shards for stream in sizes.streams}
    return Given(
        shards=shards["main"],
        critical_shards=shards.get("critical"),
        tasks=max(of.peak for of in sizes.tasks),
        acus=sizes.database.acus,
        rds_class=sizes.database.rds.name,
        redis_node=sizes.cache.node.name,
        retention_days=2_557,
        fan_out=False,
    )


@settings(max_examples=25, deadline=None)
@given(peak=st.floats(1, 300_000), profile=st.sampled_from(["tokyo", "london", "virginia", "frankfurt"]))
def test_what_the_plan_says_holds(peak: float, profile: str) -> None:
    demand, design = Demand(peak=peak), PROFILES[profile]
    assert check(demand, enough(sizes_for(demand, design)), design) == []


@pytest.mark.parametrize(
    ("given", "field", "needed"),
    [
        (Given(shards=4), "shards", 5),
        (Given(critical_shards=2), "critical_shards", 3),
        (Given(tasks=3), "tasks", 4),
        (Given(acus=1.5), "acus", 2.0),
        (Given(redis_node="cache.t4g.small"), "redis_node", "cache.r7g.large"),
        (Given(retention_days=35), "retention_days", 2_557),
    ],
)
def test_one_less_does_not_hold_and_is_named_with_its_mend(given: Given, field: str, needed: object) -> None:
    (short,) = check(PEAK, given, VIRGINIA)
    assert (short.field, short.needed) == (field, needed)
    assert short.value == getattr(given, field)
    assert len(short.mend) > 10
    assert all(str(part) in str(short) for part in (field, short.value, needed, "Mend"))


def test_two_shards_cannot_hold_a_hundred_thousand_records_a_second() -> None:
    (short,) = check(Demand(peak=100_000, foreign=1.0), Given(shards=2), VIRGINIA)
    assert (short.field, short.needed) == ("shards", 130)


def test_a_class_of_rds_that_is_too_small() -> None:
    (short,) = check(Demand(peak=100_000, readers=2_000), Given(rds_class="db.t4g.medium"), LONDON)
    assert (short.field, short.needed) == ("rds_class", "db.m7g.xlarge")


def test_a_latency_that_polling_breaks_is_mended_by_fan_out() -> None:
    demand = Demand(peak=100_000, latency_ms=250)
    (short,) = check(demand, Given(fan_out=False), VIRGINIA)
    assert (short.field, short.value, short.mend) == ("latency_ms", "250", "set stream.fan_out")
    assert check(demand, Given(fan_out=True), VIRGINIA) == []
    assert check(demand, Given(), LONDON) == [], "the plan takes fan-out by itself"
    (never,) = check(Demand(peak=100_000, latency_ms=100), Given(), VIRGINIA)
    assert "202 ms is the least" in never.mend


def test_a_profile_that_is_too_small_itself() -> None:
    (short,) = check(PEAK, Given(), PROFILES["montreal"])
    assert (short.field, short.value, short.needed) == ("acus", 1.0, 2.0)


def test_api_gateway_ends_at_ten_thousand_requests_a_second() -> None:
    shorts = check(Demand(peak=20_000, alone=1.0), Given(), PROFILES["tokyo"])
    assert ("requests_per_s", 10_000, 20_000) in {(one.field, one.value, one.needed) for one in shorts}


def test_the_command_prints_every_part_and_warns_of_unverified_prices() -> None:
    result = plan("--peak", "100000", "--profile", "virginia")
    assert result.exit_code == 0, result.output
    for part in (
        "5 shards",
        "2 ACUs x 2",
        "2,339.35",
        "5.38 TB",
        "readings 382 (7 days, critical 90 days); rollups 215 (by the minute 30 days)",
        "critical 2,557 days, others 92 days, and until removed",
        "3.81 in Standard; 0.17 in Standard-IA; 1.40 in Glacier Instant Retrieval",
        "sum, of 500 allowed",
        "naive",
        "one API Gateway request",
    ):
        assert part in result.output
    warning = result.output.partition("unverified: ")[2]
    assert "backup_aurora_gb" in warning
    assert "kinesis_shard" not in warning


def test_the_command_speaks_json() -> None:
    result = plan("--peak", "100000", "--profile", "virginia", "--json")
    found = json.loads(result.output)
    assert found["shards"] == {"main": 5, "critical": 3}
    assert found["archive_tb"]["7"] == pytest.approx(5.377, abs=0.001)
    assert found["kept_days"] == {
        "readings": 7, "critical_readings": 90, "minutes": 30, "archive_critical": 2_556.75, "archive_others": 92,
    }  # fmt: skip
    assert found["bill"]["usd"] == pytest.approx(sum(line["usd"] for line in found["bill"]["lines"]))
    assert {price["key"] for price in found["unverified"]} >= {"backup_aurora_gb"}
    assert len(found["movers"]) == 3


@pytest.mark.parametrize(("profile", "years"), [("tokyo", 1), ("montreal", 1), ("london", 7), ("virginia", 7)])
def test_the_retention_is_the_profiles_own_unless_another_is_asked_for(profile: str, years: int) -> None:
    found = json.loads(plan("--peak", "1000", "--profile", profile, "--json").output)
    assert found["demand"]["retention_years"] == years
    assert len(found["archive_tb"]) == years
    other = json.loads(plan("--peak", "1000", "--profile", profile, "--retention-years", "3", "--json").output)
    assert other["demand"]["retention_years"] == 3


def test_a_retention_of_nothing_is_refused() -> None:
    assert "demand.retention_years" in str(plan("--peak", "1000", "--retention-years", "0").exception)


def test_what_stays_for_ever_is_said_so() -> None:
    found = json.loads(plan("--peak", "10000", "--profile", "london", "--json").output)
    assert found["kept_days"]["archive_others"] is None
    assert "all 2,557 days" in plan("--peak", "10000", "--profile", "london").output


def test_the_command_exits_1_where_what_is_given_does_not_hold() -> None:
    result = plan("--peak", "100000", "--profile", "virginia", "--shards", "2")
    assert result.exit_code == 1
    assert "does not hold: shards = 2 shards, needed: 5. Mend:" in result.output
    short = json.loads(plan("--peak", "100000", "--tasks", "3", "--json").output)["shortfalls"]
    assert [(one["field"], one["value"], one["needed"]) for one in short] == [("tasks", 3, 4)]


def test_a_profile_nobody_knows_is_refused() -> None:
    assert isinstance(plan("--peak", "1", "--profile", "paris").exception, Misconfigured)


@pytest.mark.parametrize("words", [("--acus", "nan"), ("--retention-days", "inf")])
def test_what_is_no_number_is_refused_by_name(words: tuple[str, str]) -> None:
    refused = plan("--peak", "1000", *words).exception
    assert isinstance(refused, Misconfigured)
    assert f"given.{words[0].strip('-').replace('-', '_')}" in str(refused)


@pytest.mark.parametrize("peak", ["0", "-1", "1e9", "nan", "inf"])
def test_a_peak_that_cannot_be_meant_is_refused(peak: str) -> None:
    assert "demand.peak" in str(plan(f"--peak={peak}", "--profile", "virginia").exception)
