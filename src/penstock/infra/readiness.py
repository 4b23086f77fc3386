"""What must be so before anything is made: a name that is proven, a place for the state, an image to start."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from penstock.errors import Misconfigured
from penstock.infra.account import Account, image_id
from penstock.infra.answers import asking, code_of
from penstock.infra.description import Deployment
from penstock.infra.pins import is_pinned, recorded
from penstock.infra.simulated import simulated_by_environment

PLACEHOLDER: Final = ".example"
"""Nobody owns a name that ends so (RFC 2606)."""
THROW_AWAY: Final = "for a throw-away --environment dev --set door.insecure_http=true"
BUCKET_CODES: Final = frozenset({"403", "404"})
"""All that AWS refuses a bucket with: it is not ours, it is not there."""
PLATFORMS: Final = {"X86_64": "linux/amd64", "ARM64": "linux/arm64"}
"""What Docker calls the architectures."""
SCRIPT: Final = Path(__file__).parent / "image" / "push"
SOURCE: Final = Path(__file__).parents[3]
"""Where the recipe of the image is, when Penstock runs from its source."""


def check_ready(deployment: Deployment) -> None:
    """What does for a look at the stack, but not for AWS. Raises Misconfigured."""
    door = deployment.door
    if door.insecure_http:
        return
    if door.domain.endswith(PLACEHOLDER) and not simulated_by_environment().endpoint:
        mend = f"--set door.domain=… that you own; {THROW_AWAY}"
        raise Misconfigured("door.domain", f"{door.domain} stands for a name of yours", mend)
    if not door.zone_id and not door.certificate_arn:
        mend = (
            f"--set door.zone_id=Z… , the Route 53 zone that {door.domain} lies in, or --set door.certificate_arn=… "
            f"of one that is issued; {THROW_AWAY}"
        )
        why = f"nothing proves {door.domain} (door.zone_id and door.certificate_arn are empty)"
        raise Misconfigured("door.certificate_arn", why, mend)


def check_account(deployment: Deployment, account: Account) -> None:
    """What AWS knows better than we do. Raises Misconfigured or Unavailable."""
    account.check()
    check_state(deployment, account)
    if not deployment.door.insecure_http:
        check_certificate(deployment, account)
        check_zone(deployment, account)


def check_state(deployment: Deployment, account: Account) -> None:
    """Whether the bucket of the state is there, and ours. Raises Misconfigured or Unavailable."""
    if deployment.state == "local":
        return
    bucket = deployment.state.removeprefix("s3://").partition("/")[0]
    with asking(f"look at the bucket {bucket}"):
        try:
            told = account.client("s3").head_bucket(Bucket=bucket)
        except ClientError as error:
            if code_of(error) in BUCKET_CODES:
                raise _no_bucket(deployment, bucket, code_of(error)) from error
            raise
    there = told.get("BucketRegion", deployment.region)  # botocore follows a bucket wherever it is; Terraform does not
    if there != deployment.region:
        why = f"the bucket {bucket} is in {there}, not in {deployment.region}"
        raise Misconfigured("state", why, "use one in the deployment's region")


def _no_bucket(deployment: Deployment, bucket: str, code: str) -> Misconfigured:
    region = deployment.region
    make = f"aws s3api create-bucket --bucket {bucket} --region {region}"
    if region != "us-east-1":
        make += f" --create-bucket-configuration LocationConstraint={region}"
    versions = "--versioning-configuration Status=Enabled"
    if code == "404":
        mend = f"make it: {make} && aws s3api put-bucket-versioning --bucket {bucket} {versions}"
        return Misconfigured("state", f"there is no bucket {bucket}", mend)
    mend = "use a bucket of this account; s3:ListBucket on it, s3:GetObject, PutObject and DeleteObject below it"
    return Misconfigured("state", f"this login may not look at the bucket {bucket}", mend)


def check_certificate(deployment: Deployment, account: Account) -> None:
    """Whether the given certificate is issued, and for the domain. Raises Misconfigured or Unavailable."""
    arn, domain = deployment.door.certificate_arn, deployment.door.domain
    if not arn:
        return
    field, acm = "door.certificate_arn", account.client("acm")
    with asking("look at the certificate"):
        try:
            told = acm.describe_certificate(CertificateArn=arn)["Certificate"]
        except acm.exceptions.ResourceNotFoundException as error:
            mend = f"aws acm list-certificates --region {deployment.region}, and use one of those"
            raise Misconfigured(field, f"{arn} is not in this account", mend) from error
    if told["Status"] != "ISSUED":
        mend = "prove it (its page in ACM says how), and wait until it is issued; or --set door.zone_id=…"
        raise Misconfigured(field, f"{arn} is {told['Status'].lower().replace('_', ' ')}", mend)
    names = told.get("SubjectAlternativeNames", [told["DomainName"]])
    if not any(covers(name, domain) for name in names):
        raise Misconfigured(field, f"it is for {', '.join(names)}, not for {domain}", f"use one that is for {domain}")


def covers(name: str, domain: str) -> bool:
    """Whether a certificate for *name* serves *domain*; a star stands for one label."""
    head, _, rest = domain.partition(".")
    return name.lower() == domain or (name.startswith("*.") and bool(head) and name[2:].lower() == rest)


def check_zone(deployment: Deployment, account: Account) -> None:
    """Whether the zone is there, seen by the world, and the domain lies in it. Raises Misconfigured or Unavailable."""
    zone_id, domain = deployment.door.zone_id, deployment.door.domain
    if not zone_id:
        return
    field, route53 = "door.zone_id", account.client("route53")
    with asking("look at the zone"):
        try:
            zone = route53.get_hosted_zone(Id=zone_id)["HostedZone"]
        except (route53.exceptions.NoSuchHostedZone, route53.exceptions.InvalidInput) as error:
            raise Misconfigured(field, f"there is no zone {zone_id}", _zones(route53, domain)) from error
        name = zone["Name"].rstrip(".")
        if _within(domain, name) and not zone["Config"].get("PrivateZone"):
            return
        why = f"{zone_id} is {name}, {'a private zone' if zone['Config'].get('PrivateZone') else f'not of {domain}'}"
        raise Misconfigured(field, why, _zones(route53, domain))


def _zones(route53: Any, domain: str) -> str:
    """The account's zones that *domain* lies in."""
    found = [f"--set door.zone_id={ident}  ({name})" for ident, name in _public(route53) if _within(domain, name)]
    return "; ".join(found) or f"make a zone for {domain} in Route 53, or give door.certificate_arn instead"


