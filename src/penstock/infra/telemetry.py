"""What is said of it all: log groups, alarms for every component, a dashboard, and the collector beside each task."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.files import USER
from penstock.infra.keys import Keys
from penstock.infra.policy import Statement, allow, document, to
from penstock.infra.station import Station
from penstock.infra.terraform import aws

NAMESPACE: Final = "Penstock"
ERRORS: Final = '{ ($.level = "error") || ($.level = "critical") }'
PERIOD_S: Final = 60
WIDTH: Final = 12
HEIGHT: Final = 6
COLUMNS: Final = 24


class Logs(Station):
    """A log group for every component, encrypted and kept as long as the description says."""

    def __init__(self, scope: Construct, deployment: Deployment, keys: Keys) -> None:
        super().__init__(scope, "logs", deployment)
        self._key = keys.data.arn

    def group(self, component: str) -> Any:
        """The group of one of our components."""
        return self.exported(self.names.logs(component), component)

    def of_containers(self) -> Any:
        """The group that ECS writes the tasks' figures to."""
        cluster = self.names("tasks", "cluster")
        return self.exported(f"/aws/ecs/containerinsights/{cluster}/performance", "containers")

    def exported(self, name: str, component: str) -> Any:
        """A group that AWS would make by itself otherwise: without our key, and for ever."""
        return aws.cloudwatch_log_group(
            self,
            component,
            name=name,
            retention_in_days=self.deployment.watch.log_days,
            kms_key_id=self._key,
            tags={"Component": component},
        )


class Alarm(NamedTuple):
    """When somebody is told."""

    name: str
    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    above: float | None = None
    below: float | None = None
    statistic: str = "Maximum"
    minutes: int = 3
    silence: str = "notBreaching"
    """What no data means."""
    why: str = ""
    period_s: int = PERIOD_S
    """Figures that come seldom are asked for over longer."""


class Watch(Station):
    """Who is told of what."""

    def __init__(self, scope: Construct, deployment: Deployment, keys: Keys) -> None:
        super().__init__(scope, "watch", deployment)
        self._keys = keys
        self.topic = aws.sns_topic(
            self,
            "topic",
            name=self.names("alarms", "topic"),
            kms_master_key_id=keys.data.key_id,
            tags=self.called("alarms", "topic"),
        )
        self._topic_policy()
        if deployment.watch.email:
            aws.sns_topic_subscription(
                self, "email", topic_arn=self.topic.arn, protocol="email", endpoint=deployment.watch.email
            )
        self._alarms: list[Alarm] = []

    def over(self, *alarms: Alarm) -> list[Any]:
        """Alarms, told over the topic. Returns them, for those who must act on them by themselves."""
        self._alarms += alarms
        return [self._alarm(alarm) for alarm in alarms]

    def count_errors(self, component: str, group: Any) -> str:
        """Lines of *group* in which one of ours says `error` or worse. Returns what the metric is called."""
        name = self.names(f"{component}-errors", "metric")
        aws.cloudwatch_log_metric_filter(
            self,
            f"{component}-errors",
            name=name,
            log_group_name=group.name,
            pattern=ERRORS,
            metric_transformation={"name": name, "namespace": NAMESPACE, "value": "1", "default_value": "0"},
        )
        return name

    def draw(self) -> None:
        """A dashboard with everything that an alarm watches."""
        widgets = [self._widget(index, alarm) for index, alarm in enumerate(self._alarms)]
        aws.cloudwatch_dashboard(
            self,
            "dashboard",
            dashboard_name=self.names("plant", "dashboard"),
            dashboard_body=json.dumps({"widgets": widgets}),
        )

    def _topic_policy(self) -> None:
        publish = allow(["sns:Publish"], self.topic.arn, StringEquals={"aws:SourceAccount": self._keys.account})
        aws.sns_topic_policy(
            self, "topic-policy", arn=self.topic.arn, policy=document(to(publish, "cloudwatch.amazonaws.com"))
        )

    def _alarm(self, alarm: Alarm) -> Any:
        rising = alarm.above is not None
        return aws.cloudwatch_metric_alarm(
            self,
            f"alarm-{alarm.name}",
            alarm_name=self.names(alarm.name, "alarm"),
            alarm_description=alarm.why,
            namespace=alarm.namespace,
            metric_name=alarm.metric,
            dimensions=dict(alarm.dimensions),
            statistic=alarm.statistic,
            period=alarm.period_s,
            evaluation_periods=alarm.minutes,
            threshold=alarm.above if rising else alarm.below,
            comparison_operator="GreaterThanThreshold" if rising else "LessThanThreshold",
            treat_missing_data=alarm.silence,
            alarm_actions=[self.topic.arn],
            ok_actions=[self.topic.arn],
            tags=self.called(alarm.name, "alarm"),
        )

    def _widget(self, index: int, alarm: Alarm) -> dict[str, Any]:
        across = COLUMNS // WIDTH
        dimensions = [part for pair in alarm.dimensions.items() for part in pair]
        limit = alarm.above if alarm.above is not None else alarm.below
        return {
            "type": "metric",
            "x": index % across * WIDTH,
            "y": index // across * HEIGHT,
            "width": WIDTH,
            "height": HEIGHT,
            "properties": {
                "region": self.deployment.region,
                "title": alarm.why or alarm.name,
                "metrics": [[alarm.namespace, alarm.metric, *dimensions]],
                "period": alarm.period_s,
                "stat": alarm.statistic,
                "annotations": {"horizontal": [{"label": "alarm", "value": limit}]},
            },
        }


