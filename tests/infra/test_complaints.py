"""What Terraform and AWS give up with is said by name, with the mend."""

from pathlib import Path

import pytest
from botocore import exceptions as boto

from penstock.errors import Misconfigured, PenstockError, Unavailable
from penstock.infra.answers import asking, translated
from penstock.infra.complaints import complaint

FOLDER = Path("penstock-infra/london-prod-main")
LOCKED = """Error acquiring the state lock: Error message: operation error S3: PutObject, PreconditionFailed
Lock Info:
  ID:        4b5c7f2e-aaaa-bbbb-cccc-123456789012
  Path:      lyon-terraform/penstock/london-prod-main.tfstate
  Operation: OperationTypeApply
  Who:       ana@laptop
  Version:   1.11.4
  Created:   2026-11-20 10:00:00.1 +0000 UTC
"""


def test_a_locked_state_says_by_whom_and_how_to_free_it() -> None:
    said = complaint("plan", [LOCKED], FOLDER)
    assert isinstance(said, Unavailable)
    assert "locked by ana@laptop since 2026-11-20 10:00:00.1 +0000 UTC" in str(said)
    assert f"terraform -chdir={FOLDER} force-unlock 4b5c7f2e-aaaa-bbbb-cccc-123456789012" in str(said)


@pytest.mark.parametrize(
    ("told", "kind", "word"),
    [
        ("Saved plan is stale: The given plan file can no longer be applied", Unavailable, "somebody else deployed"),
        ("Failed to query available provider packages: no such host", Unavailable, "cannot be downloaded"),
        ("Backend configuration changed: a change has been detected", Misconfigured, "init -migrate-state"),
        ('Failed to get existing workspaces: S3 bucket "x" does not exist.', Misconfigured, "docs/deploy.md"),
        ("creating VPC: VpcLimitExceeded: maximum number of VPCs", Misconfigured, "Service Quotas"),
        ("creating Role: EntityAlreadyExists: Role with name x already exists.", Misconfigured, "another --suffix"),
        ("api error ExpiredToken: The security token included is expired", Misconfigured, "sign in"),
        ("AccessDenied: not authorized to perform: kms:CreateKey", Misconfigured, "kms:CreateKey"),
        ("deleting S3 Bucket: BucketNotEmpty", Unavailable, "the same command again"),
        ("creating Lambda Function: something nobody has seen", Unavailable, "something nobody has seen"),
    ],
)
def test_what_terraform_gives_up_with_has_a_mend(told: str, kind: type[PenstockError], word: str) -> None:
    said = complaint("apply", [told], FOLDER)
    assert isinstance(said, kind)
    assert word in str(said)
    assert "Mend: " in str(said)


def test_a_hundred_complaints_are_not_printed() -> None:
    said = str(complaint("apply", [f"resource {n} failed" for n in range(100)], FOLDER))
    assert "resource 4 failed" in said
    assert "resource 5 failed" not in said
    assert "and 95 more" in said


def client_error(code: str) -> boto.ClientError:
    return boto.ClientError({"Error": {"Code": code, "Message": "no"}}, "GetCallerIdentity")


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (boto.NoCredentialsError(), Misconfigured, "no login to AWS is found"),
        (boto.PartialCredentialsError(provider="env", cred_var="key"), Misconfigured, "no login to AWS is found"),
        (boto.ProfileNotFound(profile="nope"), Misconfigured, "AWS_PROFILE"),
        (boto.UnauthorizedSSOTokenError(), Misconfigured, "has expired"),
        (boto.TokenRetrievalError(provider="sso", error_msg="old"), Misconfigured, "has expired"),
        (client_error("ExpiredToken"), Misconfigured, "has expired"),
        (client_error("InvalidClientTokenId"), Misconfigured, "does not know us"),
        (client_error("AccessDenied"), Misconfigured, "may not learn who we are"),
        (client_error("Throttling"), Unavailable, "cannot learn who we are"),
        (boto.EndpointConnectionError(endpoint_url="https://sts"), Unavailable, "reaches AWS"),
        (boto.ReadTimeoutError(endpoint_url="https://sts"), Unavailable, "reaches AWS"),
    ],
)
def test_what_aws_refuses_has_a_mend(error: Exception, kind: type[PenstockError], word: str) -> None:
    said = translated(error, "learn who we are")
    assert isinstance(said, kind)
    assert word in str(said)
    assert "Mend: " in str(said)


def test_asking_lets_our_own_errors_pass() -> None:
    with pytest.raises(Misconfigured, match="as it is"), asking("anything"):
        raise Misconfigured("as it is", "", "")
