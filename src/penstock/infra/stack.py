"""The plant in AWS on one page: what there is, what reaches what, and who may do what."""

from typing import Any, Final

from cdktn import LocalBackend, S3Backend, TerraformStack
from cdktn_provider_aws.provider import AwsProvider
from constructs import Construct

from penstock.infra import alarms, needs
from penstock.infra.api import Api
from penstock.infra.archive import Backups, Buckets
from penstock.infra.cache import Cache
from penstock.infra.description import Deployment
from penstock.infra.door import Door
from penstock.infra.files import Files
from penstock.infra.ingest import ingest_role, scale_on_requests
from penstock.infra.keys import Keys
from penstock.infra.names import ROLES
from penstock.infra.network import Network
from penstock.infra.outputs import say
from penstock.infra.policy import Statement
from penstock.infra.ports import NFS, POSTGRESQL, REDIS
from penstock.infra.process import scale_on_age, scale_on_arrivals, work_role
from penstock.infra.release import Release
from penstock.infra.secrets import Secrets
from penstock.infra.serve import serve_role
from penstock.infra.simulated import Simulated
from penstock.infra.store import Store
from penstock.infra.stream import Stream
from penstock.infra.tasks import Cluster, Service
from penstock.infra.telemetry import Logs, Watch, traces, writes_metrics