RECEIVER: Final = "127.0.0.1:4318"
"""Where the collector takes traces: containers of a task share the loopback."""
FOUND_BY: Final = "penstock.batch_id"
"""Of a span's attributes the one that X-Ray's filters know."""
COLLECTOR_IMAGE: Final = "public.ecr.aws/aws-observability/aws-otel-collector:v0.43.3"
SCRAPED: Final = (
    "penstock_balance_unaccounted_readings",
    "penstock_readings_.*_total",
    "penstock_shard_behind_seconds",
    "penstock_stage_latency_seconds.*",
    "penstock_stream_retention_left_seconds",
)


def collector(role: str, metrics_url: str, logs: Any, deployment: Deployment) -> dict[str, Any]:
    """The container beside a task that carries traces to X-Ray and our metrics to CloudWatch."""
    return {
        "name": "collector",
        "image": COLLECTOR_IMAGE,
        "essential": False,
        "cpu": 32,
        "memoryReservation": 128,
        "readonlyRootFilesystem": True,
        "user": str(USER),
        "environment": [
            {"name": "AOT_CONFIG_CONTENT", "value": json.dumps(_collection(role, metrics_url, logs, deployment))}
        ],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": logs.name,
                "awslogs-region": deployment.region,
                "awslogs-stream-prefix": "collector",
            },
        },
    }


def traced(deployment: Deployment) -> dict[str, str]:
    """What a task's environment says of the collector beside it."""
    if not deployment.watch.tracing:
        return {}
    return {
        "PENSTOCK_TRACES__URL": f"http://{RECEIVER}",
        "PENSTOCK_TRACES__SHARE": str(deployment.watch.traced_share),
    }


def _collection(role: str, metrics_url: str, logs: Any, deployment: Deployment) -> dict[str, Any]:
    """The collector's configuration: YAML, of which JSON is a part."""
    scheme, _, place = metrics_url.partition("://")
    job = {
        "job_name": role,
        "scrape_interval": "30s",
        "scheme": scheme,
        "tls_config": {"insecure_skip_verify": True},  # over loopback, to a certificate made at the task's start
        "static_configs": [{"targets": [place]}],
        "metric_relabel_configs": [
            {"source_labels": ["__name__"], "regex": "|".join(SCRAPED), "action": "keep"},
        ],
    }
    return {
        "receivers": {
            "otlp": {"protocols": {"http": {"endpoint": RECEIVER}}},
            "prometheus": {"config": {"scrape_configs": [job]}},
        },
        "processors": {"batch": {"timeout": "5s"}},
        "exporters": {
            "awsxray": {"region": deployment.region, "indexed_attributes": [FOUND_BY]},
            "awsemf": {"region": deployment.region, "namespace": NAMESPACE, "log_group_name": logs.name},
        },
        "service": {
            "pipelines": {
                "traces": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["awsxray"]},
                "metrics": {"receivers": ["prometheus"], "processors": ["batch"], "exporters": ["awsemf"]},
            }
        },
    }


def traces() -> Statement:
    """May send traces."""
    return allow(["xray:PutTraceSegments"], "*")


def writes_metrics(logs: Any) -> Statement:
    """May write metrics, which travel as log lines of the task's own group."""
    return allow(["logs:CreateLogStream", "logs:PutLogEvents"], f"{logs.arn}:log-stream:*")
