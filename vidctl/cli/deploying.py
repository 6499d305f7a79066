"""`vidctl plan`, `vidctl deploy` and `vidctl jobs`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidctl.cli import options, specs

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.deploy import Survey, Target
    from vidctl.resources import Catalogue
    from vidctl.rollout import Outcome, Planned
    from vidctl.settings import Project
    from vidctl.spec import EndpointSpec

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
Adopt = Annotated[bool, typer.Option("--adopt", help="Take over an endpoint that vidctl, or this spec, did not make.")]

CHANGES_FOUND = 10


def plan(
    names: Names = None,
    every: All = False,
    env: options.Environment = None,
    target: options.Target = None,
    adopt: Adopt = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save the plan: vidctl deploy FILE does it.")
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help=f"Exit with {CHANGES_FOUND} when there is something to do.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> int:
    """Show what a deploy would change, and what that costs.  Changes nothing.

    Compares the spec, what was last applied, and what is live; what somebody changed elsewhere is marked as drift.
    """
    from vidctl import deploy, planfile, rollout
    from vidctl.cli.report import Report

    scene = _scene(Report(quiet=quiet, verbose=verbose, as_json=as_json), names, every, env, target)
    secrets = scene.project.environ
    known = deploy.check(scene.specs, scene.place, secrets=secrets, adopts=adopt)
    planned = rollout.plan_all(scene.specs, scene.place, known, secrets=secrets)
    scene.warn(planned, known)
    scene.show(planned)
    for each in planned:
        _say(scene.report, f"{each.spec.key}: {_summary(each)}")
    if output is not None:
        planfile.save(output, scene.place.name, planned)
    if as_json:
        _print(scene.documents(planned, known), one=not scene.are_many)
    return CHANGES_FOUND if detailed_exitcode and any(each.has_work for each in planned) else 0


def deploy(
    names: NamesOrPlan = None,
    every: All = False,
    env: options.Environment = None,
    target: options.Target = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="The same as `vidctl plan`.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has answered its smoke test.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the smoke test, and for a lock.")] = 600,
    no_rollback: Annotated[
        bool, typer.Option("--no-rollback", help="Leave a version in place that fails its smoke test.")
    ] = False,
    adopt: Adopt = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Make endpoints as their specs say, and prove that they answer.

    Checks everything first, builds and pushes the image where its content is new, compares the spec with what is live,
    asks, writes only what differs, reads it back, sends the smoke test and puts the endpoint's id into .env.  Doing it
    again changes nothing.  A version that fails its smoke test is replaced by the last good one.
    """
    from vidctl import planfile, rollout
    from vidctl.cli.report import Report
    from vidctl.deploy import Choices, check
    from vidctl.errors import UsageError

    if dry_run:
        plan(names, every, env, target, adopt, None, False, as_json, quiet, verbose, debug)
        return
    report = Report(quiet=quiet, verbose=verbose, as_json=as_json)
    saved = planfile.load(names or [])
    if saved is not None:
        if env or every or (target and target != saved.target):
            raise UsageError("a saved plan says what is deployed and where to", hint="give the plan alone")
        names, target = list(saved.specs), saved.target
    scene = _scene(report, names, every, env, target)

    secrets = scene.project.environ
    choices = Choices(timeout_s=timeout, waits=wait, rolls_back=not no_rollback, adopts=adopt)
    with scene.locked(timeout):
        known = check(scene.specs, scene.place, secrets=secrets, adopts=adopt)
        planned = rollout.plan_all(scene.specs, scene.place, known, secrets=secrets)
        if saved is not None:
            saved.require_current(planned)
        elif not yes:
            scene.require_someone_to_ask(planned)
        scene.warn(planned, known)
        with report.live() as notify:
            planned = rollout.provide(planned, scene.place, known, secrets=secrets, notify=notify)
        scene.show(planned)
        if not yes and saved is None:
            scene.ask(planned)
        with report.live() as notify:
            outcomes = rollout.carry_out(planned, scene.place, secrets=secrets, choices=choices, notify=notify)
        scene.finish(outcomes)


