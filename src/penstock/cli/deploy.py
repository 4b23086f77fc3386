"""`synth`, `deploy`, `destroy`: the plant on AWS."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.options import Json
from penstock.cli.show import show

if TYPE_CHECKING:
    from penstock.infra.deploying import Deployed
    from penstock.infra.description import Deployment

Profile = Annotated[str, typer.Argument(help="tokyo, london, montreal, virginia, frankfurt, or a .toml file of yours.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of the stack.  [default: ./penstock-infra/NAME]"),
]
Setting = Annotated[list[str] | None, typer.Option("--set", help="A value of the description, as stream.shards=6.")]
Environment = Annotated[str, typer.Option(help="dev, stage, prod, or a .toml file of yours: laid over the profile.")]
Suffix = Annotated[str | None, typer.Option(help="Tells deployments of one profile and environment apart.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Authorities = Annotated[
    Path | None,
    typer.Option(
        "--ca", exists=True, dir_okay=False, help="RDS' certificate authorities (PEM), where they cannot be downloaded."
    ),
]

NO_AUTHORITIES = (
    "rotation.zip holds no certificate authorities of RDS, so that the rotation of its login would fail. "
    "`penstock deploy` fetches them; before a `terraform apply` of your own, give --ca FILE"
)


def synth(  # noqa: PLR0913, PLR0917  # one option each
    profile: Profile,
    out: Out = None,
    settings: Setting = None,
    environment: Environment = "prod",
    suffix: Suffix = None,
    authorities: Authorities = None,
) -> None:
    """Write the stack of a profile as Terraform reads it, when no rule has anything against it."""
    from penstock.infra.rotation import with_authorities
    from penstock.infra.synth import synthesise, write

    deployment = _described(profile, environment, suffix, settings)
    made = synthesise(deployment)
    if authorities is not None:
        made = made._replace(rotation=with_authorities(made.rotation, authorities.read_bytes()))
    folder = _folder(deployment, out)
    write(made, folder)
    typer.echo(f"{folder}: {made.resources} resources of {len(made.template['resource'])} kinds")
    if authorities is None:
        typer.echo(NO_AUTHORITIES, err=True)


def deploy(  # noqa: PLR0913, PLR0917  # one option each
    profile: Profile,
    out: Out = None,
    settings: Setting = None,
    environment: Environment = "prod",
    suffix: Suffix = None,
    authorities: Authorities = None,
    push: Annotated[bool, typer.Option("--push", help="Build and push the image too, when it is missing.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make a profile's plant on AWS, or bring it up to date; then say where everything is."""
    from penstock.infra.console import Console
    from penstock.infra.deploying import deploy as make

    deployment = _described(profile, environment, suffix, settings)
    given = authorities.read_bytes() if authorities is not None else None
    console = Console(ask=not yes)
    done = make(deployment, _folder(deployment, out), console, authorities=given, push=push)
    if as_json:
        typer.echo(json.dumps(done.outputs, indent=2, default=str))
    else:
        _show(done)
    for line in done.next_steps:
        console.say(line)


def destroy(  # noqa: PLR0913, PLR0917  # one option each
    profile: Profile,
    out: Out = None,
    settings: Setting = None,
    environment: Environment = "prod",
    suffix: Suffix = None,
    with_archive: Annotated[bool, typer.Option(help="Lift governance locks, and remove the archive too.")] = False,
    mfa: Annotated[str, typer.Option(help="Code of your second factor, for the role that may lift locks.")] = "",
    yes: Yes = False,
) -> None:
    """Take a plant down. Says first what goes and what stays; a sealed archive cannot go."""
    from penstock.infra.console import Console
    from penstock.infra.deploying import destroy as take_down

    deployment = _described(profile, environment, suffix, settings)
    console, folder = Console(ask=not yes), _folder(deployment, out)
    stood = take_down(deployment, folder, console, with_archive=with_archive, code=mfa)
    where = folder if deployment.state == "local" else deployment.state
    stack = deployment.names.stack
    typer.echo(f"{stack} is gone" if stood else f"nothing to destroy: there is no {stack} in {where}, nor in AWS")


def _show(done: "Deployed") -> None:
    rows = [
        {"output": name, "value": value, "what it is": done.meaning.get(name, "")}
        for name, value in done.outputs.items()
    ]
    show(rows, as_json=False)


def _described(profile: str, environment: str, suffix: str | None, settings: list[str] | None) -> "Deployment":
    from penstock.infra.reading import read_deployment

    return read_deployment(profile, environment=environment, suffix=suffix, settings=settings or ())


def _folder(deployment: "Deployment", out: Path | None) -> Path:
    return out or Path("penstock-infra") / deployment.names.stack
