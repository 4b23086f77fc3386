"""The plan: three bills by hand, and what must be so whatever the demand."""

import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.capacity.archive import INFREQUENT, INSTANT, STANDARD, archive_for, moved_a_month, moves
from penstock.capacity.bill import Bill
from penstock.capacity.database import hot_gb, rollup_gb
from penstock.capacity.demand import Demand
from penstock.capacity.design import CHOICES, NEVER, PROFILES, kept_as_in, naive
from penstock.capacity.plan import costed, fast_enough, movers_of, plan_for
from penstock.capacity.prices import read_prices
from penstock.capacity.streams import bytes_a_reading, streams_for
from penstock.capacity.tasks import tasks_for
from penstock.errors import Misconfigured

BY_HAND = tomllib.loads((Path(__file__).parent / "by_hand.toml").read_text())
PRICES = read_prices()
PEAKS = st.floats(1, 300_000)
SHARES = st.floats(0.01, 1)


def dollars(demand: Demand, profile: str) -> float:
    return costed(demand, PROFILES[profile], PRICES).bill.usd


def by_key(bill: Bill) -> dict[str, tuple[float, float]]:
    return {line.price.key: (line.quantity, line.usd) for line in bill.lines}


@pytest.mark.parametrize("profile", BY_HAND)
def test_every_line_of_the_bill_is_as_worked_out_by_hand(profile: str) -> None:
    wanted: dict[str, Any] = BY_HAND[profile]
    demand = kept_as_in(profile, Demand(peak=wanted["peak"], tags=wanted["tags"]))
    ours = plan_for(demand, PRICES, profile).ours
    found = by_key(ours.bill)
    assert found.keys() == wanted["lines"].keys()
    for key, (quantity, usd) in wanted["lines"].items():
        assert found[key] == (pytest.approx(quantity, rel=1e-5), pytest.approx(usd, abs=0.00501)), key
    assert ours.bill.usd == pytest.approx(wanted["usd"], abs=0.005)
    assert [stream.shards for stream in ours.sizes.streams] == wanted["shards"]
    assert [of.peak for of in ours.sizes.tasks] == wanted["tasks"]


@pytest.mark.parametrize("profile", BY_HAND)
def test_the_sum_by_hand_is_that_of_its_lines(profile: str) -> None:
    wanted = BY_HAND[profile]
    assert sum(usd for _, usd in wanted["lines"].values()) == pytest.approx(wanted["usd"], abs=0.08)


def test_the_naive_design_costs_what_was_found_before() -> None:
    plan = plan_for(Demand(peak=100_000), PRICES, "virginia")
    lines = by_key(plan.naive.bill)
    # 30,000/s x 2.628 million s = 78,840 million, and 5.256 of readers, in four tiers
    tiers = ("api_gateway_first", "api_gateway_second", "api_gateway_third", "api_gateway_rest")
    assert [lines[key][0] for key in tiers] == pytest.approx([333, 667, 19_000, 58_845.256])
    assert lines["kinesis_shard"][0] == 130 * 730  # 1.3 x 100 thousand records/s
    assert lines["aurora_io"][0] == pytest.approx(78_840)  # one a commit
    assert lines["log_gb"][0] == pytest.approx(78_840e6 * 200 / 1e9, rel=0.01)
    assert plan.naive.bill.usd > 75 * plan.ours.bill.usd


@settings(max_examples=30, deadline=None)
@given(low=PEAKS, more=st.floats(1, 10), profile=st.sampled_from(sorted(PROFILES)), average=SHARES)
def test_more_peak_never_costs_less(low: float, more: float, profile: str, average: float) -> None:
    high = min(low * more, 300_000)
    small, large = (Demand(peak=peak, average=average) for peak in (min(low, high), high))
    assert dollars(small, profile) <= dollars(large, profile) * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(peak=PEAKS, batch=st.integers(1, 5_000), larger=st.integers(1, 20), profile=st.sampled_from(sorted(PROFILES)))
def test_larger_requests_never_need_more_shards_or_tasks(peak: float, batch: int, larger: int, profile: str) -> None:
    few, many = (Demand(peak=peak, readings_a_request=min(size, 20_000)) for size in (batch, batch * larger))
    shards, tasks = zip(*((shards_of(one, profile), ingest_of(one, profile)) for one in (few, many)), strict=True)
    assert shards[1] <= shards[0]
    assert tasks[1] <= tasks[0]


