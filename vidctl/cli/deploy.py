"""`vidctl plan` and `vidctl deploy`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vidctl.cli import options

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME…]", help="Specs: yolo means configs/yolo.yaml.", autocompletion=options.specs),
]
NamesOrPlan = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME…|PLAN]",
        help="Specs: yolo means configs/yolo.yaml; or a plan that `vidctl plan -o` saved.",
        autocompletion=options.specs,
    ),
]
Adopt = Annotated[bool, typer.Option("--adopt", help="Take over an endpoint that vidctl or this spec did not make.")]

CHANGES_FOUND = 10


@dataclass(frozen=True)
class Scope:
    """Which specs are meant, and where they are deployed."""

    every: Annotated[bool, typer.Option("--all", help="All specs in configs/; with -e, all that have the overlay.")] = (
        False
    )
    env: options.Environment = None
    target: options.Target = None


@options.spread
def plan(
    names: Names = None,
    *,
    scope: Scope,
    adopt: Adopt = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.json|-", help="Save the plan, for vidctl deploy FILE.json."),
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help=f"Exit with {CHANGES_FOUND} when there are changes.")
    ] = False,
    said: options.ReportOptions,
) -> int:
    """Show what a deploy would change, and what that costs.  Changes nothing.

    Compares the spec, what was last applied, and what is live; what somebody changed elsewhere is marked as drift.
    """
    has_work = _show_plan(names, scope, output, said, adopts=adopt)
    return CHANGES_FOUND if detailed_exitcode and has_work else 0


def _show_plan(
    names: list[str] | None, scope: Scope, output: Path | None, said: options.ReportOptions, *, adopts: bool
) -> bool:
    """Show the plan, and save it; whether there is work."""
    from vidctl.cli import deployment
    from vidctl.cli.inputs import Inputs
    from vidctl.deploy import plan_file
    from vidctl.errors import UsageError

    if str(output) == "-" and said.as_json:
        raise UsageError("--json and -o - both write to stdout", hint="save the plan with -o FILE.json")
    if output is not None and str(output) != "-":
        Inputs(()).spare("-o", output)
        plan_file.check(output)
    begun = deployment.begin(said.report(), names, scope.every, scope.env, scope.target)
    return begun.plan(adopts=adopts, output=output)


@dataclass(frozen=True)
class DeployOptions:
    """How a deploy goes."""

    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="The same as `vidctl plan`.")] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the smoke test has passed.")] = True
    timeout: Annotated[
        float,
        typer.Option(
            metavar="5m",
            parser=options.duration("--timeout", least=1),
            help="How long to wait for the smoke test, and for a lock.",
        ),
    ] = 600
    no_rollback: Annotated[bool, typer.Option("--no-rollback", help="Keep a version that fails its smoke test.")] = (
        False
    )
    adopt: Adopt = False


@options.spread
def deploy(names: NamesOrPlan = None, *, scope: Scope, how: DeployOptions, said: options.ReportOptions) -> None:
    """Create or update endpoints, and smoke test them.

    Checks everything first, builds and pushes the image where its content is new, compares the spec with what is live,
    asks, writes only what differs, reads it back, sends the smoke test and saves the endpoint's id in .env.  A second
    run changes nothing.  A version that fails its smoke test is replaced by the last good one.
    """
    from vidctl.cli import deployment
    from vidctl.deploy import plan_file
    from vidctl.deploy.apply import Choices
    from vidctl.errors import UsageError

    if how.dry_run:
        _show_plan(names, scope, None, said, adopts=how.adopt)
        return
    target, saved = scope.target, plan_file.load(names or [])
    if saved is not None:
        if scope.env or scope.every or (target and target != saved.target):
            raise UsageError(
                "a saved plan takes no --env, --all or other --target", hint="run vidctl deploy PLAN.json alone"
            )
        names, target = list(saved.specs), saved.target
    choices = Choices(timeout_s=how.timeout, waits=how.wait, rolls_back=not how.no_rollback, adopts=how.adopt)
    begun = deployment.begin(said.report(), names, scope.every, scope.env, target)
    begun.deploy(choices, saved=saved, asks=not how.yes and saved is None)
