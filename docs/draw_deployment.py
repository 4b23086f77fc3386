"""Draws one deployment as SVG: what stands where, and how readings flow. It knows the stack, nothing else."""

import json
from html import escape
from typing import Any, NamedTuple

WIDTH, HEIGHT = 1120, 660
TOP, LINE = 20, 16
"""A box's first line of text below its upper edge, and from one line to the next."""
STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --box: #f6f8fa; --edge: #818b98;
  --flow: #0757ba; --frame: #b6bec8; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #f0f6fc; --soft: #9aa4ae; --box: #1b222b;
  --edge: #7d8894; --flow: #6cb0ff; --frame: #4b5561; } }
text { font: 12px system-ui, sans-serif; fill: var(--soft); }
text.name { font-weight: 600; font-size: 13px; fill: var(--ink); }
text.title { font-weight: 600; fill: var(--soft); }
rect.paper { fill: var(--paper); }
rect.box { fill: var(--box); stroke: var(--edge); }
.frame { fill: none; stroke: var(--frame); stroke-dasharray: 5 4; }
path.flow { fill: none; stroke: var(--flow); stroke-width: 2; }
path.serves { fill: none; stroke: var(--edge); stroke-width: 1.5; stroke-dasharray: 3 3; }
.arrow-flow { fill: var(--flow); } .arrow-serves { fill: var(--edge); }
"""


class Box(NamedTuple):
    """A thing in the picture: its place in pixels, its name, and lines about it."""

    x: int
    y: int
    width: int
    height: int
    name: str
    lines: tuple[str, ...] = ()


def draw(profile: str, stack: dict[str, Any]) -> str:
    """The picture of one profile's stack."""
    found = Stack(stack)
    region = found.provider["region"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(profile)}: Penstock in {region}</title>",
        f"<style>{STYLE}</style>",
        "<defs>",
        *(arrow(kind) for kind in ("flow", "serves")),
        "</defs>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        *frames(found, region),
        *(shape for box in boxes(found) for shape in drawn(box)),
        *ways(found),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class Stack:
    """A synthesised stack, asked for what a picture shows."""

    def __init__(self, stack: dict[str, Any]) -> None:
        self._resources = stack["resource"]
        self.provider = stack["provider"]["aws"][0]
        self.is_public = not self.one("lb", "door_balancer")["internal"]
        self.has_api = bool(self.all("api_gateway_rest_api"))

    def all(self, kind: str) -> dict[str, Any]:
        made: dict[str, Any] = self._resources.get(f"aws_{kind}", {})
        return made

    def one(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.all(kind)[name]
        return found

    def only(self, kind: str) -> dict[str, Any]:
        (found,) = self.all(kind).values()
        return found

    def zones(self) -> str:
        zones = sorted({one["availability_zone"][-1] for one in self.all("subnet").values()})
        return ", ".join(zones)

    def shards(self, lane: str) -> str:
        stream = self.all("kinesis_stream").get(f"stream_{lane}")
        if stream is None:
            return "critical shares it"
        count = stream.get("shard_count")
        return f"{lane}: {'on demand' if count is None else f'{count} shard' + 's' * (count > 1)}"

    def role(self, name: str) -> tuple[str, ...]:
        definition = self.one("ecs_task_definition", f"{name}_definition")
        scale = self.one("appautoscaling_target", f"{name}_scale")
        size = f"{int(definition['cpu']) / 1024:g} vCPU, {int(definition['memory']) / 1024:g} GB"
        least, most = scale["min_capacity"], scale["max_capacity"]
        return f"{least} to {most} tasks" if least < most else f"{least} tasks", size

    def database(self) -> tuple[str, str, str]:
        if self.all("rds_cluster"):
            scaling = self.only("rds_cluster")["serverlessv2_scaling_configuration"]
            room = f"{scaling['min_capacity']:g} to {scaling['max_capacity']:g} ACU"
            return "Aurora", f"PostgreSQL, {len(self.all('rds_cluster_instance'))} instances", room
        made = self.only("db_instance")
        return "RDS PostgreSQL", made["instance_class"], "two zones" if made["multi_az"] else "one zone"

    def lock(self) -> str:
        locks = self.all("s3_bucket_object_lock_configuration")
        if not locks:
            return "no lock"
        kept = self.only("s3_bucket_object_lock_configuration")["rule"]["default_retention"]
        return f"{kept['mode'].lower()}, {kept['days']:,} days"

    def endpoints(self) -> str:
        services = sorted(one["service_name"].split(".", 3)[3] for one in self.all("vpc_endpoint").values())
        return ", ".join(name.removesuffix("-streams") for name in services)

    def logs(self) -> str:
        days = {one["retention_in_days"] for one in self.all("cloudwatch_log_group").values()}
        return f"logs {min(days)} d, {len(self.all('cloudwatch_metric_alarm'))} alarms"

    @property
    def is_traced(self) -> bool:
        tasks = self.all("ecs_task_definition").values()
        return any(one["name"] == "collector" for task in tasks for one in json.loads(task["container_definitions"]))


def boxes(stack: Stack) -> list[Box]:
    return [*outside(stack), *doors(stack), *tasks(stack), *stores(stack), *regional(stack)]


def outside(stack: Stack) -> list[Box]:
    told = []
    if stack.is_public:
        told += [Box(20, 165, 130, 40, "Senders"), Box(20, 215, 130, 40, "People")]
    if stack.has_api:
        told += [Box(20, 325, 130, 55, "Metered clients", ("x-api-key, Bearer",))]
    return told


def doors(stack: Stack) -> list[Box]:
    walled = "WAF, HTTPS" if stack.is_public else "internal, HTTPS"
    colours = ("blue and green",) if stack.all("codedeploy_app") else ()
    gateways = stack.all("nat_gateway")
    told = [
        Box(345, 105, 130, 45, "NAT gateway" + "s" * (len(gateways) > 1), (f"{len(gateways)}, outward only",)),
        Box(345, 175, 130, 75, "Load balancer", (walled, *colours)),
    ]
    if stack.has_api:
        throttle = stack.only("api_gateway_usage_plan")["throttle_settings"]
        paths = [one["path_part"] for one in stack.all("api_gateway_resource").values()]
        opened = [way for way, part in (("POST", "sensor-data"), ("GET", "{proxy+}")) if part in paths]
        limit = f"{throttle['rate_limit']}/s, {throttle['burst_limit']}"
        told += [
            Box(200, 315, 115, 85, "API Gateway", ("WAF, " + ", ".join(opened), limit)),
            Box(345, 325, 130, 55, "Private link", ("network balancer",)),
        ]
    return told


def tasks(stack: Stack) -> list[Box]:
    rotation = stack.only("secretsmanager_secret_rotation")["rotation_rules"]["automatically_after_days"]
    return [
        Box(530, 110, 140, 75, "ingest", stack.role("ingest")),
        Box(530, 205, 140, 105, "work", (*stack.role("work"), "validate, detect,", "store, archive")),
        Box(530, 340, 140, 75, "serve", stack.role("serve")),
        Box(530, 520, 140, 55, "Rotation", (f"function, every {rotation} d",)),
    ]


def stores(stack: Stack) -> list[Box]:
    engine, what, room = stack.database()
    redis = stack.only("elasticache_replication_group")
    told = [
        Box(705, 265, 148, 75, engine, (what, room)),
        Box(705, 370, 148, 75, "Redis", (redis["node_type"], f"{redis['num_cache_clusters']} nodes, for all tasks")),
    ]
    if stack.all("efs_file_system"):
        told += [Box(705, 475, 148, 55, "EFS", (f"work, serve; {len(stack.all('efs_mount_target'))} zones",))]
    return told


def regional(stack: Stack) -> list[Box]:
    hours = next(iter(stack.all("kinesis_stream").values()))["retention_period"]
    backup = stack.only("backup_plan")["rule"][0]
    backups = f"{backup['rule_name']}, {backup['lifecycle']['delete_after']:,} days"
    watched = "CloudWatch, X-Ray" if stack.is_traced else "CloudWatch"
    return [
        Box(905, 105, 180, 90, "Kinesis", (stack.shards("bulk"), stack.shards("critical"), f"{hours} h")),
        Box(905, 215, 180, 60, "Archive: Parquet in S3", (stack.lock(),)),
        Box(905, 295, 180, 60, "AWS Backup", (backups,)),
        Box(905, 375, 180, 60, "Secrets Manager", ("tasks hold only the name",)),
        Box(905, 455, 180, 45, "KMS", (f"{len(stack.all('kms_key'))} keys of its own",)),
        Box(905, 520, 180, 60, watched, (stack.logs(),)),
    ]


def frames(stack: Stack, region: str) -> list[str]:
    """The region, the network, and its two kinds of subnets; where the door is private, it stands with the rest."""
    edge = 262 if stack.is_public else 160
    inner = f"M507,82 H858 V590 H333 V{edge + 10} H507 Z"
    return [
        frame(180, 20, 920, 625, f"AWS {region}, zones {stack.zones()}"),
        frame(325, 50, 545, 580, "Network"),
        f'<rect class="frame" x="333" y="82" width="164" height="{edge - 82}" rx="6"/>',
        label(341, 98, "public", "title"),
        f'<path class="frame" d="{inner}"/>',
        label(515, 98, "private", "title"),
        label(341, 607, "Reached without leaving the network:", "title"),
        label(341, 622, stack.endpoints(), ""),
    ]


def ways(stack: Stack) -> list[str]:
    told = [
        flow("M475,200 H490 V150 H526"),
        flow("M475,225 H490 V378 H526"),
        flow("M670,148 H901"),
        flow("M995,195 V205 H690 V222 H674"),
        flow("M670,245 H901"),
        flow("M670,288 H701"),
        flow("M670,365 H690 V325 H701"),
        serves("M670,395 H701"),
        serves("M853,320 H901"),
        serves("M670,550 H880 V410 H901"),
    ]
    if stack.is_public:
        told += [flow("M150,185 H341"), flow("M150,235 H341")]
    if stack.has_api:
        told += [flow("M150,352 H196"), flow("M315,352 H341"), flow("M410,325 V254")]
    if stack.all("efs_file_system"):
        told += [serves("M600,415 V502 H701")]
    return told


def flow(way: str) -> str:
    return f'<path class="flow" d="{way}" marker-end="url(#flow)"/>'


def serves(way: str) -> str:
    return f'<path class="serves" d="{way}" marker-end="url(#serves)"/>'


def arrow(kind: str) -> str:
    size = 'viewBox="0 0 8 8" refX="5" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse"'
    return f'<marker id="{kind}" {size} orient="auto"><path class="arrow-{kind}" d="M0,0 L8,4 L0,8 Z"/></marker>'


def frame(x: int, y: int, width: int, height: int, title: str) -> str:
    shape = f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
    return shape + label(x + 10, y + 18, title, "title")


def drawn(box: Box) -> list[str]:
    edge = f'<rect class="box" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6"/>'
    texts = [label(box.x + 10, box.y + TOP + LINE * row, line, "") for row, line in enumerate(box.lines, 1)]
    return [edge, label(box.x + 10, box.y + TOP, box.name, "name"), *texts]


def label(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'
