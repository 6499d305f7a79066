"""One `plan` or `deploy`, step by step: its project, target and specs, what it shows, asks and saves."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidctl import spec
from vidctl.cli import options, specs
from vidctl.cli.output import say
from vidctl.deploy import checks, connect, cost, lock, plan_file, planning, rollout
from vidctl.errors import SeveralError, UsageError, VidctlError
from vidctl.kinds import KINDS
from vidctl.project import env_file, settings

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.deploy.apply import Choices, Deployed
    from vidctl.deploy.plan_file import SavedPlan
    from vidctl.deploy.planning import Planned
    from vidctl.deploy.rollout import Outcome
    from vidctl.deploy.survey import Survey
    from vidctl.deploy.target import Target
    from vidctl.project.settings import Project
    from vidctl.runpod.types import Catalogue
    from vidctl.spec import EndpointSpec


@dataclass(frozen=True)
class Deployment:
    """One command's project, target and specs; `are_many` if it may have had several, whatever their number."""

    report: Report
    project: Project
    place: Target
    specs: Sequence[EndpointSpec]
    are_many: bool
    _unkept: dict[str, VidctlError] = field(default_factory=dict)

    def plan(self, *, adopts: bool, output: Path | None) -> bool:
        """Show what a deploy would change, and save that to a file or, named -, to stdout; whether there is work."""
        is_printed, secrets = str(output) == "-", self.project.environ
        known = checks.check(self.specs, self.place, secrets=secrets, adopts=adopts, writes=False)
        planned = planning.plan_all(self.specs, self.place, known, secrets=secrets)
        self._warn(planned, known)
        self._warn_of_images(planned)
        self._show(planned, is_result=not is_printed)
        for each in planned:
            (self.report.note if is_printed else self._say)(f"{each.spec.key}: {_summary(each)}")
        if is_printed:
            say(plan_file.text(self.place.name, planned))
        elif output is not None:
            plan_file.save(output, self.place.name, planned)
        if self.report.as_json:
            self._print_documents(self._documents(planned, known))
        return any(each.has_work for each in planned)

    def deploy(self, choices: Choices, *, saved: SavedPlan | None, asks: bool) -> None:
        """Check all, build what is new, show and ask what would change, carry it out; raise what failed."""
        keys = [each.key for each in self.specs]
        with lock.held(self.project.root, self.place.name, keys, timeout_s=choices.timeout_s, notify=self.report.step):
            planned = self._provided(choices, saved=saved, asks=asks)
            self._warn_of_images(planned)
            self._show(planned)
            if asks:
                self._ask(planned)
            with self.report.live() as notify:
                outcomes = rollout.carry_out(
                    planned,
                    self.place,
                    secrets=self.project.environ,
                    choices=choices,
                    notify=notify,
                    keep=self._keep,
                )
            self._finish(outcomes)

    def _provided(self, choices: Choices, *, saved: SavedPlan | None, asks: bool) -> list[Planned]:
        """The plans, with their images built and pushed."""
        secrets = self.project.environ
        known = checks.check(self.specs, self.place, secrets=secrets, adopts=choices.adopts)
        planned = planning.plan_all(self.specs, self.place, known, secrets=secrets)
        if saved is not None:
            saved.require_current(planned)
        elif asks:
            self._require_someone_to_ask(planned)
        self._warn(planned, known)
        with self.report.live() as notify:
            return rollout.provide(planned, self.place, known, secrets=secrets, notify=notify)

    def _show(self, planned: Sequence[Planned], *, is_result: bool = False) -> None:
        """Print what differs and what it costs."""
        if self.report.as_json or (self.report.quiet and not is_result):
            return
        catalogue = self._catalogue(planned)
        for each in planned:
            if not each.plan.is_empty:
                self.report.plan(each.plan, catalogue, is_result=is_result)

    def _warn(self, planned: Sequence[Planned], known: Survey) -> None:
        """Print what a person should know beforehand."""
        for warning in checks.warnings([each.plan for each in planned], known, self.place.journal):
            self.report.warn(warning)

    def _warn_of_images(self, planned: Sequence[Planned]) -> None:
        """Print what may keep others from an image, asked of its registry only where something changes."""
        for each in planned:
            if not each.plan.is_empty:
                for doubt in self.place.images.doubts(each.spec, each.plan.image):
                    self.report.warn(doubt)

    def _require_someone_to_ask(self, planned: Sequence[Planned]) -> None:
        """Raise UsageError, before anything is built, where something that exists would change and nobody is there."""
        changed = [each.spec.key for each in planned if each.plan.action == "update"]
        if changed and not self.report.can_ask:
            raise UsageError(
                f"{', '.join(changed)}: would change, but confirmation needs a terminal", hint="confirm with --yes"
            )

    def _ask(self, planned: Sequence[Planned]) -> None:
        """Let the user say no; raise UsageError then.  On the local runtime something new harms nobody."""
        confirmed = ("update",) if self.place.name == "local" else ("update", "create")
        keys = [each.spec.key for each in planned if each.plan.action in confirmed]
        by_hand = ", and set back what was changed by hand" if any(each.plan.sets_back for each in planned) else ""
        question = f"deploy {', '.join(keys)} to {self.place.name}{by_hand}?"
        if keys and self.report.can_ask and not self.report.confirm(question):
            raise UsageError("aborted; nothing was changed")

    def _documents(self, planned: Sequence[Planned], known: Survey) -> list[dict[str, Any]]:
        """What --json prints of plans."""
        catalogue = self._catalogue(planned)
        warnings = checks.warnings([each.plan for each in planned], known, self.place.journal)
        return [
            {
                "schema": "vidctl.plan/1",
                "target": self.place.name,
                **_document(each, catalogue),
                "is_proven": each.is_proven,
                "warnings": warnings,
            }
            for each in planned
        ]

    def _finish(self, outcomes: Sequence[Outcome]) -> None:
        """Remember and print what was deployed; raise what failed."""
        failures: list[VidctlError] = []
        documents: list[dict[str, Any]] = []
        for outcome in outcomes:
            if isinstance(outcome.result, VidctlError):
                failures.append(outcome.result)
                continue
            self._tell(outcome.planned, outcome.result)
            made = {"endpoint_id": outcome.result.endpoint_id, "is_proven": outcome.result.is_proven}
            documents.append(
                {"schema": "vidctl.deploy/1", "target": self.place.name, **_document(outcome.planned, None), **made}
            )
        if self.report.as_json and documents:
            self._print_documents(documents)
        if failures := [*failures, *self._unkept.values()]:
            raise SeveralError.of(failures)

    def _keep(self, key: str, endpoint_id: str) -> None:
        """Put an endpoint's id into .env; where that cannot be, say so now, for it must not be lost, and fail later."""
        name = settings.endpoint_id_name(key, self.place.name)
        try:
            if settings.open_project(self.project.root, {}).environ.get(name) != endpoint_id:
                env_file.remember(self.project.env_file, name, endpoint_id)
                self.report.detail(f"saved {name} in {self.project.env_file}")
        except VidctlError as error:
            self.report.warn(f"{key}: its endpoint is {endpoint_id}, which is not in .env ({name})")
            self._unkept[key] = error

    def _tell(self, each: Planned, done: Deployed) -> None:
        where = f"endpoint {done.endpoint_id} on {self.place.name}"
        if not each.has_work:
            self._say(f"{each.spec.key}: up to date ({where})")
        elif not done.is_proven:
            self._say(f"{each.spec.key}: {where} is saved; its smoke test was not awaited")
        elif done.smoke is None and not each.spec.workers.min:
            self._say(f"{each.spec.key}: {where} is saved; no smoke test was sent")
        else:
            self._say(f"{each.spec.key}: {where} is ready")
            if each.spec.task is not None:
                which = f" --endpoint {each.spec.key}" if "." in each.spec.key else ""
                is_elsewhere = self.place.name == "local" and "RUNPOD_API_KEY" in self.project.environ
                where = " --target local" if is_elsewhere else ""
                self.report.note(f"try: vidctl {each.spec.task} {KINDS[each.spec.task].example}{which}{where}")

    def _catalogue(self, planned: Sequence[Planned]) -> Catalogue | None:
        """RunPod's prices, asked for only where something changes; the shipped table serves as well."""
        if all(each.plan.is_empty for each in planned):
            return None
        with suppress(VidctlError):
            return self.place.control.catalogue()
        return None

    def _print_documents(self, documents: list[dict[str, Any]]) -> None:
        """Print one JSON document: an object, or a list."""
        print(json.dumps(documents if self.are_many else documents[0], indent=2))  # noqa: T201

    def _say(self, text: str) -> None:
        """Print a result for people."""
        if not self.report.as_json:
            print(text)  # noqa: T201