class Plant(TerraformStack):
    """Makes, connects, grants."""

    keys: Keys
    logs: Logs
    network: Network
    stream: Stream
    store: Store
    cache: Cache
    buckets: Buckets
    backups: Backups
    files: Files | None
    secrets: Secrets
    door: Door
    api: Api | None
    cluster: Cluster
    ingest: Service
    work: Service
    serve: Service

    def __init__(self, scope: Construct, deployment: Deployment, simulated: Simulated) -> None:
        super().__init__(scope, deployment.names.stack)
        self.deployment: Deployment = deployment
        self._provider(simulated)
        self._backend()
        self._make(rotate_now=not simulated.endpoint)
        self._connect()
        self._grant()
        self._run()
        self._watch()
        say(self)

    def _make(self, *, rotate_now: bool) -> None:
        plan = self.deployment
        self.keys = Keys(self, plan)
        self.logs = Logs(self, plan, self.keys)
        self.network = Network(self, plan)
        self.stream = Stream(self, plan, self.keys)
        self.store = Store(self, plan, self.network, self.keys, self.logs)
        self.cache = Cache(self, plan, self.network, self.keys, self.logs)
        self.buckets = Buckets(self, plan, self.keys)
        self.files = Files(self, plan, self.network, self.keys) if plan.shared_files else None
        kept = [self.store.database.arn, *([self.files.system.arn] if self.files else [])]
        self.backups = Backups(self, plan, self.keys, kept)
        self.secrets = Secrets(self, plan, self.network, self.keys, self.store, self.logs, rotate_now=rotate_now)
        self.door = Door(self, plan, self.network, self.buckets, self.logs)
        self.api = Api(self, plan, self.network, self.door, self.buckets, self.logs) if plan.api.doors else None
        self.cluster = Cluster(self, plan, self.keys, self.logs)
        self._make_services()

    def _make_services(self) -> None:
        plan, door = self.deployment, self.door
        told = self.stream.environment() | self.secrets.environment() | self.cache.environment()
        told |= {"PENSTOCK_RESIDENCY": plan.residency}
        signs = self.secrets.environment_of_doors()
        takes = self.stream.environment_of_takers() | self.buckets.environment()
        volumes = [self.files.volume()] if self.files else []
        roles = (
            ingest_role(plan, door, told | signs),
            work_role(plan, told | takes, volumes),
            serve_role(plan, door, told | signs, volumes),
        )
        self.ingest, self.work, self.serve = (
            Service(self, plan, self.network, self.cluster, self.logs, role) for role in roles
        )
        self.services = (self.ingest, self.work, self.serve)

    def _connect(self) -> None:
        """Who may open a connection to whom; the doors' own are in `door.py` and `api.py`."""
        network = self.network
        for role in ROLES:
            network.allow(role, "cache", REDIS)
            network.allow(role, "database", POSTGRESQL)
            network.reach_aws(role, needs.of_tasks(self.deployment))
        network.allow("rotation", "database", POSTGRESQL)
        network.reach_aws("rotation", needs.OF_ROTATION)
        if self.files:
            for role in ("work", "serve"):
                network.allow(role, "files", NFS)
        network.log_to(self.logs.group("flow").arn, self.keys.account)

    def _grant(self) -> None:
        """What each role's code may do in AWS. Nothing else is allowed anywhere."""
        stream, secrets, cache, keys, buckets = self.stream, self.secrets, self.cache, self.keys, self.buckets
        everyone = [stream.puts(), keys.seals("kinesis"), secrets.reads(), cache.connects()]
        doors, readers = [secrets.signs()], [stream.reads(), keys.opens("secretsmanager", "kinesis")]
        shares = [self.files.mounts()] if self.files else []
        archives = [buckets.writes(), buckets.lists(), keys.uses_archive()]
        self.ingest.grant(*everyone, *doors, keys.opens("secretsmanager"), *self._told_by(self.ingest))
        self.work.grant(*everyone, *readers, *stream.subscribes(), *archives, *shares, *self._told_by(self.work))
        self.serve.grant(*everyone, *doors, *readers, *shares, *self._told_by(self.serve))

    def _told_by(self, service: Service) -> list[Statement]:
        """The collector speaks with its task's rights."""
        return [traces(), writes_metrics(service.logs)] if self.deployment.watch.tracing else []

    def _run(self) -> None:
        self.ingest.run(self.door.listener)
        self.work.run()
        self.serve.run(self.door.listener)
        scale_on_requests(self.ingest, self.door)
        scale_on_requests(self.serve, self.door)
        scale_on_age(self.work, self.stream)
        scale_on_arrivals(self.work, self.stream, self.cluster)

    def _watch(self) -> None:
        plan, watch = self.deployment, Watch(self, self.deployment, self.keys)
        takes_back = watch.over(*alarms.answer_alarms(self.door))
        watch.over(*alarms.door_alarms(self.door))
        watch.over(*alarms.stream_alarms(self.stream, plan.watch.latency_ms))
        for service in self.services:
            errors = watch.count_errors(service.role.name, service.logs)
            watch.over(*alarms.service_alarms(self.cluster, service, errors))
        watch.over(*alarms.cache_alarms(self.cache), *alarms.store_alarms(self.store))
        watch.over(
            *alarms.rotation_alarms(self.secrets.function.function_name, self.secrets.dead_letters.name),
            *alarms.backup_alarms(self.backups.vault.name),
            *alarms.nat_alarms(self.network.gateways),
        )
        if self.api:
            watch.over(*alarms.api_alarms(self.api))
        if self.files:
            watch.over(*alarms.files_alarms(self.files.system.id))
        watch.draw()
        doors = [service for service in self.services if service.blue_green]
        if doors:
            Release(self, plan, self.cluster, self.door, doors, takes_back)

    def _provider(self, simulated: Simulated) -> None:
        plan = self.deployment
        tags = {
            "Project": "penstock",
            "Environment": plan.environment,
            "Profile": plan.profile,
            "Suffix": plan.suffix,
            "ManagedBy": "penstock",
        }
        AwsProvider(self, "aws", region=plan.region, default_tags=[{"tags": tags}], **_played(simulated.endpoint))
        if simulated.provider_version:
            self.add_override("terraform.required_providers.aws.version", simulated.provider_version)

    def _backend(self) -> None:
        bucket, _, prefix = self.deployment.state.removeprefix("s3://").partition("/")
        if self.deployment.state == "local":
            LocalBackend(self, path="terraform.tfstate")
            return
        S3Backend(
            self,
            bucket=bucket,
            key=f"{prefix.strip('/') or 'penstock'}/{self.deployment.names.stack}.tfstate",
            region=self.deployment.region,
            encrypt=True,
            use_lockfile=True,
        )


SERVICES: Final = (
    "acm apigateway applicationautoscaling backup cloudwatch codedeploy ec2 ecr ecs efs elasticache elbv2 iam kinesis "
    "kms lambda logs rds route53 s3 secretsmanager sns sqs sts wafv2"
)
"""All that the stack speaks to."""


def _played(endpoint: str) -> dict[str, Any]:
    """The provider's settings where AWS is simulated."""
    if not endpoint:
        return {}
    return {
        "access_key": "test",
        "secret_key": "test",
        "skip_credentials_validation": True,
        "skip_metadata_api_check": "true",
        "skip_region_validation": True,
        "s3_use_path_style": True,
        "max_retries": 2,
        "endpoints": [dict.fromkeys(SERVICES.split(), endpoint)],
    }
