"""From a description to a plant that stands, and back."""

from pathlib import Path
from typing import Any, Final

from penstock.errors import Misconfigured
from penstock.infra.account import Account, release
from penstock.infra.description import Deployment
from penstock.infra.leaving import check_leave, empty_archive
from penstock.infra.rotation import fetch_authorities, with_authorities
from penstock.infra.simulated import simulated_by_environment
from penstock.infra.spelling import KEY_ID, PLAN_ID
from penstock.infra.synth import Synthesised, synthesise, write
from penstock.infra.terraforming import Terraform

PLACEHOLDER: Final = ".example"
"""Nobody owns a name that ends so (RFC 2606)."""


def deploy(deployment: Deployment, folder: Path, *, authorities: bytes | None, ask: bool) -> dict[str, Any]:
    """Make it, or bring it up to date. Returns its outputs. Raises Misconfigured or Unavailable."""
    check_ready(deployment)
    terraform, account = Terraform(folder), Account(deployment)
    account.check()
    write(complete(synthesise(deployment), authorities), folder)
    terraform.init()
    variables = _variables(deployment, account)
    terraform.apply(variables, ask=ask)
    outputs = terraform.outputs()
    if variables:
        account.meter(variables[KEY_ID], _either(outputs, PLAN_ID))
    started = release(account, deployment)
    return outputs | ({"deployments": started} if started else {})


def destroy(deployment: Deployment, folder: Path, *, with_archive: bool, ask: bool) -> None:
    """Take it down, as far as its retention class allows. Raises Misconfigured where it does not."""
    terraform, account = Terraform(folder), Account(deployment)
    terraform.init()
    outputs = terraform.outputs()
    check_leave(deployment, account, outputs, with_archive=with_archive)
    if with_archive:
        empty_archive(account, outputs)
    terraform.destroy({KEY_ID: ""} if deployment.api.doors else {}, ask=ask)
    account.drop_api_key()


def check_ready(deployment: Deployment) -> None:
    """What does for a look at the stack, but not for AWS. Raises Misconfigured."""
    domain = deployment.door.domain
    if domain.endswith(PLACEHOLDER) and not deployment.door.insecure_http and not simulated_by_environment().endpoint:
        mend = "--set door.domain=… that you own; for a throw-away --environment dev --set door.insecure_http=true"
        raise Misconfigured("door.domain", f"{domain} stands for a name of yours", mend)


def complete(made: Synthesised, authorities: bytes | None) -> Synthesised:
    """With RDS' authorities in the rotation function's package; fetched where they are not given."""
    if authorities is None:
        authorities = b"" if simulated_by_environment().endpoint else fetch_authorities()
    return made._replace(rotation=with_authorities(made.rotation, authorities))


def _variables(deployment: Deployment, account: Account) -> dict[str, str]:
    if not deployment.api.doors:
        return {}
    account.let_gateways_log()
    return {KEY_ID: account.api_key()}


def _either(outputs: dict[str, Any], name: str) -> str:
    """An output, however the profile spells it."""
    plain = name.replace("_", "").lower()
    return next(str(value) for spelt, value in outputs.items() if spelt.replace("_", "").lower() == plain)
