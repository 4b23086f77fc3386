"""What must hold between the values of a description. A refusal names field, value, what is allowed, and a mend."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

from penstock.infra import needs
from penstock.infra.description import Deployment
from penstock.infra.needs import without_endpoint
from penstock.infra.refusal import Refusal
from penstock.infra.sizing import too_small
from penstock.residency import regions

SHARD_BYTES_PER_S: Final = 1_000_000
SHARD_FILL: Final = 0.7
"""Keys never fall evenly on shards; fuller than this and one of them throttles at the peak."""
MEMORY_MB: Final = {
    256: (512, 1_024, 2_048),
    512: range(1_024, 4_097, 1_024),
    1024: range(2_048, 8_193, 1_024),
    2048: range(4_096, 16_385, 1_024),
    4096: range(8_192, 30_721, 1_024),
}
"""What Fargate sells, by CPU."""
MONTH_DAYS: Final = 30
Refusals = Iterator[Refusal]


def shards_needed(deployment: Deployment) -> int:
    """Shards that the peak needs, not filled to the brim."""
    stream = deployment.stream
    return math.ceil(stream.peak_readings_per_s * stream.bytes_per_reading / (SHARD_BYTES_PER_S * SHARD_FILL))


def refusals(deployment: Deployment) -> list[Refusal]:
    """Everything that is wrong with it; nothing when all is well."""
    found: dict[tuple[str, str], Refusal] = {}
    for check in CHECKS:
        for refusal in check(deployment):
            found.setdefault((refusal.field, str(refusal.value)), refusal)
    return list(found.values())


def _region(deployment: Deployment) -> Refusals:
    known = regions()
    region = known.get(deployment.region)
    if region is None:
        allowed = f"known regions are {', '.join(sorted(known))}"
        yield Refusal("region", deployment.region, allowed, "use one of these, or add yours to regions.toml")
        return
    if region.residency != deployment.residency:
        inside = [name for name, one in known.items() if one.residency == deployment.residency]
        allowed = f"{deployment.region} lies in {region.residency}; data must stay in {deployment.residency}"
        yield Refusal("residency", deployment.residency, allowed, f"set region to one of {', '.join(inside)}")
    if len(set(deployment.zones)) < len(deployment.zones) or not set(deployment.zones) <= set(region.zones):
        allowed = f"different ones of {', '.join(region.zones)}"
        yield Refusal("zones", ", ".join(deployment.zones), allowed, f"--set zones={list(region.zones[:2])}")


def _subnets(deployment: Deployment) -> Refusals:
    network, count = deployment.network, len(deployment.zones)
    for field, subnets in (
        ("network.public_cidrs", network.public_cidrs),
        ("network.private_cidrs", network.private_cidrs),
    ):
        if len(subnets) != count:
            yield Refusal(field, _join(subnets), f"one for each of {count} zones", f"give {count} of them")
        for subnet in subnets:
            if not subnet.subnet_of(network.cidr):
                yield Refusal(field, subnet, f"within {network.cidr}", "choose it inside, or widen network.cidr")
    every = sorted(network.public_cidrs + network.private_cidrs)
    for one, next_one in itertools.pairwise(every):
        if one.overlaps(next_one):
            yield Refusal("network.private_cidrs", next_one, f"apart from {one}", "choose subnets that do not overlap")


def _way_out(deployment: Deployment) -> Refusals:
    missing = without_endpoint(deployment, needs.of_tasks(deployment))
    if deployment.network.nat == "none" and missing:
        allowed = f"there is no endpoint for {', '.join(missing)}"
        yield Refusal("network.nat", "none", allowed, "--set network.nat=one, or add to network.endpoints")


def _door(deployment: Deployment) -> Refusals:
    door = deployment.door
    if door.insecure_http:
        if not deployment.is_ephemeral:
            mend = "set door.domain or door.certificate_arn; or archive.retention=ephemeral for a throw-away"
            yield Refusal("door.insecure_http", True, "only where archive.retention is ephemeral", mend)
        return
    if not door.domain:
        mend = "--set door.domain=penstock.example.com; for a throw-away --set door.insecure_http=true"
        yield Refusal("door.domain", "(none)", "a name that the door's certificate is for", mend)
    if door.certificate_arn and door.certificate_arn.split(":")[3] != deployment.region:
        allowed = f"a certificate of {deployment.region}"
        yield Refusal("door.certificate_arn", door.certificate_arn, allowed, "import or ask for it in that region")


def _private_door(deployment: Deployment) -> Refusals:
    if deployment.door.kind == "private" and not deployment.api.doors:
        mend = '--set \'api.doors=["write", "all"]\', or --set door.kind=public'
        yield Refusal("api.doors", "(none)", "a private door needs a gateway in front of it", mend)


def _routes(deployment: Deployment) -> Refusals:
    doors = deployment.api.doors
    if len(set(doors)) < len(doors) or {"read", "all"} <= set(doors):
        mend = '--set \'api.doors=["write", "all"]\''
        yield Refusal("api.doors", ", ".join(doors), "each once, and `all` without `read`, which it holds", mend)


def _shards(deployment: Deployment) -> Refusals:
    stream, needed = deployment.stream, shards_needed(deployment)
    if not stream.on_demand and stream.shards < needed:
        allowed = (
            f"{needed} or more: {stream.peak_readings_per_s:,} readings/s of {stream.bytes_per_reading} bytes, "
            f"and a shard takes {SHARD_BYTES_PER_S:,} bytes/s"
        )
        yield Refusal(
            "stream.shards", stream.shards, allowed, f"--set stream.shards={needed}, or stream.on_demand=true"
        )


def _tasks(deployment: Deployment) -> Refusals:
    for role, task in deployment.roles.items():
        sold = MEMORY_MB[task.cpu]
        if task.memory_mb not in sold:
            allowed = f"Fargate gives {_span(sold)} MB to {task.cpu} CPU units"
            yield Refusal(f"{role}.memory_mb", task.memory_mb, allowed, f"--set {role}.memory_mb={sold[0]}")
        if task.tasks_max < task.tasks_min:
            allowed = f"{role}.tasks_min ({task.tasks_min}) or more"
            yield Refusal(f"{role}.tasks_max", task.tasks_max, allowed, f"--set {role}.tasks_max={task.tasks_min}")
    shards = deployment.stream.shards + deployment.stream.critical_shards
    if deployment.work.tasks_max > shards and not deployment.stream.on_demand:
        allowed = f"no more than shards ({shards}): further workers would only wait"
        yield Refusal("work.tasks_max", deployment.work.tasks_max, allowed, f"--set work.tasks_max={shards}")


def _database(deployment: Deployment) -> Refusals:
    database = deployment.database
    if database.acu_max < database.acu_min:
        allowed = f"database.acu_min ({database.acu_min}) or more"
        yield Refusal("database.acu_max", database.acu_max, allowed, f"--set database.acu_max={database.acu_min}")
    if database.storage_max_gb < database.storage_gb:
        allowed = f"database.storage_gb ({database.storage_gb}) or more"
        mend = f"--set database.storage_max_gb={database.storage_gb}"
        yield Refusal("database.storage_max_gb", database.storage_max_gb, allowed, mend)


def _image(deployment: Deployment) -> Refusals:
    image = deployment.image
    if image and "@" not in image and (":" not in image.rpartition("/")[2] or image.endswith(":latest")):
        mend = "name a version, as registry/penstock:1.4.0, or better a digest"
        yield Refusal("image", image, "one that stays what it is", mend)


def _archive(deployment: Deployment) -> Refusals:
    archive = deployment.archive
    if archive.colder_days >= archive.days and not deployment.is_ephemeral and archive.days > MONTH_DAYS:
        mend = f"--set archive.colder_days={max(MONTH_DAYS, archive.days // 2)}"
        yield Refusal("archive.colder_days", archive.colder_days, f"less than archive.days ({archive.days})", mend)


def _standard(deployment: Deployment) -> Refusals:
    archive = deployment.archive
    if archive.standard_days > archive.days:
        allowed = f"archive.days ({archive.days}) or less; 0 is the same"
        yield Refusal("archive.standard_days", archive.standard_days, allowed, "--set archive.standard_days=0")


def _history(deployment: Deployment) -> Refusals:
    """What leaves PostgreSQL can be late no more, and is in the archive for a good while yet."""
    history, archive = deployment.history, deployment.archive
    end, end_days = ("standard_days", archive.standard_days) if archive.standard_days else ("days", archive.days)
    least, most = history.window_days + 2, end_days - 2
    for name in ("keep_days", "keep_critical_days"):
        field, days = f"history.{name}", getattr(history, name)
        if days and days < least:
            late = f"readings {history.window_days} days old (history.window_days) may come yet"
            mend = f"--set {field}={least}, or a shorter history.window_days"
            yield Refusal(field, days, f"{least} or more, or 0: for ever; {late}", mend)
        if days and days > most:
            gone = f"then the archive has readings for more than a day yet (archive.{end}: {end_days})"
            if end == "standard_days" and name == "keep_critical_days":
                gone += ", those of before a tag was critical too"
            longer = f", or archive.{end}={days + 2}" if end == "days" or days + 2 <= archive.days else ""
            mend = f"--set {field}={most}{longer}"
            yield Refusal(field, days, f"{most} or less, or 0: for ever; {gone}", mend)


def _window(deployment: Deployment) -> Refusals:
    """What waited in the stream is stored all the same."""
    days, retention_h = deployment.history.window_days, deployment.stream.retention_h
    if days * 24 <= retention_h:
        allowed = f"more than stream.retention_h ({retention_h} h): what waited so long would be quarantined as too old"
        mend = f"--set history.window_days={retention_h // 24 + 1}"
        yield Refusal("history.window_days", days, allowed, mend)


CHECKS: Final[tuple[Callable[[Deployment], Refusals], ...]] = (
    _region,
    _subnets,
    _door,
    _private_door,
    _way_out,
    _routes,
    _shards,
    _tasks,
    _database,
    _image,
    _archive,
    _standard,
    _history,
    _window,
    too_small,
)


def _join(values: Any) -> str:
    return ", ".join(map(str, values)) or "(none)"


def _span(values: Any) -> str:
    return f"{values[0]:,}-{values[-1]:,}"
