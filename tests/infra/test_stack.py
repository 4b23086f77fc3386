"""The five stacks, made once: what they hold, and that they are the ones that were looked at."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.main import get_command

from infra.snapshot import compare
from penstock.cli import app
from penstock.infra.reading import PROFILES, read_deployment
from penstock.infra.rules.hygiene import NAMED_BY
from penstock.infra.rules.template import Template
from penstock.infra.spelling import spellings
from penstock.infra.synth import Synthesised, synthesise, write
from penstock.settings import read_settings

pytestmark = pytest.mark.skipif(find_spec("cdktn") is None, reason="this machine has not the extra `deploy`")

ZONES = {"tokyo": 2, "london": 2, "montreal": 2, "virginia": 3, "frankfurt": 2}
OUTPUTS = {
    "tokyo": "vpcId albDnsName albArn targetGroupArn s3EndpointId secretsManagerEndpointId ecrApiEndpointId "
    "ecrDkrEndpointId logsEndpointId apiGatewayUrl rdsEndpoint redisEndpoint ecrRepositoryUrl dbSecretArn",
    "london": "vpc_id kinesis_stream_name ecs_cluster_name redis_endpoint rds_endpoint db_secret_arn",
    "montreal": "vpc_id redis_endpoint aurora_endpoint aurora_reader_endpoint api_gateway_url api_key_id"
    " secrets_manager_secret_arn",
    "virginia": "vpcId vpc_id kinesisStreamName kinesis_stream_name auroraEndpoint aurora_endpoint efs_id dashboardName"
    " redisEndpoint redis_endpoint apiGatewayUrl api_gateway_url ecsClusterName archive_bucket_name",
    "frankfurt": "vpc_id kinesis_stream_name ecs_cluster_name redis_endpoint rds_endpoint db_secret_arn",
}


@pytest.fixture(scope="session")
def made() -> dict[str, Synthesised]:
    """Every profile as it stands, and two that no profile shows. Making them is slow, so it is done once."""
    wanted = {name: read_deployment(name) for name in PROFILES}
    wanted["throw-away"] = read_deployment(
        "tokyo", environment="dev", suffix="x1", settings=["door.insecure_http=true", "fast=true"]
    )
    wanted["sealed"] = read_deployment("montreal", settings=["archive.retention=sealed"])
    return {name: synthesise(deployment) for name, deployment in wanted.items()}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_makes_the_stack_that_was_looked_at(made: dict[str, Synthesised], profile: str) -> None:
    compare(profile, made[profile].template)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_says_what_its_readers_expect(made: dict[str, Synthesised], profile: str) -> None:
    assert set(OUTPUTS[profile].split()) <= set(made[profile].template["output"])


@pytest.mark.parametrize("profile", PROFILES)
def test_the_containers_run_the_words_of_the_command_line(made: dict[str, Synthesised], profile: str) -> None:
    words = get_command(app).commands  # type: ignore[attr-defined]
    ours = [one for _, one in Template(made[profile].template).containers() if one["essential"]]
    assert sorted(one["name"] for one in ours) == ["ingest", "serve", "work"]
    for container in ours:
        word, *options = container["command"]
        assert container["entryPoint"] == ["penstock"]
        with words[word].make_context(word, list(options)):
            pass


@pytest.mark.parametrize("profile", PROFILES)
def test_what_a_container_is_told_is_a_setting(
    made: dict[str, Synthesised], profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _, container in Template(made[profile].template).containers():
        told = {one["name"]: one["value"] for one in container["environment"] if one["name"].startswith("PENSTOCK_")}
        with monkeypatch.context() as environment:
            for name, value in told.items():
                environment.setenv(name, value)
            settings = read_settings()
        if container["essential"]:
            assert settings.stream.url.startswith("kinesis://")
            assert "credentials=secret://" in settings.store.url


@pytest.mark.parametrize("profile", PROFILES)
def test_every_zone_has_its_subnets(made: dict[str, Synthesised], profile: str) -> None:
    subnets = list(Template(made[profile].template).every("aws_subnet"))
    assert len(subnets) == 2 * ZONES[profile]
    assert len({one.get("availability_zone") for one in subnets}) == ZONES[profile]


@pytest.mark.parametrize("profile", PROFILES)
def test_no_password_is_in_the_stack(made: dict[str, Synthesised], profile: str) -> None:
    template = made[profile].template
    for version in Template(template).every("aws_secretsmanager_secret_version"):
        assert version.get("secret_string") is None
        assert "${ephemeral.aws_secretsmanager_random_password." in version.get("secret_string_wo")
    assert set(template["ephemeral"]["aws_secretsmanager_random_password"]) == {"login", "signing"}


def test_the_gateway_reaches_the_tasks_privately(made: dict[str, Synthesised]) -> None:
    for integration in Template(made["montreal"].template).every("aws_api_gateway_integration"):
        assert integration.get("type") == "HTTP_PROXY"
        assert integration.get("connection_type") == "VPC_LINK"
        assert integration.get("uri").startswith("https://montreal.penstock.example/v1/")
    assert all(balancer.get("internal") for balancer in Template(made["montreal"].template).every("aws_lb"))


def test_doors_of_virginia_change_colour_and_workers_roll(made: dict[str, Synthesised]) -> None:
    controllers = {
        one.name: one.get("deployment_controller", "type")
        for one in Template(made["virginia"].template).every("aws_ecs_service")
    }
    assert controllers == {
        "ingest_service": "CODE_DEPLOY",
        "serve_service": "CODE_DEPLOY",
        "work_service": "ECS",
    }


@pytest.mark.parametrize(("name", "mode"), [("virginia", "GOVERNANCE"), ("sealed", "COMPLIANCE"), ("throw-away", None)])
def test_the_archive_is_locked_as_its_class_says(made: dict[str, Synthesised], name: str, mode: str | None) -> None:
    template = Template(made[name].template)
    locks = [
        one.get("rule", "default_retention", "mode")
        for one in template.every("aws_s3_bucket_object_lock_configuration")
    ]
    archive = next(one for one in template.every("aws_s3_bucket") if one.name == "archive_archive")
    assert locks == ([mode] if mode else [])
    assert bool(archive.get("force_destroy")) == (mode is None)


def test_a_throw_away_has_one_of_each_and_no_certificate(made: dict[str, Synthesised]) -> None:
    template = Template(made["throw-away"].template)
    assert not any(template.every("aws_acm_certificate"))
    assert all(one.get("desired_count") == 1 for one in template.every("aws_ecs_service"))
    assert all(str(one.get("name")).endswith("dev-x1") for one in template.every("aws_ecs_service"))


@pytest.mark.slow
@pytest.mark.parametrize("environment", ["dev", "stage"])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_keeps_the_rules_in_every_environment(profile: str, environment: str) -> None:
    deployment = read_deployment(profile, environment=environment)
    locks = {"dev": set(), "stage": {("GOVERNANCE", 35)}}
    template = Template(synthesise(deployment).template)
    found = list(template.every("aws_s3_bucket_object_lock_configuration"))
    rules = [one.get("rule", "default_retention") for one in found]
    assert {(rule["mode"], rule["days"]) for rule in rules} == locks[environment]


def test_state_may_lie_in_a_bucket_encrypted_and_with_a_lock_file() -> None:
    deployment = read_deployment("london", settings=["state=s3://states/penstock"])
    assert synthesise(deployment).template["terraform"]["backend"] == {
        "s3": {
            "bucket": "states",
            "key": "penstock/london-prod-main.tfstate",
            "region": "eu-west-2",
            "encrypt": True,
            "use_lockfile": True,
        }
    }


def test_two_deployments_beside_each_other_share_no_name(made: dict[str, Synthesised]) -> None:
    one, other = (_names(made[name].template) for name in ("tokyo", "throw-away"))
    assert len(one) > 60
    assert not one & other


def test_the_rotation_function_can_be_imported_from_its_package_alone(
    made: dict[str, Synthesised], tmp_path: Path
) -> None:
    package = tmp_path / "rotation.zip"
    package.write_bytes(made["tokyo"].rotation)
    shutil.unpack_archive(package, tmp_path / "task")
    botocore = Path(find_spec("botocore").origin).parent.parent  # type: ignore[union-attr,arg-type]  # Lambda brings it
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]; sys.path.append(sys.argv[2]);"
        "from penstock.secrets.rotation.handler import rotate; import penstock, psycopg;"
        "assert psycopg.pq.__impl__ == 'binary'; print(penstock.__file__, psycopg.__file__)"
    )
    command = [sys.executable, "-S", "-E", "-c", code, str(tmp_path / "task"), str(botocore)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(tmp_path / "task")) == 2


def test_what_is_written_is_read_by_terraform(made: dict[str, Synthesised], tmp_path: Path) -> None:
    write(made["tokyo"], tmp_path)
    assert json.loads((tmp_path / "cdk.tf.json").read_text()) == made["tokyo"].template
    write(made["tokyo"], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cdk.tf.json", "rotation.zip"]


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("PENSTOCK_TEST_AWS_PROVIDER_VERSION") or shutil.which("terraform") is None,
    reason="this machine has not Terraform's provider, or PENSTOCK_TEST_AWS_PROVIDER_VERSION does not name it",
)
@pytest.mark.parametrize("profile", PROFILES)
def test_terraform_finds_nothing_wrong(made: dict[str, Synthesised], tmp_path: Path, profile: str) -> None:
    write(made[profile], tmp_path)
    for words in (["init", "-backend=false", "-input=false"], ["validate"]):
        done = subprocess.run(
            ["terraform", *words, "-no-color"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_profile_of_ones_own_is_spelt_as_most_are() -> None:
    assert spellings("vpc_id", "plant") == ["vpc_id"]
    assert spellings("vpc_id", "tokyo") == ["vpcId"]
    assert spellings("vpc_id", "virginia") == ["vpcId", "vpc_id"]


def _names(template: dict[str, object]) -> set[str]:
    return {str(one.get(NAMED_BY[one.kind])) for one in Template(template).every(*NAMED_BY)}