@dataclass(frozen=True)
class _Scene:
    """One command's project, target and specs; `are_many` if it may have had several, whatever their number."""

    report: Report
    project: Project
    place: Target
    specs: Sequence[EndpointSpec]
    are_many: bool

    def show(self, planned: Sequence[Planned]) -> None:
        """Print what differs and what it costs."""
        if self.report.is_silent:
            return
        catalogue = self._catalogue(planned)
        for each in planned:
            if not each.plan.is_empty:
                self.report.plan(each.plan, catalogue)

    def warn(self, planned: Sequence[Planned], known: Survey) -> None:
        """Print what a person should know beforehand."""
        from vidctl import deploy

        for warning in deploy.warnings([each.plan for each in planned], known, self.place.journal):
            self.report.warn(warning)

    def locked(self, timeout_s: float) -> AbstractContextManager[None]:
        """Keep other deploys of this project from the same endpoints."""
        from vidctl import rollout

        keys = [each.key for each in self.specs]
        locks = self.project.root / ".vidctl" / "locks"
        return rollout.locked(keys, self.place.name, locks, timeout_s=timeout_s, notify=self.report.step)

    def require_someone_to_ask(self, planned: Sequence[Planned]) -> None:
        """Raise UsageError, before anything is built, where something that exists would change and nobody is there."""
        from vidctl.errors import UsageError

        changed = [each.spec.key for each in planned if each.plan.action == "update"]
        if changed and not self.report.can_ask:
            raise UsageError(
                f"{', '.join(changed)}: would be changed, and nobody can be asked here", hint="say so with -y"
            )

    def ask(self, planned: Sequence[Planned]) -> None:
        """Let the user say no; raise UsageError then.  On the local runtime something new harms nobody."""
        from vidctl.errors import UsageError

        asked = ("update",) if self.place.name == "local" else ("update", "create")
        keys = [each.spec.key for each in planned if each.plan.action in asked]
        if keys and self.report.can_ask and not self.report.confirm(f"deploy {', '.join(keys)} to {self.place.name}?"):
            raise UsageError("nothing was changed: you said no")

    def documents(self, planned: Sequence[Planned], known: Survey) -> list[dict[str, Any]]:
        """What --json prints of plans."""
        from vidctl import deploy

        catalogue = self._catalogue(planned)
        warnings = deploy.warnings([each.plan for each in planned], known, self.place.journal)
        return [
            {"target": self.place.name, **_document(each, catalogue), "is_proven": each.is_proven, "warnings": warnings}
            for each in planned
        ]

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Remember and print what was deployed; raise what failed."""
        from vidctl.errors import Several, VidctlError

        failures: list[VidctlError] = []
        documents: list[dict[str, Any]] = []
        for outcome in outcomes:
            if isinstance(outcome.result, VidctlError):
                failures.append(outcome.result)
                continue
            self._remember(outcome.planned.spec.key, outcome.result.endpoint_id)
            self._tell(outcome)
            made = {"endpoint_id": outcome.result.endpoint_id, "is_proven": outcome.result.is_proven}
            documents.append({"target": self.place.name, **_document(outcome.planned, None), **made})
        if self.report.as_json and documents:
            _print(documents, one=not self.are_many)
        if failures:
            raise Several.of(failures)

    def _remember(self, key: str, endpoint_id: str) -> None:
        from vidctl import settings

        name = settings.endpoint_id_name(key, self.place.name)
        if settings.open_project(self.project.root, {}).environ.get(name) != endpoint_id:
            settings.remember(self.project.env_file, name, endpoint_id)
            self.report.detail(f"{name} is in {self.project.env_file}")

    def _tell(self, outcome: Outcome) -> None:
        each, done = outcome.planned, outcome.result
        where = f"endpoint {getattr(done, 'endpoint_id', '')} on {self.place.name}"
        if not each.has_work:
            _say(self.report, f"{each.spec.key}: up to date ({where})")
        elif not getattr(done, "is_proven", False):
            _say(self.report, f"{each.spec.key}: {where} is saved; nobody waited for it to answer")
        elif getattr(done, "smoke", None) is None and not each.spec.workers.min:
            _say(self.report, f"{each.spec.key}: {where} is saved; nothing was asked of it")
        else:
            _say(self.report, f"{each.spec.key}: {where} is ready")
            if each.spec.task == "detect":
                which = f" --endpoint {each.spec.key}" if "." in each.spec.key else ""
                is_elsewhere = self.place.name == "local" and "RUNPOD_API_KEY" in self.project.environ
                where = " --target local" if is_elsewhere else ""
                self.report.note(f"try: vidctl detect frame.jpg{which}{where}")

    def _catalogue(self, planned: Sequence[Planned]) -> Catalogue | None:
        """RunPod's prices, asked for only where something changes; the shipped table serves as well."""
        from vidctl.errors import VidctlError

        if all(each.plan.is_empty for each in planned):
            return None
        with suppress(VidctlError):
            return self.place.control.catalogue()
        return None


