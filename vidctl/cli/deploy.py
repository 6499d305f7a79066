"""`vidctl plan`, `vidctl deploy` and `vidctl jobs`."""

from __future__ import annotations

import json
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
    from vidctl.cli import deploy_context, outputs
    from vidctl.cli.report import Report
    from vidctl.deploy import checks, plan_file, planning
    from vidctl.errors import UsageError

    is_printed = output is not None and str(output) == "-"
    if is_printed and as_json:
        raise UsageError("--json and -o - both write to stdout", hint="save the plan with -o FILE.json")
    if output is not None and not is_printed:
        outputs.Inputs(()).spare("-o", output)
        plan_file.check(output)
    context = deploy_context.begin(Report(quiet=quiet, verbose=verbose, as_json=as_json), names, every, env, target)
    secrets = context.project.environ
    known = checks.check(context.specs, context.place, secrets=secrets, adopts=adopt, writes=False)
    planned = planning.plan_all(context.specs, context.place, known, secrets=secrets)
    context.warn(planned, known)
    context.warn_of_images(planned)
    context.show(planned, is_result=not is_printed)
    for each in planned:
        summary = f"{each.spec.key}: {deploy_context.summary(each)}"
        if is_printed:
            context.report.note(summary)
        else:
            deploy_context.say(context.report, summary)
    if is_printed:
        outputs.say(plan_file.text(context.place.name, planned))
    elif output is not None:
        plan_file.save(output, context.place.name, planned)
    if as_json:
        deploy_context.print_documents(context.documents(planned, known), one=not context.are_many)
    return CHANGES_FOUND if detailed_exitcode and any(each.has_work for each in planned) else 0


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
    from vidctl.cli import deploy_context
    from vidctl.cli.report import Report
    from vidctl.deploy import lock, plan_file, planning, rollout
    from vidctl.deploy.apply import Choices
    from vidctl.deploy.checks import check
    from vidctl.errors import UsageError

    if dry_run:
        plan(names, every, env, target, adopt, None, False, as_json, quiet, verbose, debug)
        return
    report = Report(quiet=quiet, verbose=verbose, as_json=as_json)
    saved = plan_file.load(names or [])
    if saved is not None:
        if env or every or (target and target != saved.target):
            raise UsageError(
                "a saved plan takes no --env, --all or other --target", hint="run vidctl deploy PLAN.json alone"
            )
        names, target = list(saved.specs), saved.target
    context = deploy_context.begin(report, names, every, env, target)

    secrets = context.project.environ
    choices = Choices(timeout_s=timeout, waits=wait, rolls_back=not no_rollback, adopts=adopt)
    keys = [each.key for each in context.specs]
    with lock.held(context.project.root, context.place.name, keys, timeout_s=timeout, notify=report.step):
        known = check(context.specs, context.place, secrets=secrets, adopts=adopt)
        planned = planning.plan_all(context.specs, context.place, known, secrets=secrets)
        if saved is not None:
            saved.require_current(planned)
        elif not yes:
            context.require_someone_to_ask(planned)
        context.warn(planned, known)
        with report.live() as notify:
            planned = rollout.provide(planned, context.place, known, secrets=secrets, notify=notify)
        context.warn_of_images(planned)
        context.show(planned)
        if not yes and saved is None:
            context.ask(planned)
        with report.live() as notify:
            outcomes = rollout.carry_out(
                planned, context.place, secrets=secrets, choices=choices, notify=notify, keep=context.keep
            )
        context.finish(outcomes)


def jobs(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest.")] = 20,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the jobs that vidctl sent from this project.

    The newest first, each as vidctl last saw it.  A job that is still IN_QUEUE or IN_PROGRESS here although vidctl is
    gone may be running, and billed.
    """
    import dataclasses
    import os
    import time

    from vidctl.cli import report
    from vidctl.journal import Journal
    from vidctl.project import settings

    entries = Journal(settings.open_project(Path.cwd(), os.environ).journal_file).jobs(limit=limit)
    if as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2))  # noqa: T201
        return
    when = {entry.id: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.submitted_at)) for entry in entries}
    report.table(
        [(when[entry.id], entry.status, entry.id, entry.endpoint_id, entry.what) for entry in entries],
        header=("sent", "status", "job", "endpoint", "what"),
        empty="no jobs sent from this project",
    )
