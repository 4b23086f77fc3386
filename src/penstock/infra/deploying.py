"""From a description to a plant that stands, and back."""

import os
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

from penstock.errors import Misconfigured, Unavailable
from penstock.infra.account import Account, image_of, release
from penstock.infra.console import Console, steps
from penstock.infra.description import Deployment
from penstock.infra.first import first_steps
from penstock.infra.leaving import check_leave, empty_archive, farewell, held_by, lifter, stop_writers
from penstock.infra.readiness import SCRIPT, check_account, check_push, check_ready, check_state, missing, platform
from penstock.infra.rotation import fetch_authorities, with_authorities
from penstock.infra.simulated import simulated_by_environment
from penstock.infra.spelling import KEY_ID, PLAN_ID, said
from penstock.infra.synth import STACK_FILE, Synthesised, synthesise, write
from penstock.infra.terraforming import Plan, Terraform

REPOSITORY: Final = "aws_ecr_repository"
SERVICE: Final = "aws_ecs_service.serve_"
PLAYED: Final = (
    "use_path_style",
    "skip_credentials_validation",
    "skip_requesting_account_id",
    "skip_metadata_api_check",
)
"""What S3 as the state's place must be told where AWS is simulated."""


class Deployed(NamedTuple):
    """A plant that stands."""

    outputs: dict[str, Any]
    """What it says of itself; `deployments` are the releases that were started."""
    meaning: dict[str, str]
    """What each output is."""
    next_steps: list[str]
    """What to do now, where nothing of it stood before."""


class Site(NamedTuple):
    """A deployment, and everything that it is made with."""

    deployment: Deployment
    account: Account
    terraform: Terraform
    console: Console

    def variables(self) -> dict[str, str]:
        """What Terraform cannot know by itself."""
        return {KEY_ID: self.account.known_key()} if self.deployment.api.doors else {}

    def apply(self, title: str, plan: Plan) -> None:
        """Do what *plan* says, with its progress."""
        with self.console.bar(title, plan.steps) as step:
            self.terraform.apply(plan, steps(step))

    def check_known(self, count: int) -> None:
        """Raises Misconfigured when the state knows *count* resources, that is none, of a plant that stands."""
        if count or not self.account.stands():
            return
        stack, state = self.deployment.names.stack, self.deployment.state
        where = f"{self.terraform.folder}, where its state would be," if state == "local" else state
        mend = (
            "run it where it was deployed from, or with --out FOLDER or --set state=s3://… as then; "
            "how to share a state: docs/deploy.md, State"
        )
        raise Misconfigured("state", f"{stack} stands in AWS, but {where} knows nothing of it", mend)


def deploy(
    deployment: Deployment, folder: Path, console: Console, *, authorities: bytes | None = None, push: bool = False
) -> Deployed:
    """Make it, or bring it up to date. Raises Misconfigured, Unavailable, or Rejected when the answer is no."""
    console.check()
    check_ready(deployment)
    if push:
        check_push(deployment)
    site = _site(deployment, folder, console)
    check_account(deployment, site.account)
    console.say(f"deploy {deployment.names.stack} in {deployment.region}")
    made = complete(synthesise(deployment), authorities)
    write(made, folder)
    site.terraform.init(*_backend(deployment))
    is_new = _starts(_bring_about(site, made, push=push))
    outputs = site.terraform.outputs()
    if deployment.api.doors:
        site.account.meter(site.account.known_key(), said(outputs, PLAN_ID))
    started = release(site.account, deployment)
    meaning = {name: one.get("description", "") for name, one in made.template["output"].items()}
    steps_now = first_steps(site.account, deployment, outputs) if is_new else []
    return Deployed(outputs | ({"deployments": started} if started else {}), meaning, steps_now)


