"""A deployment's whole life on simulated AWS: synthesised, applied, planned again, used, destroyed, nothing left."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from simaws.leftovers import leftovers
from simaws.server import SimulatedAws
from simaws.terraform import NotHere, Say, Terraform

PROVIDER: Final = "PENSTOCK_TEST_AWS_PROVIDER_VERSION"
"""Another version of the provider than the bindings were made for: the one that this machine has, and no other."""
NEEDED: Final = {"moto": "test", "cdktn": "deploy"}
"""Packages without which nothing can be tried, and the extra that brings them."""


class Trial(NamedTuple):
    """What is to be tried, and where."""

    profile: str
    folder: Path
    suffix: str = "one"
    settings: Sequence[str] = ()
    """`key=value`, laid over the profile's `dev` environment."""
    say: Say = print

    @property
    def deployment(self) -> Any:
        """Raises NotHere where the machine cannot make stacks."""
        for package, extra in NEEDED.items():
            if find_spec(package) is None:
                raise NotHere(f"{package} is not installed on this machine (extra `{extra}`)")
        from penstock.infra.reading import read_deployment  # noqa: PLC0415  # only where deployments are tried

        return read_deployment(self.profile, environment="dev", suffix=self.suffix, settings=self.settings)


class Applied(NamedTuple):
    """A deployment that stands, for whoever wants to use it."""

    deployment: Any
    aws: SimulatedAws
    outputs: dict[str, Any]
    terraform: Terraform
    resources: int

    def output(self, name: str) -> str:
        """What the deployment says under *name*, however this profile spells it."""
        head, *rest = name.split("_")
        camel = head + "".join(part.capitalize() for part in rest)
        return str(self.outputs.get(name) or self.outputs[camel])


class Life:
    """What one life took; each step is told as it ends."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.resources, self.used = trial, 0, ""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began_s = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began_s
        self.trial.say(f"{self.trial.profile}: {name} {self.seconds[name]:.0f} s")

    def __str__(self) -> str:
        steps = ", ".join(f"{step} {took:.0f}" for step, took in self.seconds.items())
        total = sum(self.seconds.values())
        return f"{self.trial.profile}: {self.resources} resources, {total:.0f} s ({steps}); {self.used}"


Use = Callable[[Applied], str]
"""Says what it did."""
Leave = Callable[[Applied], None]
"""Takes it down, as far as it can be."""


def torn_down(applied: Applied) -> None:
    destroyed = applied.terraform.destroy()
    assert destroyed == applied.resources, f"{applied.resources} were made, {destroyed} destroyed"


def live(trial: Trial, use: Use, leave: Leave = torn_down) -> Life:
    """Go through all of it. Raises NotHere, or AssertionError with what does not hold."""
    life, deployment = Life(trial), trial.deployment
    with SimulatedAws(region=deployment.region, log=trial.folder / f"{deployment.names.stack}-aws.log") as aws:
        before = leftovers(aws)
        with standing(life, aws, leave) as applied, life.step("use"):
            life.used = use(applied)
        after = leftovers(aws)
        assert after == before, f"destroyed, and still there: {_more(after, before)}"
    return life


@contextmanager
def standing(life: Life, aws: SimulatedAws, leave: Leave = torn_down) -> Iterator[Applied]:
    """Synthesised, applied and planned again on entering; destroyed on leaving, unless something failed before."""
    with life.step("synth"):
        terraform = lay_down(life.trial, aws)
    with life.step("init"):
        terraform.init()
        terraform.validate()
    with life.step("apply"):
        life.resources = terraform.apply()
    with life.step("plan"):
        changes = terraform.changes()
        assert not changes, "a second plan would change:\n" + "\n".join(changes)
    applied = Applied(life.trial.deployment, aws, terraform.outputs(), terraform, life.resources)
    yield applied
    with life.step("destroy"):
        leave(applied)


def lay_down(trial: Trial, aws: SimulatedAws) -> Terraform:
    """The trial's stack in a folder of its own, made for simulated AWS."""
    from penstock.infra.simulated import Simulated  # noqa: PLC0415  # likewise
    from penstock.infra.synth import synthesise, write  # noqa: PLC0415

    deployment = trial.deployment
    terraform = Terraform(trial.folder / deployment.names.stack, aws.environment, trial.say)
    version = terraform.environment.get(PROVIDER, "")
    write(synthesise(deployment, Simulated(aws.url, version)), terraform.folder)
    return terraform


def _more(after: dict[str, list[str]], before: dict[str, list[str]]) -> dict[str, list[str]]:
    return {kind: [name for name in names if name not in before.get(kind, [])] for kind, names in after.items()}