def _scene(report: Report, names: list[str] | None, every: bool, env: str | None, target: str | None) -> _Scene:
    import os

    from vidctl import settings, spec, targets
    from vidctl.errors import UsageError

    project = settings.open_project(Path.cwd(), os.environ)
    if every == bool(names):
        there = ", ".join(specs.all_of(project.root, env))
        raise UsageError("name the specs, or say --all", hint=f"there are: {there}")
    chosen, is_default = settings.choose_target(project, target, default=spec.settings_of(project.root).target)
    if is_default:
        report.note("RUNPOD_API_KEY is not set: this is the local runtime (--target local)")
    wanted = names or specs.all_of(project.root, env)
    found = spec.load_all(wanted, root=project.root, environ=project.environ, overlay=env)
    settings.require_own_names(project.root, [each.key for each in found])
    if chosen == "local":
        found = [each.with_local() for each in found]
    place = targets.deploy_target(project, chosen, notify=report.step)
    return _Scene(report, project, place, found, are_many=every or len(found) > 1)


def _summary(each: Planned) -> str:
    if each.plan.is_empty:
        return (
            "up to date" if each.is_proven else "up to date, but it has not passed its smoke test: deploy asks it again"
        )
    return f"would {each.plan.action} endpoint {each.plan.endpoint.name}; nothing was changed"


def _document(each: Planned, catalogue: Catalogue | None) -> dict[str, Any]:
    import dataclasses

    from vidctl import plan as plans

    todo = each.plan
    image = todo.image.digest or todo.image.tag
    return {
        "spec": each.spec.key,
        "up_to_date": todo.is_empty,
        "action": todo.action,
        "endpoint": todo.endpoint.id,
        "image": {"name": image, "is_ready": todo.image.digest is not None},
        "changes": [dataclasses.asdict(change) for change in todo.changes],
        "replaces_workers": todo.replaces_workers,
        "cost": {
            "before": plans.cost(todo.before, catalogue).to_json() if todo.before else None,
            "after": plans.cost(todo.endpoint, catalogue).to_json(),
            "as_of": plans.priced_on(catalogue),
        },
        "stock": plans.stock(todo.endpoint, catalogue),
    }


def _print(documents: list[dict[str, Any]], *, one: bool) -> None:
    print(json.dumps(documents[0] if one else documents, indent=2))  # noqa: T201


def _say(report: Report, text: str) -> None:
    if not report.is_silent:
        print(text)  # noqa: T201


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

    from vidctl import settings
    from vidctl.cli import report
    from vidctl.journal import Journal

    entries = Journal(settings.open_project(Path.cwd(), os.environ).journal_file).jobs(limit=limit)
    if as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2))  # noqa: T201
        return
    when = {entry.id: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.submitted_at)) for entry in entries}
    report.table(
        [(when[entry.id], entry.status, entry.id, entry.endpoint_id, entry.what) for entry in entries],
        header=("sent", "status", "job", "endpoint", "what"),
    )
