"""What may be described, and how a wrong description is refused."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from penstock.errors import Misconfigured
from penstock.infra.checks import shards_needed
from penstock.infra.description import DatabasePart, Deployment
from penstock.infra.history import environment as leaving
from penstock.infra.reading import ENVIRONMENTS, PROFILES, describe, field_names, read_deployment
from penstock.infra.sizing import connections_of
from penstock.keeping import keeping_of, limits_of, minutes_kept
from penstock.residency import regions
from penstock.settings import Settings


def refused(profile: str, *settings: str, environment: str = "prod") -> str:
    with pytest.raises(Misconfigured) as caught:
        read_deployment(profile, environment=environment, settings=settings)
    return str(caught.value)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_can_be_had_in_every_environment(profile: str, environment: str) -> None:
    deployment = read_deployment(profile, environment=environment)
    assert deployment.profile == profile
    assert deployment.environment == environment


@pytest.mark.parametrize(
    ("profile", "region", "residency", "days"),
    [
        ("tokyo", "ap-northeast-1", "JP", 365),
        ("london", "eu-west-2", "UK", 2_557),
        ("montreal", "ca-central-1", "CA", 365),
        ("virginia", "us-east-1", "US", 2_557),
        ("frankfurt", "eu-central-1", "EU", 2_557),
    ],
)
def test_a_profile_lies_where_its_name_says(profile: str, region: str, residency: str, days: int) -> None:
    found = read_deployment(profile)
    assert (found.region, found.residency, found.archive.days) == (region, residency, days)
    assert found.archive.retention == "governance"


def test_virginia_holds_its_peak() -> None:
    virginia = read_deployment("virginia")
    assert virginia.stream.peak_readings_per_s == 100_000
    assert virginia.stream.shards >= max(3, shards_needed(virginia))


@pytest.mark.parametrize(
    ("setting", "field", "value", "allowed", "mend"),
    [
        ("stream.shards=0", "stream.shards", "0", "1 to 64", "--set stream.shards=2"),
        ("stream.shards=2", "stream.shards", "2", "5 or more", "--set stream.shards=5"),
        ("database.engine=oracle", "database.engine", "oracle", "rds, aurora", '--set database.engine="rds"'),
        ("region=mars-1", "region", "mars-1", "known regions are", "regions.toml"),
        ('zones=["a", "e"]', "zones", "a, e", "a, b, c, d, f", "--set zones="),
        ("residency=EU", "residency", "EU", "lies in US", "set region to one of"),
        ("ingest.memory_mb=512", "ingest.memory_mb", "512", "2,048-8,192", "--set ingest.memory_mb=2048"),
        ("watch.log_days=8", "watch.log_days", "8", "one of 1, 3, 5, 7", "--set watch.log_days=30"),
        ("door.domain=", "door.domain", "(none)", "certificate", "--set door.domain="),
        ("door.insecure_http=true", "door.insecure_http", "True", "ephemeral", "door.certificate_arn"),
        ("image=penstock:latest", "image", "penstock:latest", "stays what it is", "digest"),
        ("network.cidr=192.168.0.0/16", "network.public_cidrs", "10.0.0.0/24", "within 192.168", "widen network.cidr"),
        ("work.tasks_max=50", "work.tasks_max", "50", "shards (8)", "--set work.tasks_max=8"),
        ("database.acu_max=1", "database.acu_max", "1", "database.acu_min", "--set database.acu_max=2"),
        ("stream.critical_shards=2", "stream.critical_shards", "2", "3 shards or more", "larger batches"),
        ("cache.node=cache.t4g.micro", "cache.node", "cache.t4g.micro", "or more for 100,000", "or larger"),
        ("watch.latency_ms=60", "watch.latency_ms", "60", "ms or more for", "can be promised"),
        ("stream.shard=6", "stream.shard", "6", "no such field", "did you mean stream.shards?"),
        ("archive.days=soon", "archive.days", "soon", "1 to 36500", "--set archive.days=365"),
        ("fast=perhaps", "fast", "perhaps", "true or false", "--set fast=false"),
        ("stream.peak_readings_per_s=true", "stream.peak_readings_per_s", "True", "1 to 5000000", "=1000"),
        ("stream.peak_readings_per_s=nan", "stream.peak_readings_per_s", "nan", "1 to 5000000", "=1000"),
        ("stream.peak_readings_per_s=1000000", "stream.peak_readings_per_s", "1000000", "no number of serve", "share"),
        (
            "network.endpoints=s3",
            "network.endpoints",
            "s3",
            "each one of s3, secretsmanager",
            "--set network.endpoints=",
        ),
        ('zones=["a"]', "zones", "['a']", "a list of 2 to 3", '--set zones=\'["a", "b"]\''),
        ('network.private_cidrs=["ten"]', "network.private_cidrs.0", "ten", "IPv4", "--set network.private_cidrs='["),
        ("door.domain=Ü", "door.domain", "Ü", "must match", '--set door.domain="penstock.example.com"'),
        ("network.nat=none", "network.nat", "none", "no endpoint for ecr.public", "--set network.nat=one"),
        ('api.doors=["read", "all"]', "api.doors", "read, all", "`all` without `read`", "--set 'api.doors="),
        ("archive.backups_a_year=2", "archive.backups_a_year", "2", "one of 1, 4, 12, 52", "--set archive.backups"),
        ("state=gs://bucket", "state", "gs://bucket", "s3://", '--set state="local"'),
    ],
)
def test_a_refusal_names_all(setting: str, field: str, value: str, allowed: str, mend: str) -> None:
    said = refused("virginia", setting)
    assert f"{field} = {value}" in said
    assert allowed in said
    assert f"Mend: {mend}" in said or mend in said.partition("Mend:")[2]


def test_tasks_that_cannot_carry_the_peak_are_refused() -> None:
    said = refused("virginia", "ingest.tasks_min=1", "ingest.tasks_max=2")
    assert "2.35 virtual CPUs are needed" in said
    assert "--set ingest.tasks_max=3" in said


def test_a_disk_that_cannot_hold_what_is_kept_is_refused() -> None:
    said = refused("london", "database.storage_max_gb=100")
    assert "database.storage_max_gb = 100: 624 GB or more" in said
    assert "with readings 30 days, critical ones 90 days, rollups by the minute 90 days" in said
    assert "--set database.storage_max_gb=624, or lower history.keep_days" in said


def test_a_disk_from_which_nothing_leaves_is_refused_with_what_it_would_take() -> None:
    """4.4064 GB a day x 10 x (0.98 x 2,557 + 0.02 x 90) days, minutes 220.32 and hours 141.1 GB; a fifth free."""
    disk = "database.storage_max_gb=2000"
    peak, works = "stream.peak_readings_per_s=100000", ("ingest.tasks_max=50", "work.tasks_max=9", "serve.tasks_max=9")
    large = [peak, *works, "stream.shards=6", "stream.critical_shards=3", "database.instance=db.m7g.large", disk]
    said = refused("london", *large, "history.keep_days=0")
    assert "138,574 GB or more for 100,000 readings/s" in said
    assert "with readings for ever (counted as archive.days, 2,557), critical ones 90 days" in said
    assert "Mend: lower history.keep_days" in said, "no disk is so large"
    assert read_deployment("london", settings=[*large, "history.keep_days=10", "history.window_days=8"])


def test_aurora_ends_too() -> None:
    said = refused("virginia", "history.keep_days=0", "archive.days=3650", "archive.standard_days=0")
    assert "database.engine = aurora: it ends at 140,737 GB; 157,97" in said


@pytest.mark.parametrize(
    ("setting", "field", "allowed", "mend"),
    [
        ("history.keep_days=6", "history.keep_days = 6", "7 or more, or 0: for ever", "--set history.keep_days=7"),
        ("history.keep_days=91", "history.keep_days = 91", "(archive.standard_days: 92)", "archive.standard_days=93"),
        (
            "history.keep_critical_days=6",
            "history.keep_critical_days = 6",
            "7 or more",
            "a shorter history.window_days",
        ),
        (
            "history.keep_critical_days=91",
            "history.keep_critical_days = 91",
            "before a tag was critical",
            "days=90, or",
        ),
        ("archive.standard_days=0", "history.keep_critical_days = 2556", "(archive.days: 2557)", "archive.days=2558"),
        ("history.window_days=6", "history.keep_days = 7", "readings 6 days old", "--set history.keep_days=8"),
        ("history.window_days=0", "history.window_days = 0", "1 to 36500", "--set history.window_days=14"),
        ("history.keep_minutes_days=-1", "history.keep_minutes_days = -1", "0 to 36500", "keep_minutes_days=90"),
        ("stream.retention_h=120", "history.window_days = 5", "more than stream.retention_h (120 h)", "window_days=6"),
        (
            "archive.standard_days=2558",
            "archive.standard_days = 2558",
            "archive.days (2557) or less",
            "standard_days=0",
        ),
    ],
)
def test_days_that_contradict_each_other_are_refused(setting: str, field: str, allowed: str, mend: str) -> None:
    besides = ["history.keep_critical_days=2556"] if setting == "archive.standard_days=0" else []
    said = refused("virginia", setting, *besides)
    assert f"{field}: " in said
    assert allowed in said
    assert mend in said.partition("Mend:")[2]


def test_without_a_class_of_their_own_readings_leave_before_the_archive_ends() -> None:
    said = refused("tokyo", "history.keep_days=364", "history.keep_critical_days=0")
    assert "history.keep_days = 364: 363 or less" in said


DAYS = st.one_of(st.just(0), st.integers(0, 40), st.integers(0, 3_000))
HISTORY = st.fixed_dictionaries(
    {
        "window_days": st.integers(1, 40),
        "keep_days": DAYS,
        "keep_critical_days": DAYS,
        "keep_minutes_days": DAYS,
    }
)


@settings(deadline=None)
@given(history=HISTORY, days=st.integers(31, 3_000), standard=DAYS)
def test_days_that_are_taken_are_taken_by_the_worker_too(history: dict[str, int], days: int, standard: int) -> None:
    values = read_deployment("montreal").model_dump(mode="json") | {"history": history}
    values["archive"] |= {"days": days, "standard_days": standard, "colder_days": 30}
    try:
        taken = describe(values)
    except Misconfigured:
        return
    told = settings_of(taken)
    assert (keeping_of(told) is None) is (history["keep_days"] == history["keep_critical_days"] == 0)
    assert (minutes_kept(told) is None) is (history["keep_minutes_days"] == 0)
    assert limits_of(told).keep == timedelta(days=days)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_lets_readings_leave_as_its_worker_takes_it(profile: str, environment: str) -> None:
    found = read_deployment(profile, environment=environment)
    kept = keeping_of(settings_of(found))
    assert kept is not None
    assert kept.standard == timedelta(days=found.history.keep_days)
    assert kept.critical == timedelta(days=found.history.keep_critical_days)


def settings_of(found: Deployment) -> Settings:
    """As a worker of it reads them."""
    archive = found.archive
    rooms: dict[str, dict[str, Any]] = {
        "archive": {
            "url": "s3://bucket/readings",
            "retention": archive.retention,
            "retention_days": archive.days,
            "standard_days": archive.standard_days,
        }
    }
    for name, value in leaving(found).items():
        room, _, key = name.removeprefix("PENSTOCK_").lower().partition("__")
        rooms.setdefault(room, {})[key] = value
    return Settings.model_validate(rooms)


def test_more_tasks_than_the_database_has_connections_for_are_refused() -> None:
    said = refused("london", "ingest.tasks_max=60")
    assert "ingest.tasks_max = 60: all tasks_max make 69, each with 10 connections; the database takes 378" in said
    assert "larger database.instance" in said


def test_an_aurora_that_may_shrink_to_half_a_unit_takes_fewer_connections() -> None:
    large = {"engine": "aurora", "acu_max": 64.0}
    assert connections_of(DatabasePart.model_validate(large | {"acu_min": 0.5})) == 2_000
    assert connections_of(DatabasePart.model_validate(large | {"acu_min": 1.0})) == 5_000
    assert connections_of(DatabasePart.model_validate(large | {"acu_min": 1.0, "acu_max": 1.0})) == 189, (
        "Amazon's own table"
    )


def test_what_the_gateways_clients_send_sizes_the_tasks() -> None:
    assert "ingest.tasks_max = 6: 3.66 virtual CPUs" in refused("tokyo", "api.requests_per_minute=600000")


def test_everything_wrong_is_told_at_once() -> None:
    said = refused("virginia", "stream.shards=2", "database.engine=oracle", "residency=EU", "stream.shard=3")
    assert all(field in said for field in ("stream.shards = 2", "database.engine", "residency", "stream.shard = 3"))
    assert said.count("Mend:") > 4


def test_a_private_door_without_a_gateway_is_refused() -> None:
    assert "api.doors" in refused("montreal", "api.doors=[]")


def test_a_certificate_of_another_region_is_refused() -> None:
    arn = "arn:aws:acm:eu-west-1:111122223333:certificate/12345678-1234-1234-1234-123456789012"
    assert "a certificate of eu-west-2" in refused("london", f"door.certificate_arn={arn}")


def test_plain_http_is_for_throw_aways(tmp_path: Path) -> None:
    found = read_deployment("london", environment="dev", settings=["door.insecure_http=true", "door.domain="])
    assert found.is_ephemeral
    assert found.door.insecure_http


def test_the_environment_lies_over_the_profile_and_what_is_set_over_both() -> None:
    assert read_deployment("london").watch.log_days == 7
    assert read_deployment("london", environment="stage").watch.log_days == 14
    assert read_deployment("london", environment="stage", settings=["watch.log_days=90"]).watch.log_days == 90


def test_a_profile_of_ones_own_may_be_like_another(tmp_path: Path) -> None:
    mine = tmp_path / "lyon.toml"
    mine.write_text(
        'like = "frankfurt"\nprofile = "lyon"\nregion = "eu-west-3"\n[watch]\nlog_days = 30\n[door]\ndomain = "a.fr"'
    )
    lyon = read_deployment(str(mine))
    assert (lyon.profile, lyon.region, lyon.watch.log_days, lyon.residency) == ("lyon", "eu-west-3", 30, "EU")
    assert lyon.network == read_deployment("frankfurt").network


def test_an_environment_of_ones_own_is_a_file(tmp_path: Path) -> None:
    mine = tmp_path / "night.toml"
    mine.write_text('environment = "night"\nfast = true\n')
    assert read_deployment("tokyo", environment=str(mine)).names.stack == "tokyo-night-main"


@pytest.mark.parametrize("name", ["atlantis", "missing.toml"])
def test_a_profile_that_is_not_there_is_named(name: str) -> None:
    assert name in refused(name)


def test_what_sets_nothing_is_refused() -> None:
    assert "--set" in refused("tokyo", "shards")


def test_every_field_says_what_it_means() -> None:
    def silent(model: type[BaseModel], room: str = "") -> list[str]:
        found: list[str] = []
        for name, info in model.model_fields.items():
            kind = info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                assert kind.__doc__
                found += silent(kind, f"{room}{name}.")
            elif not info.description:
                found.append(f"{room}{name}")
        return found

    assert silent(Deployment) == []
    assert len(list(field_names(Deployment))) > 60


def test_every_region_has_two_zones_and_a_law() -> None:
    assert all(len(region.zones) >= 2 and region.residency for region in regions().values())
    assert regions()["eu-west-2"].residency == "UK"


@settings(deadline=None)  # the schema is made by whichever comes first
@given(
    shards=st.integers(-5, 80),
    peak=st.integers(-5, 6_000_000),
    wire=st.integers(0, 2_000),
    on_demand=st.booleans(),
)
def test_a_description_that_is_taken_can_hold_its_peak(shards: int, peak: int, wire: int, on_demand: bool) -> None:
    stream = {
        "shards": shards,
        "peak_readings_per_s": peak,
        "bytes_per_reading": wire,
        "on_demand": on_demand,
        "critical_shards": 0,
    }
    values = read_deployment("london").model_dump(mode="json") | {"stream": stream}
    values["work"]["tasks_min"] = values["work"]["tasks_max"] = 1
    try:
        taken = describe(values)
    except Misconfigured:
        return
    assert on_demand or taken.stream.shards * 1_000_000 >= peak * wire


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*field_names(Deployment), "door", "zones.0", "nothing", "stream.nothing"]),
        st.one_of(
            st.none(), st.text(max_size=8), st.integers(), st.booleans(), st.lists(st.text(max_size=3), max_size=3)
        ),
        max_size=4,
    )
)
def test_any_wrong_value_is_a_refusal_and_nothing_else(wrong: dict[str, object]) -> None:
    values = read_deployment("tokyo").model_dump(mode="json")
    for field, value in wrong.items():
        room, _, key = field.partition(".")
        if key and isinstance(values.get(room), dict):
            values[room][key] = value
        else:
            values[field] = value
    with suppress(Misconfigured):
        describe(values)
