"""The words of the command line, each a few lines into what does the work, imported when the word is used."""

from typing import Annotated

import typer

from penstock import __version__
from penstock.cli import archive, care, deploy, files, fleet, look, manage, plan, run

app = typer.Typer(
    name="penstock",
    help="Carries readings from factory sensors to a compliant, queryable, alarmed history.",
    no_args_is_help=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)

RUN, LOOK, MANAGE, FILES, CARE, AWS = "Run", "Look", "Manage", "Files", "Care", "AWS"

app.command(rich_help_panel=RUN)(run.up)
app.command(rich_help_panel=RUN)(run.ingest)
app.command(rich_help_panel=RUN)(run.work)
app.command(rich_help_panel=RUN)(run.serve)
app.command(rich_help_panel=RUN)(run.simulate)
app.command(rich_help_panel=LOOK)(look.tail)
app.command(rich_help_panel=LOOK)(look.query)
app.command(rich_help_panel=LOOK)(look.trace)
app.command(rich_help_panel=LOOK)(look.balance)
app.command(rich_help_panel=LOOK)(look.alarms)
app.command(rich_help_panel=LOOK)(look.quarantine)
app.command(rich_help_panel=LOOK)(fleet.shards)
app.add_typer(manage.keys, name="keys", rich_help_panel=MANAGE)
app.add_typer(manage.tags, name="tags", rich_help_panel=MANAGE)
app.command(rich_help_panel=MANAGE)(manage.login)
app.command(rich_help_panel=MANAGE)(manage.sql)
app.command(rich_help_panel=FILES)(files.replay)
app.command(rich_help_panel=FILES)(files.score)
app.command(rich_help_panel=CARE)(care.doctor)
app.command(rich_help_panel=CARE)(care.backup)
app.command(rich_help_panel=CARE)(care.restore)
app.command(rich_help_panel=CARE)(archive.archive)
app.command(rich_help_panel=CARE)(care.bench)
app.command(rich_help_panel=CARE)(plan.plan)
app.command(rich_help_panel=AWS)(deploy.synth)
app.command(rich_help_panel=AWS)(deploy.deploy)
app.command(rich_help_panel=AWS)(deploy.destroy)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penstock {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def penstock(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  # the callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Without a command: `up`, a live plant with simulated sensors."""
    if context.invoked_subcommand is None:
        run.start({})