def destroy(
    deployment: Deployment, folder: Path, console: Console, *, with_archive: bool = False, code: str = ""
) -> bool:
    """Take it down, as far as its retention class allows; whether there was anything. Raises as `deploy` does.

    *code* is that of the second factor, for the role that may lift locks.
    """
    console.check()
    site = _site(deployment, folder, console)
    site.account.check()
    check_state(deployment, site.account)
    if not (folder / STACK_FILE).exists():
        write(synthesise(deployment), folder)
    site.terraform.init(*_backend(deployment))
    plan = site.terraform.plan({KEY_ID: ""} if deployment.api.doors else {}, destroy=True)
    site.check_known(len(plan.changes))
    if plan.changes:
        _take_down(site, plan, with_archive=with_archive, code=code)
    site.account.drop_api_key()
    return bool(plan.changes)


def complete(made: Synthesised, authorities: bytes | None) -> Synthesised:
    """With RDS' authorities in the rotation function's package; fetched where they are not given."""
    if authorities is None:
        authorities = b"" if simulated_by_environment().endpoint else fetch_authorities()
    return made._replace(rotation=with_authorities(made.rotation, authorities))


def _site(deployment: Deployment, folder: Path, console: Console) -> Site:
    return Site(deployment, Account(deployment), Terraform(folder), console)


def _bring_about(site: Site, made: Synthesised, *, push: bool) -> Plan:
    """Plan, ask, make what must be there before, and apply; what was done."""
    if not push:
        _check_image(site)
    plan = site.terraform.plan(site.variables())  # which waits for nobody: a lock is told before anything else
    site.check_known(site.terraform.holds())
    site.console.show(plan)
    if plan.changes:
        site.console.confirm("do this?")
    if _prepare(site, made, push=push):
        plan = site.terraform.plan(site.variables())
    site.apply("deploy", plan)
    return plan


def _starts(plan: Plan) -> bool:
    """Whether tasks run for the first time, also where a first deploy was cut off before."""
    return any(change.action == "create" and change.address.startswith(SERVICE) for change in plan.changes)


def _prepare(site: Site, made: Synthesised, *, push: bool) -> bool:
    """What Terraform cannot make, or not first. Whether anything changed. Raises Misconfigured without an image."""
    account, changed = site.account, False
    if site.deployment.api.doors and not account.known_key():
        account.api_key()
        changed = True
    if site.deployment.api.doors:
        account.let_gateways_log()
    if not account.repository():
        (name,) = made.template["resource"][REPOSITORY]
        site.apply("repository", site.terraform.plan({}, only=f"{REPOSITORY}.{name}"))
        changed = True
    if push:
        push_image(site)
    _check_image(site)
    return changed


def _check_image(site: Site) -> None:
    """Raises Misconfigured when the image that tasks would start with is not in their repository."""
    image = image_of(site.deployment, site.account.repository())
    if image and not site.account.has_image(image):
        raise missing(site.deployment, image)


def push_image(site: Site) -> None:
    """Build this version and push it, unless it is there. Raises Unavailable when the script fails."""
    image = image_of(site.deployment, site.account.repository())
    if site.account.has_image(image):
        site.console.say(f"{image} is in the repository")
        return
    url, _, version = image.rpartition(":")
    environment = os.environ | platform(site.deployment)
    done = subprocess.run([str(SCRIPT), url, version], env=environment, stdout=2, check=False)  # noqa: S603  # our words
    if done.returncode:
        raise Unavailable("the image was not pushed; why stands above. Mend: as it says, then the same command again")


def _take_down(site: Site, plan: Plan, *, with_archive: bool, code: str) -> None:
    deployment, account, console = site.deployment, site.account, site.console
    console.say(f"destroy {farewell(deployment)}")
    held = held_by(account, deployment)
    check_leave(deployment, held, with_archive=with_archive)
    lifts = with_archive and bool(held) and not deployment.is_ephemeral
    lifting = lifter(account, deployment, console, code) if lifts else None
    console.show(plan)
    console.confirm(f"remove all this, and {held}?" if held else "remove all this?")
    if lifting:
        stop_writers(account, deployment)
        empty_archive(account, lifting, held, console)
    site.apply("destroy", plan)


def _backend(deployment: Deployment) -> list[str]:
    """Words of `terraform init`: none, where AWS is Amazon's."""
    if deployment.state == "local" or not simulated_by_environment().endpoint:
        return []
    return [f"-backend-config={word}=true" for word in PLAYED]