def shards_of(demand: Demand, profile: str) -> int:
    design = PROFILES[profile]
    return sum(stream.shards for stream in streams_for(demand, design, tasks_for(demand, design)[0].peak))


def ingest_of(demand: Demand, profile: str) -> float:
    of = tasks_for(demand, PROFILES[profile])[0]
    return of.peak * of.size.vcpus


@given(fewer=st.floats(1, 1_000), more=st.floats(1, 1_000))
def test_fuller_records_never_cost_more_bytes_a_reading(fewer: float, more: float) -> None:
    fewer, more = sorted((fewer, more))
    assert bytes_a_reading(fewer) >= bytes_a_reading(more) >= 14.3
    assert fewer * bytes_a_reading(fewer) <= more * bytes_a_reading(more) * (1 + 1e-9)


@pytest.mark.parametrize(("readings", "wanted"), [(1, 155.4), (15.6, 28.4), (97.7, 16.7), (195.3, 14.3), (9_999, 14.3)])
def test_the_curve_goes_through_what_was_measured(readings: float, wanted: float) -> None:
    assert bytes_a_reading(readings) == pytest.approx(wanted)


def test_readings_that_others_put_alone_take_a_shard_for_every_thousand() -> None:
    demand = Demand(peak=100_000, foreign=1.0)
    main = streams_for(demand, PROFILES["virginia"], 4)[0]
    assert main.shards == 130


def test_what_moves_the_bill_is_found_by_trying_every_choice() -> None:
    demand = Demand(peak=100_000)
    ours = costed(demand, PROFILES["virginia"], PRICES)
    movers = movers_of(demand, ours, PRICES, most=len(CHOICES))
    for mover in movers:
        design = replace(ours.design, **CHOICES[mover.choice])
        assert costed(demand, design, PRICES).bill.usd - ours.bill.usd == pytest.approx(mover.usd)
    assert [abs(mover.usd) for mover in movers] == sorted((abs(mover.usd) for mover in movers), reverse=True)
    assert "enhanced fan-out" not in {mover.choice for mover in movers}, "it has that already"


def test_a_price_moves_its_own_line_and_no_other() -> None:
    demand = Demand(peak=100_000)
    price = PRICES.at("kinesis_shard", "us-east-1")
    dearer = replace(PRICES, known={**PRICES.known, (price.key, price.region): price._replace(usd=2 * price.usd)})
    before, after = (by_key(costed(demand, PROFILES["virginia"], prices).bill) for prices in (PRICES, dearer))
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"kinesis_shard"}
    assert after["kinesis_shard"][1] == pytest.approx(2 * before["kinesis_shard"][1])


def test_fan_out_is_taken_only_where_polling_is_too_slow() -> None:
    design = replace(PROFILES["virginia"], fan_out=False)
    assert not fast_enough(Demand(peak=100_000), design).fan_out
    pushed = fast_enough(Demand(peak=100_000, latency_ms=250), design)
    assert pushed.fan_out
    polled, pushed = (costed(Demand(peak=100_000), one, PRICES).bill.usd for one in (design, pushed))
    assert pushed > polled
    assert not fast_enough(Demand(peak=100_000, latency_ms=50), design).fan_out, "it would not help"


def test_a_small_plant_is_recommended_a_small_profile() -> None:
    assert plan_for(Demand(peak=9_999), PRICES).profile == "montreal"
    assert plan_for(Demand(peak=10_000), PRICES).profile == "virginia"


def test_what_is_kept_for_years_is_not_all_there_in_the_first() -> None:
    demand = Demand(peak=100_000, critical=0.0)  # 31.104 GB a day
    years = archive_for(demand, replace(PROFILES["virginia"], standard_days=1_000.0, colder_days=NEVER))
    assert [one.gb[STANDARD] for one in years[:4]] == pytest.approx([11_360.736, 22_721.472, 32_068.224, 32_068.224])


