"""`vidctl plan` and `vidctl deploy`."""

from __future__ import annotations

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
All = Annotated[bool, typer.Option("--all", help="All specs in configs/; with -e, all that have the overlay.")]
Adopt = Annotated[bool, typer.Option("--adopt", help="Take over an endpoint that vidctl or this spec did not make.")]

CHANGES_FOUND = 10


def plan(
    names: Names = None,
    every: All = False,
    env: options.Environment = None,
    target: options.Target = None,
    adopt: Adopt = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.json|-", help="Save the plan, for vidctl deploy FILE.json."),
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help=f"Exit with {CHANGES_FOUND} when there are changes.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> int:
    """Show what a deploy would change, and what that costs.  Changes nothing.

    Compares the spec, what was last applied, and what is live; what somebody changed elsewhere is marked as drift.
    """
    from vidctl.cli import deployment, outputs
    from vidctl.cli.report import Report
    from vidctl.deploy import plan_file
    from vidctl.errors import UsageError

    if str(output) == "-" and as_json:
        raise UsageError("--json and -o - both write to stdout", hint="save the plan with -o FILE.json")
    if output is not None and str(output) != "-":
        outputs.Inputs(()).spare("-o", output)
        plan_file.check(output)
    report = Report(quiet=quiet, verbose=verbose, as_json=as_json)
    has_work = deployment.begin(report, names, every, env, target).plan(adopts=adopt, output=output)
    return CHANGES_FOUND if detailed_exitcode and has_work else 0


def deploy(
    names: NamesOrPlan = None,
    every: All = False,
    env: options.Environment = None,
    target: options.Target = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="The same as `vidctl plan`.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the smoke test has passed.")] = True,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="5m",
            parser=options.duration("--timeout", least=1),
            help="How long to wait for the smoke test, and for a lock.",
        ),
    ] = 600,
    no_rollback: Annotated[
        bool, typer.Option("--no-rollback", help="Keep a version that fails its smoke test.")
    ] = False,
    adopt: Adopt = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Create or update endpoints, and smoke test them.

    Checks everything first, builds and pushes the image where its content is new, compares the spec with what is live,
    asks, writes only what differs, reads it back, sends the smoke test and saves the endpoint's id in .env.  A second
    run changes nothing.  A version that fails its smoke test is replaced by the last good one.
    """
    from vidctl.cli import deployment
    from vidctl.cli.report import Report
    from vidctl.deploy import plan_file
    from vidctl.deploy.apply import Choices
    from vidctl.errors import UsageError

    if dry_run:
        plan(names, every, env, target, adopt, None, False, as_json, quiet, verbose, debug)
        return
    saved = plan_file.load(names or [])
    if saved is not None:
        if env or every or (target and target != saved.target):
            raise UsageError(
                "a saved plan takes no --env, --all or other --target", hint="run vidctl deploy PLAN.json alone"
            )
        names, target = list(saved.specs), saved.target
    report = Report(quiet=quiet, verbose=verbose, as_json=as_json)
    choices = Choices(timeout_s=timeout, waits=wait, rolls_back=not no_rollback, adopts=adopt)
    deployment.begin(report, names, every, env, target).deploy(choices, saved=saved, asks=not yes and saved is None)
