"""The verbs and their options; each delegates at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distillery import __version__
from distillery.cli.cluster.options import HERE, Cluster, takes_cluster
from distillery.cli.cluster.verbs import VERBS
from distillery.cli.exit_codes import ExitCode
from distillery.errors import DistilleryError, SpecError
from distillery.stages.stage import STAGE_NAMES
from distillery.streams import flush_output, open_streams

if TYPE_CHECKING:
    from distillery.cli.invocation import Invocation

PLUGIN = "kubectl-distillery"

app = typer.Typer(
    name="distillery",
    help="Distil a large model into a small one of your own, proven on held-out data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(help="DistillationJob manifest (YAML).", metavar="FILE")]
WorkdirOption = Annotated[
    Path | None,
    typer.Option("--workdir", help="Folder of this run; default .distillery/<name>.", metavar="DIR"),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field: spec.teacher.endpoint.url=…", metavar="PATH=VALUE"),
]
SecretOption = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        help="Where a secret comes from: NAME/KEY=env:VARIABLE or NAME/KEY=file:PATH. "
        "Otherwise DISTILLERY_SECRET_<NAME>_<KEY> is read.",
        metavar="REFERENCE",
    ),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", help=f"Last stage to run: {', '.join(STAGE_NAMES)}.", metavar="STAGE")
]
OutputOption = Annotated[str, typer.Option("--output", "-o", help="text or json.", metavar="FORMAT")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"distillery {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Distil a large model into a small one of your own, proven on held-out data."""


@app.command()
def run(
    file: File,
    workdir: WorkdirOption = None,
    until: UntilOption = None,
    set_: SetOption = None,
    secret: SecretOption = None,
    output: OutputOption = "text",
) -> None:
    """Run a job on this machine; the same command resumes or does only what has changed.

    Exit status: 0 complete and gates passed, 3 complete but gates failed, 2 invalid input, 4 stopped by budget or
    pilot, or waiting for a review, 130 interrupted, 1 any other failure.
    """
    from distillery.cli.run import run_job

    raise typer.Exit(run_job(_opened(file, workdir, set_, secret, output), until))


@app.command()
@takes_cluster
def status(
    target: Annotated[
        str,
        typer.Argument(help="Workdir of a local run, or name of a job on the cluster.", metavar="DIR|NAME"),
    ],
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow a job on the cluster to its end.")
    ] = False,
    cluster: Cluster = HERE,
    output: Annotated[
        str, typer.Option("--output", "-o", help="text, json or yaml.", metavar="FORMAT")
    ] = "text",
) -> None:
    """Show how far a job is, what it cost and its verdict.

    A folder that is here, or anything with a slash, is the workdir of a local run. Any other word is the name of a
    job on the cluster; so is every word beside -n, --context or --kubeconfig.
    """
    from distillery.cli.cluster.target import show_target

    raise typer.Exit(show_target(target, cluster, output, watch=watch))


@app.command()
def validate(
    file: Annotated[
        Path,
        typer.Argument(help="DistillationJob or DistillationProfile manifest (YAML).", metavar="FILE"),
    ],
    set_: SetOption = None,
    output: OutputOption = "text",
) -> None:
    """Check a manifest without touching network, store or teacher; shows every mistake at once."""
    from distillery.cli.show import show_valid

    show_valid(file, set_ or [], output)


@app.command()
def plan(
    file: File,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
    secret: SecretOption = None,
    output: OutputOption = "text",
) -> None:
    """Show which stages would run, which are reused, and why; runs nothing."""
    from distillery.cli.show import show_plan

    show_plan(_opened(file, workdir, set_, secret, output))


@app.command()
def estimate(
    file: File,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
    secret: SecretOption = None,
    output: OutputOption = "text",
) -> None:
    """Estimate the teacher's bill from the inputs and prices; asks the teacher nothing."""
    from distillery.cli.show import show_estimate

    show_estimate(_opened(file, workdir, set_, secret, output))


@app.command()
def prune(
    file: File,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
    secret: SecretOption = None,
    older_than: Annotated[
        float, typer.Option(min=0, metavar="DAYS", help="Age in days from which leftovers go.")
    ] = 7.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
) -> None:
    """Remove what interrupted runs left in the store and no artifact refers to."""
    from distillery.cli.show import prune_store

    prune_store(_opened(file, workdir, set_, secret, "text"), older_than, dry_run=dry_run)


for verb in VERBS:
    app.command()(verb)


def _opened(
    file: Path, workdir: Path | None, overrides: list[str] | None, secrets: list[str] | None, output: str
) -> Invocation:
    from distillery.cli.invocation import open_invocation

    return open_invocation(file, workdir, overrides or [], secrets or [], output)


def main() -> None:
    """Run the command line; errors that are ours become one message each and an exit status."""
    open_streams()
    plugin = Path(sys.argv[0]).name == PLUGIN  # kubectl finds it by this name
    out = sys.stdout
    code = _ended(lambda: app(prog_name="kubectl distillery" if plugin else None))
    sys.stdout = (
        out  # typer wraps it where a reader has gone, so that the loss shows only at Python's own exit
    )
    lost = flush_output()  # here, where it can be told: at its own exit Python cannot
    if lost is not None and code == ExitCode.COMPLETE:
        code = _failed(lost)
    sys.exit(code)


def _ended(verb: Callable[[], object]) -> int:
    """Run a verb, tell its error, and return its exit status."""
    try:
        verb()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else ExitCode.COMPLETE
    except SpecError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return ExitCode.INVALID
    except DistilleryError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.FAILED
    except OSError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.COMPLETE


def _failed(error: OSError) -> ExitCode:
    """Tell an error of the system; a reader that has gone away, as in `| head -1`, needs no message."""
    if not isinstance(error, BrokenPipeError):
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
    return ExitCode.FAILED
