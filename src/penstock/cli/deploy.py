"""`synth`, `deploy`, `destroy`: the plant on AWS."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.options import Json
from penstock.cli.show import show_one

if TYPE_CHECKING:
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
    Path | None, typer.Option("--ca", help="RDS' certificate authorities (PEM), where they cannot be downloaded.")
]


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


def deploy(  # noqa: PLR0913, PLR0917  # one option each
    profile: Profile,
    out: Out = None,
    settings: Setting = None,
    environment: Environment = "prod",
    suffix: Suffix = None,
    authorities: Authorities = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make a profile's plant on AWS, or bring it up to date; then say where everything is."""
    from penstock.infra.deploying import deploy as make

    deployment = _described(profile, environment, suffix, settings)
    given = authorities.read_bytes() if authorities is not None else None
    outputs = make(deployment, _folder(deployment, out), authorities=given, ask=not yes)
    show_one(outputs, as_json=as_json)


def destroy(  # noqa: PLR0913, PLR0917  # one option each
    profile: Profile,
    out: Out = None,
    settings: Setting = None,
    environment: Environment = "prod",
    suffix: Suffix = None,
    with_archive: Annotated[bool, typer.Option(help="Lift governance locks, and remove the archive too.")] = False,
    yes: Yes = False,
) -> None:
    """Take a plant down. Says first what goes and what stays; a sealed archive cannot go."""
    from penstock.infra.deploying import destroy as take_down
    from penstock.infra.leaving import farewell

    deployment = _described(profile, environment, suffix, settings)
    typer.echo(f"destroy {farewell(deployment)}", err=True)
    take_down(deployment, _folder(deployment, out), with_archive=with_archive, ask=not yes)


def _described(profile: str, environment: str, suffix: str | None, settings: list[str] | None) -> "Deployment":
    from penstock.infra.reading import read_deployment

    return read_deployment(profile, environment=environment, suffix=suffix, settings=settings or ())


def _folder(deployment: "Deployment", out: Path | None) -> Path:
    return out or Path("penstock-infra") / deployment.names.stack
