"""What is missing is refused before anything is made: field, value, mend."""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from penstock import __version__
from penstock.errors import Misconfigured, Unavailable
from penstock.infra import deploying, readiness
from penstock.infra.account import LOG_POLICY, LOG_ROLE, Account, image_id, image_of
from penstock.infra.console import Console
from penstock.infra.deploying import Site, push_image
from penstock.infra.description import Deployment
from penstock.infra.pins import is_pinned
from penstock.infra.readiness import check_account, check_push, check_ready, covers, missing
from penstock.infra.reading import read_deployment
from penstock.infra.terraforming import Terraform
from simaws import SimulatedAws

REGION = "eu-west-2"
DOMAIN = "plant.example.com"
NOBODYS = f"arn:aws:acm:{REGION}:123456789012:certificate/00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedAws]:
    pytest.importorskip("moto", reason="moto is not on this machine")
    with SimulatedAws(region=REGION) as aws:
        yield aws


@pytest.fixture
def aws(simulated: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> SimulatedAws:
    for name, value in simulated.environment.items():
        monkeypatch.setenv(name, value)
    return simulated


def london(**door: str) -> Deployment:
    """London at a domain of ours. Simulated zones are not called as Amazon's are, so that no pattern is checked."""
    plain = read_deployment("london", settings=[f"door.domain={DOMAIN}"])
    return plain.model_copy(update={"door": plain.door.model_copy(update=door)})


ARM = london().model_copy(update={"architecture": "ARM64", "suffix": "arm"})


def check(deployment: Deployment) -> None:
    check_ready(deployment)
    check_account(deployment, Account(deployment))


def test_a_domain_that_nobody_owns_is_not_deployed() -> None:
    with pytest.raises(Misconfigured, match=r"tokyo\.penstock\.example"):
        check_ready(read_deployment("tokyo"))
    check_ready(read_deployment("tokyo", environment="dev", settings=["door.insecure_http=true"]))


def test_a_domain_that_nothing_proves_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"nothing proves plant\.example\.com.*door\.zone_id=Z"):
        check_ready(london())


def test_a_certificate_that_is_not_there_is_refused(aws: SimulatedAws) -> None:
    with pytest.raises(Misconfigured, match=r"door\.certificate_arn: arn:.* is not in this account\. Mend: aws acm"):
        check(london(certificate_arn=NOBODYS))


def test_a_certificate_that_is_not_issued_is_refused(aws: SimulatedAws) -> None:
    asked = aws.client("acm").request_certificate(DomainName=DOMAIN, ValidationMethod="DNS")["CertificateArn"]
    with pytest.raises(Misconfigured, match=r"is pending validation\. Mend: prove it"):
        check(london(certificate_arn=asked))


def test_a_certificate_for_others_is_refused_and_one_with_a_star_taken(aws: SimulatedAws) -> None:
    check(london(certificate_arn=imported(aws, "*.example.com")))
    with pytest.raises(Misconfigured, match=r"it is for .*example\.org, not for plant\.example\.com"):
        check(london(certificate_arn=imported(aws, "*.example.org")))


def imported(aws: SimulatedAws, name: str) -> str:
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + dt.timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    told = aws.client("acm").import_certificate(Certificate=made.public_bytes(pem), PrivateKey=secret)
    return str(told["CertificateArn"])


@pytest.mark.parametrize(
    ("name", "domain", "serves"),
    [
        ("plant.example.com", "plant.example.com", True),
        ("*.example.com", "plant.example.com", True),
        ("*.example.com", "a.plant.example.com", False),
        ("*.example.com", "example.com", False),
        ("ant.example.com", "plant.example.com", False),
    ],
)
def test_a_star_stands_for_one_label(name: str, domain: str, serves: bool) -> None:
    assert covers(name, domain) is serves


def test_a_zone_must_be_there_of_the_domain_and_seen_by_the_world(aws: SimulatedAws) -> None:
    route53 = aws.client("route53")
    with pytest.raises(Misconfigured, match=r"there is no zone Z1.* make a zone"):
        check(london(zone_id="Z1"))
    ours, other = (
        route53.create_hosted_zone(Name=name, CallerReference=name)["HostedZone"]["Id"].rpartition("/")[2]
        for name in ("example.com", "ample.com")
    )
    check(london(zone_id=ours))
    with pytest.raises(Misconfigured, match=rf"is ample\.com, not of plant.*door\.zone_id={ours}  \(example\.com\)"):
        check(london(zone_id=other))


def test_a_state_without_its_bucket_says_how_to_make_it(aws: SimulatedAws) -> None:
    deployment = london(certificate_arn=imported(aws, DOMAIN))
    shared = deployment.model_copy(update={"state": "s3://nobodys-bucket/penstock"})
    with pytest.raises(Misconfigured, match=r"no bucket nobodys-bucket.*create-bucket.*LocationConstraint=eu-west-2"):
        check(shared)
    place = {"LocationConstraint": REGION}
    aws.client("s3").create_bucket(Bucket="nobodys-bucket", CreateBucketConfiguration=place)
    check(shared)


def test_a_state_in_another_region_is_refused(aws: SimulatedAws) -> None:
    """botocore would follow the bucket there; Terraform, which is told the deployment's region, would not."""
    aws.client("s3", "us-east-1").create_bucket(Bucket="bucket-elsewhere")
    deployment = london(certificate_arn=imported(aws, DOMAIN))
    with pytest.raises(Misconfigured, match=r"bucket-elsewhere is in us-east-1, not in eu-west-2"):
        check(deployment.model_copy(update={"state": "s3://bucket-elsewhere/penstock"}))


