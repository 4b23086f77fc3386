"""How readings flow: wide enough, by a durable stream, watched by real health checks."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from penstock.infra.checks import shards_needed
from penstock.infra.description import Deployment
from penstock.infra.names import ROLES
from penstock.infra.rules.template import Finding, Template

Findings = Iterable[Finding]
PLACEHOLDERS: Final = re.compile(r"(^|/)(nginx|httpd|busybox|hello-world|amazonlinux|alpine)(:|$)|:latest$")


def real_endpoints(template: Template, _: Deployment) -> Findings:
    """D1: without cluster mode the configuration endpoint is empty."""
    for name, value in template.outputs():
        if "configuration_endpoint_address" in value:
            yield Finding("D1", f"output.{name}", "is empty where cluster mode is off", "use primary_endpoint_address")


def wide_enough(template: Template, deployment: Deployment) -> Findings:
    """D5: the shards hold the declared peak."""
    needed = shards_needed(deployment)
    for stream in template.every("aws_kinesis_stream"):
        on_demand = stream.get("stream_mode_details", "stream_mode") == "ON_DEMAND"
        if stream.name == "stream_bulk" and not on_demand and (stream.get("shard_count") or 0) < needed:
            why = f"{stream.get('shard_count')} shards cannot take {deployment.stream.peak_readings_per_s:,} readings/s"
            yield Finding("D5", stream.where, why, f"--set stream.shards={needed}")


def durable_stream(template: Template, _: Deployment) -> Findings:
    """A 202 means durable: a task's disk is not, and SQLite never lies on a shared file system."""
    for task, container in template.containers():
        told = {one["name"]: str(one["value"]) for one in container.get("environment", [])}
        if container["name"] in ROLES and not told.get("PENSTOCK_STREAM__URL", "").startswith("kinesis://"):
            mend = "give it PENSTOCK_STREAM__URL=kinesis://NAME"
            yield Finding("stream", task.where, f"{container['name']} has no durable stream", mend)
        if told.get("PENSTOCK_DATA", "").startswith("/shared"):
            yield Finding("stream", task.where, "keeps its data on the shared file system", "keep it in /data")


def real_health(template: Template, _: Deployment) -> Findings:
    """D12: our image, asked for its health; ingest lives without the database."""
    for task, container in template.containers():
        if PLACEHOLDERS.search(container["image"]):
            yield Finding("D12", task.where, f"{container['image']} is a placeholder", "use Penstock's own image")
        command = " ".join(container.get("healthCheck", {}).get("command", []))
        if container.get("essential") and "/healthz" not in command:
            yield Finding("D12", task.where, f"{container['name']} is not asked for /healthz", "give it a healthCheck")
    for group in template.every("aws_lb_target_group"):
        if group.name.startswith("door_ingest") and group.get("health_check", "path") != "/readyz/ingest":
            mend = "check /readyz/ingest, so that a database fail-over kills no door"
            yield Finding("D12", group.where, "checks something else than ingest's readiness", mend)


RULES: Final[tuple[Callable[[Template, Deployment], Findings], ...]] = (
    real_endpoints,
    wide_enough,
    durable_stream,
    real_health,
)