def begin(report: Report, names: list[str] | None, every: bool, env: str | None, target: str | None) -> Deployment:
    """Find the project, the target and the specs; raise UsageError or SpecError for what cannot be meant."""
    project = settings.open_project(Path.cwd(), os.environ)
    if every == bool(names):
        there = ", ".join(specs.all_of(project.root, env))
        raise UsageError("name the specs, or use --all", hint=f"available: {there}")
    chosen, is_default = settings.choose_target(project, target, default=spec.settings_of(project.root).target)
    if is_default:
        report.note(options.LOCAL_BY_DEFAULT)
    wanted = names or specs.all_of(project.root, env)
    found = spec.load_all(wanted, root=project.root, environ=project.environ, overlay=env)
    settings.require_own_names(project.root, [each.key for each in found])
    if chosen == "local":
        found = [each.with_local() for each in found]
    place = connect.deploy_target(project, chosen, notify=report.step)
    if every:
        found = _fitting(found, place, report)
    return Deployment(report, project, place, found, are_many=every or len(found) > 1)


def _fitting(found: Sequence[EndpointSpec], place: Target, report: Report) -> list[EndpointSpec]:
    """Those that can run on the target, with a note for each of the others; raise what is wrong if there is none."""
    unfit = {each.key: error for each in found if (error := place.images.unfit(each))}
    if len(unfit) == len(found):
        raise SeveralError.of(list(unfit.values()))
    for error in unfit.values():
        report.note(f"skipped: {error.message}")
    return [each for each in found if each.key not in unfit]


def _summary(each: Planned) -> str:
    """What a plan would do, in a line."""
    if each.plan.is_empty:
        return (
            "up to date"
            if each.is_proven
            else "up to date, but it has not passed its smoke test: deploy sends it again"
        )
    return f"would {each.plan.action} endpoint {each.plan.endpoint.name}; nothing was changed"


def _document(each: Planned, catalogue: Catalogue | None) -> dict[str, Any]:
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
            "before": cost.cost(todo.before, catalogue).to_json() if todo.before else None,
            "after": cost.cost(todo.endpoint, catalogue).to_json(),
            "as_of": cost.priced_on(catalogue),
        },
        "stock": cost.stock(todo.endpoint, catalogue),
    }
