"""`vidctl scale`."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.deploy.plan import Plan
    from vidctl.deploy.target import Target
    from vidctl.project.settings import Project
    from vidctl.runpod.types import Catalogue
    from vidctl.spec import EndpointSpec
    from vidctl.spec.edit import Edited


@dataclass(frozen=True)
class ScaleOptions:
    """What to change, and how."""

    least: Annotated[int | None, typer.Option("--min", min=0, max=1000, help="Workers that are always there.")] = None
    most: Annotated[int | None, typer.Option("--max", min=0, max=1000, help="Workers at most; 0 stops it.")] = None
    idle: Annotated[
        float | None,
        typer.Option(
            "--idle",
            metavar="30s",
            parser=options.duration("--idle", least=1),
            help="How long a worker without a job stays.",
        ),
    ] = None
    write: Annotated[bool, typer.Option("--write", help="Write what is then live into the spec, too.")] = False
    adopt: Annotated[bool, typer.Option("--adopt", help="Scale even what vidctl or this spec did not make.")] = False

    def values(self) -> dict[str, int]:
        said = {"workers_min": self.least, "workers_max": self.most, "idle_timeout_s": self.idle}
        return {name: int(value) for name, value in said.items() if value is not None}


@options.spread
def scale(
    name: Annotated[str, options.changed_argument()],
    *,
    wanted: ScaleOptions,
    how: options.ChangeOptions,
    env: options.Environment = None,
    target: options.Target = None,
    said: options.ReportOptions,
) -> None:
    """Change how many workers an endpoint has, and how long they idle, without a deploy.

    Prints the lines that the spec would need; --write changes them there.  Without, the next deploy asks before it sets
    them back, and `vidctl plan` says when it was scaled by hand.
    """
    from vidctl.cli import targets
    from vidctl.deploy import by_hand
    from vidctl.deploy import scale as scaling
    from vidctl.errors import UsageError
    from vidctl.project import configs

    if not wanted.values() and not wanted.write:
        raise UsageError("nothing to change", hint="give --min, --max or --idle")
    report = said.report()
    project, place = targets.deployed(report, target)
    word = configs.key_of(name, env)
    with by_hand.held(word, project, place, adopts=wanted.adopt, notify=report.step) as (key, live):
        spec = _spec(key, project, place)
        todo = scaling.plan(key, live, place, wanted=wanted.values(), spec=spec)
        change = _Change(report, place, todo, spec, _edit(spec, todo, place) if wanted.write else None)
        change.show()
        if not how.dry_run:
            change.carry_out(how)
    change.tell(is_done=not how.dry_run)


@dataclass(frozen=True)
class _Change:
    """One endpoint that is scaled; `edit` is what its spec is to say then."""

    report: Report
    place: Target
    todo: Plan
    spec: EndpointSpec | None
    edit: Edited | None

    @property
    def _writes(self) -> bool:
        return self.edit is not None and self.edit.is_changed

    def show(self) -> None:
        from vidctl.deploy import checks

        if not self.todo.is_empty:
            self.report.plan(self.todo, self._catalogue())
            for warning in checks.over_quota([self.todo], self.place.control.account()):
                self.report.warn(warning)
        for sentence in self.edit.left if self.edit else ():
            self.report.warn(sentence)

    def carry_out(self, how: options.ChangeOptions) -> None:
        """Ask, scale, and write the spec."""
        from vidctl.deploy import scale as scaling

        what = f"scale {self.todo.key} on {self.place.name}" if not self.todo.is_empty else ""
        both = " and ".join(filter(None, (what, f"write {self._file()}" if self._writes else "")))
        if both:
            how.confirmed(f"{both}?", self.report, "changed")
        if not self.todo.is_empty:
            with self.report.live() as notify:
                scaling.carry_out(self.todo, self.place, spec=self.spec, notify=notify)
        if self.edit and self._writes:
            self.edit.write()
            if not self.edit.left:
                scaling.agreed(self.todo.key, self.todo.endpoint, self.place)

    def tell(self, *, is_done: bool) -> None:
        """Print what is live now, and what the spec says of it."""
        from vidctl.spec import edit

        live, lines = self.todo.endpoint, edit.lines(self._differing())
        if self.report.as_json:
            print(json.dumps(self._document(lines, is_done=is_done), indent=2))  # noqa: T201
            return
        verb = "has" if is_done else "would have"
        workers = f"{live.workers_min} to {live.workers_max} workers, idle {live.idle_timeout_s}s"
        already = " already" if self.todo.is_empty and is_done else ""
        print(f"{self.todo.key}: endpoint {live.id} on {self.place.name} {verb}{already} {workers}")  # noqa: T201
        if self._writes and is_done:
            print(f"{self.todo.key}: wrote {self._file()}")  # noqa: T201
        elif lines and self.spec:
            self.report.note(f"{self._file()} says otherwise; --write would change it to:")
            print(lines)  # noqa: T201

    def _document(self, lines: str, *, is_done: bool) -> dict[str, Any]:
        import dataclasses

        live = self.todo.endpoint
        return {
            "schema": "vidctl.scale/1",
            "spec": self.todo.key,
            "target": self.place.name,
            "endpoint_id": live.id,
            "workers_min": live.workers_min,
            "workers_max": live.workers_max,
            "idle_s": live.idle_timeout_s,
            "changes": [dataclasses.asdict(each) for each in self.todo.changes],
            "is_done": is_done,
            "yaml": lines,
            "written": str(self._file()) if self._writes and is_done else None,
            "left": list(self.edit.left) if self.edit else [],
        }

    def _differing(self) -> dict[tuple[str, ...], str]:
        from vidctl.deploy import scale as scaling

        return scaling.differing(self.spec, self.todo.endpoint, self.place) if self.spec else {}

    def _file(self) -> Any:
        from vidctl.spec.files import shown

        return shown(self.spec.path) if self.spec else None

    def _catalogue(self) -> Catalogue | None:
        from vidctl.errors import VidctlError

        with suppress(VidctlError):
            return self.place.control.catalogue()
        return None


def _spec(key: str, project: Project, place: Target) -> EndpointSpec | None:
    """What the spec says on this target; None for one that is there no more, or is wrong: scaling needs none."""
    from vidctl import spec
    from vidctl.errors import SpecError

    with suppress(SpecError):
        (found,) = spec.load_all([key], root=project.root, environ=project.environ)
        return found.with_local() if place.name == "local" else found
    return None


def _edit(spec: EndpointSpec | None, todo: Plan, place: Target) -> Edited | None:
    """What the spec's file would say; None where it says all of it; raise where it cannot be."""
    from vidctl.deploy import scale as scaling
    from vidctl.errors import UsageError
    from vidctl.spec import edit

    if spec is None:
        raise UsageError(f"--write: no valid spec {todo.key}", hint=f"vidctl validate {todo.key}")
    values = scaling.differing(spec, todo.endpoint, place)
    return edit.edited(spec.path, values) if values else None