def test_gateways_may_log_also_where_a_deploy_was_cut_off_before(aws: SimulatedAws) -> None:
    iam, account = aws.client("iam"), Account(london())
    iam.create_role(RoleName=LOG_ROLE, AssumeRolePolicyDocument="{}")
    account.let_gateways_log()
    (attached,) = iam.list_attached_role_policies(RoleName=LOG_ROLE)["AttachedPolicies"]
    assert attached["PolicyArn"] == LOG_POLICY
    assert aws.client("apigateway").get_account()["cloudwatchRoleArn"].endswith(LOG_ROLE)


@pytest.mark.parametrize(("codes", "raises"), [(["BadRequestException"] * 2, None), (["AccessDenied"], Misconfigured)])
def test_a_role_that_iam_has_not_told_of_is_tried_again_and_a_refusal_said(
    aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch, codes: list[str], raises: type[Exception] | None
) -> None:
    account = Account(london())
    client = account.client

    def refuse(**_: object) -> Any:
        return (SimpleNamespace(status_code=400), {"Error": {"Code": codes.pop()}}) if codes else None

    def reluctant(service: str) -> Any:
        made = client(service)
        made.meta.events.register("before-call.api-gateway.UpdateAccount", refuse)
        made.meta.events.register(
            "before-call.api-gateway.GetAccount", lambda **_: (SimpleNamespace(status_code=200), {})
        )
        return made

    monkeypatch.setattr(account, "client", reluctant)
    monkeypatch.setattr("penstock.infra.account.LOOK_S", 0)
    with pytest.raises(raises) if raises else nullcontext():
        account.let_gateways_log()
    assert codes == []


def test_who_is_nobody_there_is_told_so(aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(Misconfigured, match="no login to AWS is found"):
        Account(london()).check()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(Misconfigured, match=r"AWS_PROFILE.*nobody"):
        Account(london()).check()


def test_an_aws_that_does_not_answer_is_told_so(aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unavailable, match="reaches AWS"):
        Account(london()).check()


def test_an_image_is_looked_for_in_its_repository(aws: SimulatedAws) -> None:
    deployment, ecr = london(), aws.client("ecr")
    account, name = Account(deployment), deployment.names("penstock", "images")
    assert account.repository() == ""
    assert image_of(deployment, "") == ""
    ecr.create_repository(repositoryName=name)
    url = account.repository()
    image = image_of(deployment, url)
    assert url.endswith(name)
    assert not account.has_image(image)
    digest = pushed(ecr, name, image.rpartition(":")[2])
    assert account.has_image(image)
    assert account.has_image(f"{url}@{digest}")
    assert not account.has_image(f"{url}@sha256:{'0' * 64}")


def pushed(ecr: Any, repository: str, tag: str) -> str:
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "layers": []})
    told = ecr.put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)
    return str(told["image"]["imageId"]["imageDigest"])


def test_of_somebody_elses_image_nothing_is_known() -> None:
    deployment = london().model_copy(update={"image": "public.ecr.aws/x/penstock:1"})
    assert image_of(deployment, "111122223333.dkr.ecr.eu-west-2.amazonaws.com/ours") == ""


def test_an_image_has_a_tag_or_a_digest() -> None:
    assert image_id("host/name:1.2.3") == ("host/name", {"imageTag": "1.2.3"})
    assert image_id("host/name@sha256:00ff") == ("host/name", {"imageDigest": "sha256:00ff"})
    assert image_id("host/name:1.2.3@sha256:00ff") == ("host/name", {"imageDigest": "sha256:00ff"})


def test_a_missing_image_is_told_with_the_command_that_pushes_it() -> None:
    said = str(missing(london(), "host/name:1.2.3"))
    assert "=linux/amd64 src/penstock/infra/image/push host/name 1.2.3\nthen the same command again" in said
    said = str(missing(ARM, "host/name:1.2.3@sha256:00ff"))
    assert "=linux/arm64 src/penstock/infra/image/push host/name VERSION, and use the digest" in said


def test_an_image_is_built_for_the_processor_that_runs_it(
    aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = {
        "push": f'"$PENSTOCK_IMAGE_PLATFORM $2" > {tmp_path}/told',
        "terraform": '\'{"terraform_version": "1.12.0"}\'',
    }
    for name, words in said.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho {words}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(deploying, "SCRIPT", tmp_path / "push")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    aws.client("ecr").create_repository(repositoryName=ARM.names("penstock", "images"))
    push_image(Site(ARM, Account(ARM), Terraform(tmp_path), Console(ask=False)))
    assert (tmp_path / "told").read_text() == f"linux/arm64 {__version__}\n"


def test_only_who_has_source_and_programs_can_push(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dev = london().model_copy(update={"environment": "dev"})
    for name in ("docker", "aws"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    check_push(dev)
    with pytest.raises(Misconfigured, match="leave one of the two out"):
        check_push(dev.model_copy(update={"image": "host/name:1"}))
    (tmp_path / "docker").unlink()
    with pytest.raises(Misconfigured, match="docker is not on this machine"):
        check_push(dev)
    monkeypatch.setattr(readiness, "SOURCE", tmp_path)
    with pytest.raises(Misconfigured, match="without its source"):
        check_push(dev)


def test_production_wants_everything_pinned() -> None:
    assert is_pinned(f"# x\nPYTHON=3@sha256:{'a' * 64}\nRDS_CA_SHA256={'b' * 64}\n")
    assert not is_pinned(f"PYTHON=3\nRDS_CA_SHA256={'b' * 64}\n")
    assert not is_pinned(f"PYTHON=3@sha256:{'a' * 64}\nRDS_CA_SHA256=\n")