@pytest.mark.parametrize(
    ("colder_days", "locked_days", "where"),
    [
        (90, 2_557, [(90, INFREQUENT), (365, INSTANT)]),
        (90, 455, [(90, INFREQUENT), (365, INSTANT)]),
        (90, 454, [(90, INFREQUENT)]),
        (90, 120, [(90, INFREQUENT)]),
        (90, 119, []),
        (90, 90, []),
        (336, 2_557, [(365, INSTANT)]),
        (400, 2_557, [(400, INSTANT)]),
        (NEVER, 2_557, []),
    ],
)
def test_files_move_to_where_they_stay_for_what_is_paid_at_least(
    colder_days: float, locked_days: float, where: list[tuple[float, str]]
) -> None:
    assert [tuple(step) for step in moves(colder_days, locked_days)] == where


def test_one_class_is_archived_as_a_whole_and_two_are_apart() -> None:
    demand, virginia = Demand(peak=100_000), PROFILES["virginia"]  # 31.104 GB a day
    whole = archive_for(demand, replace(virginia, standard_days=NEVER))[-1]
    assert whole.tb == pytest.approx(31.104 * (2_556.75 + 60) / 1e3)
    apart = archive_for(demand, virginia)[-1]
    assert apart.tb == pytest.approx(31.104 * (0.02 * (2_556.75 + 60) + 0.98 * 123) / 1e3)
    assert INSTANT in moved_a_month(demand, virginia)
    assert moved_a_month(demand, replace(virginia, standard_days=365.0))[INFREQUENT] > 1_000, "others move, too"


def test_what_never_leaves_is_counted_when_the_retention_is_full() -> None:
    demand, london = Demand(peak=10_000), PROFILES["london"]  # 4.4064 GB a day
    kept = replace(london, hot_days=NEVER, critical_days=NEVER, minute_days=NEVER)
    assert hot_gb(demand, kept) == pytest.approx(4.4064 * 2_556.75)
    assert hot_gb(demand, replace(london, critical_days=NEVER)) == pytest.approx(4.4064 * (0.98 * 30 + 0.02 * 2_556.75))
    hours_gb = 10_000 * 2_556.75 * 24 * 230 / 1e9
    assert rollup_gb(demand, kept) - hours_gb == pytest.approx(10_000 * 2_556.75 * 1_440 * 170 / 1e9)


def test_advice_is_computed_and_given_only_where_it_saves() -> None:
    demand = Demand(peak=500, tags=500)
    tenfold, small = plan_for(demand, PRICES, "london").advice
    assert f"{dollars(Demand(peak=5_000, tags=500), 'london'):,.0f}" in tenfold
    there = costed(demand, replace(PROFILES["montreal"], region="eu-west-2"), PRICES).bill.usd
    assert f"montreal's design in eu-west-2: ${there:,.0f}" in small
    assert plan_for(Demand(peak=100_000), PRICES).advice == ()
    (batch,) = plan_for(Demand(peak=100_000, alone=1.0), PRICES).advice
    assert batch == "if every sender put 500 readings into a request: $2,339 a month"


def test_a_longer_retention_grows_the_archive_year_by_year() -> None:
    years = plan_for(Demand(peak=100_000, retention_years=10), PRICES, "virginia").ours.sizes.archive
    assert [one.year for one in years] == list(range(1, 11))
    assert all(before.tb < after.tb for before, after in pairwise(years))


def test_no_deployment_carries_what_one_page_cannot_follow() -> None:
    with pytest.raises(Misconfigured, match=r"demand\.peak.*serve"):
        plan_for(Demand(peak=1_000_000), PRICES, "virginia")


@pytest.mark.parametrize(
    ("field", "value"),
    [("peak", 0), ("average", 1.5), ("critical", -0.1), ("tags", 0), ("readings_a_request", 20_001), ("alone", 2)],
)
def test_a_demand_that_cannot_be_meant_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(Misconfigured, match=rf"demand\.{field}.*{value:g}.*Mend"):
        Demand(**{"peak": 100.0, field: value})


def test_the_naive_design_stays_in_its_place() -> None:
    for profile in PROFILES.values():
        plain = naive(profile)
        assert (plain.region, plain.database, plain.copies) == (profile.region, profile.database, profile.copies)