def _public(route53: Any) -> Iterator[tuple[str, str]]:
    for page in route53.get_paginator("list_hosted_zones").paginate():
        for zone in page["HostedZones"]:
            if not zone["Config"].get("PrivateZone"):
                yield zone["Id"].rpartition("/")[2], zone["Name"].rstrip(".")


def _within(domain: str, zone: str) -> bool:
    return f".{domain}".endswith(f".{zone}")


def check_push(deployment: Deployment) -> None:
    """Whether the image can be built here. Raises Misconfigured."""
    if deployment.image:
        mend = "leave one of the two out"
        raise Misconfigured("--push", f"it pushes this version, and image says {deployment.image}", mend)
    if not (SOURCE / "Dockerfile").exists():
        mend = "run it from a checkout of the source, where Dockerfile is"
        raise Misconfigured("--push", "Penstock is installed here without its source", mend)
    for program in ("docker", "aws"):
        if shutil.which(program) is None:
            raise Misconfigured("--push", f"{program} is not on this machine", "install it, and have it on PATH")
    if deployment.environment == "prod" and not is_pinned(recorded()):
        mend = "src/penstock/infra/image/push --pin, read what it wrote, commit it"
        raise Misconfigured("--push", "what production's image is built on is not pinned", mend)


def platform(deployment: Deployment) -> dict[str, str]:
    """What tells the script for which processor the image is to be built."""
    return {"PENSTOCK_IMAGE_PLATFORM": PLATFORMS[deployment.architecture]}


def missing(deployment: Deployment, image: str) -> Misconfigured:
    """What to say of *image*, which is not in its repository."""
    url, wanted = image_id(image)
    told = " ".join(f"{name}={value}" for name, value in platform(deployment).items())
    script = SCRIPT.relative_to(SOURCE) if (SOURCE / "Dockerfile").exists() else "src/penstock/infra/image/push"
    build = f"{told} {script} {url} " + wanted.get("imageTag", "VERSION, and use the digest that it says")
    why = f"{image} is not in the repository, and no task could start"
    mend = f"build and push it, in a checkout of the source:\n  {build}\nthen the same command again; or add --push"
    return Misconfigured("image", why, mend)
