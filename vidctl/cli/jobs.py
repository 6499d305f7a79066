"""`vidctl jobs`: the jobs that were sent from this project, and any other by its id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidctl.cli import completion, options, targets

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.journal import JobEntry, Journal
    from vidctl.operations.jobs import SentJob
    from vidctl.runpod.jobs import Job

_LIST, _JOB, _RESULT = "vidctl.jobs/1", "vidctl.job/1", "vidctl.result/1"

app = typer.Typer(
    help="List the jobs sent from this project, and show, wait for, cancel or retry one.", invoke_without_command=True
)


Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="A job; the beginning of its id is enough.", autocompletion=completion.job_ids),
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many of the newest.")]
Timeout = Annotated[
    float, typer.Option(metavar="5m", parser=options.duration("--timeout", least=0.1), help="How long to wait.")
]


@dataclass(frozen=True)
class SentJobOptions:
    """Whose job it is, where this project's journal does not know it."""

    endpoint: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose job it is, of one sent elsewhere.", autocompletion=options.specs),
    ] = None
    endpoint_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The same, by the endpoint's id.", autocompletion=completion.endpoint_ids),
    ] = None
    target: options.Target = None

    def find(self, word: str, report: Report) -> SentJob:
        """The job of this id; raise UsageError where it is not known whose it is."""
        from vidctl.errors import UsageError
        from vidctl.operations.jobs import SentJob, find_entry
        from vidctl.operations.names import find_id

        if self.endpoint and self.endpoint_id:
            raise UsageError("both --endpoint and --endpoint-id are given", hint="give one of the two")
        if self.endpoint is None and self.endpoint_id is None:
            entry = find_entry(word, _journal())
            return SentJob(entry.id, entry.endpoint_id, targets.live(report, entry.target), entry)
        place = targets.live(report, self.target)
        endpoint_id = self.endpoint_id or find_id(self.endpoint or "", place)
        known = [each for each in place.journal.find_jobs(word) if each.id == word]
        return SentJob(word, endpoint_id, place, known[0] if known else None)


@app.callback()
@options.spread
def jobs(context: typer.Context, limit: Limit = 20, *, said: options.ReportOptions) -> None:
    """List the jobs sent from this project, and show, wait for, cancel or retry one.

    The newest first, each as vidctl last saw it.  A job that is still IN_QUEUE or IN_PROGRESS here although vidctl is
    gone may be running, and billed.
    """
    if context.invoked_subcommand is None:
        _list(limit, said)


@app.command("list")
@options.spread
def list_jobs(limit: Limit = 20, *, said: options.ReportOptions) -> None:
    """List the jobs sent from this project, newest first, as `vidctl jobs` alone does."""
    _list(limit, said)


@app.command()
@options.spread
def show(job: Id, *, of: SentJobOptions, said: options.ReportOptions) -> None:
    """Show a job: where it is, how long it waited and ran, on which worker, and why it failed.

    RunPod tells how a job is that vidctl has not seen the end of.
    """
    from vidctl.errors import JobFailedError
    from vidctl.operations.jobs import find_entry

    found, now = of.find(job, said.report()), None
    if found.entry is None or found.entry.ended_at is None:
        try:
            now = found.look()
        except JobFailedError:
            if found.entry is None:
                raise  # else the journal was told that RunPod no longer has it
    if found.entry is None and now is not None:
        document = _of_elsewhere(found, now)
    else:
        document = _entry(find_entry(found.id, found.target.journal))
    is_kept = found.target.journal.output(found.id) is not None
    _print_job({**document, "output": _kept(is_kept=is_kept, is_there=now is not None and now.has_output)}, said)


def _kept(*, is_kept: bool, is_there: bool) -> str | None:
    """Where the job's output is, as far as that is known."""
    return "journal" if is_kept else "runpod" if is_there else None


@app.command()
@options.spread
def wait(
    job: Id,
    timeout: Timeout = 600,
    *,
    of: SentJobOptions,
    said: options.ReportOptions,
) -> None:
    """Wait until a job is over, and print what it put out, as JSON.

    Whoever stops waiting, by Ctrl-C or after --timeout, leaves it running.
    """
    from vidctl.cli import waiting

    report = said.report()
    found = of.find(job, report)
    with _left_running(found), report.counting("wait", 1, shown=True) as counter:
        output = found.wait(timeout_s=timeout, waiting=lambda seen: counter.wait(waiting.state(seen, None)))
    _print_output(found, output, said)


@app.command()
@options.spread
def result(job: Id, *, of: SentJobOptions, said: options.ReportOptions) -> None:
    """Print what a job put out, as JSON, if it is over.

    It is taken from the journal, or from RunPod, which has it for 30 minutes; then it is kept in the journal for a
    week.
    """
    found = of.find(job, said.report())
    _print_output(found, found.result(), said)


@app.command()
@options.spread
def cancel(
    job: Id,
    *,
    of: SentJobOptions,
    how: options.ChangeOptions,
    said: options.ReportOptions,
) -> None:
    """Cancel a job that waits or runs.

    One that is over stays as it is, without a question.
    """
    report = said.report()
    found = of.find(job, report)
    now = found.look()
    if not now.is_final and how.confirmed(f"cancel job {found.id}, which is {now.status}?", report, "cancelled"):
        now = found.cancel()
    _print_state(found, now, said, is_dry_run=how.dry_run)


@app.command()
@options.spread
def retry(
    job: Id,
    *,
    of: SentJobOptions,
    how: options.ChangeOptions,
    said: options.ReportOptions,
) -> None:
    """Run a job that is FAILED or TIMED_OUT once more, with the same id and input.

    It is paid again.  `vidctl jobs wait ID` waits for it.
    """
    report = said.report()
    found = of.find(job, report)
    now = found.require_retryable()
    if how.confirmed(f"run job {found.id}, which is {now.status}, once more, and pay for it again?", report, "sent"):
        now = found.retry()
    _print_state(found, now, said, is_dry_run=how.dry_run)


@app.command()
@options.spread
def forget(
    job: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only this job's output.", autocompletion=completion.job_ids)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All outputs that are kept.")] = False,
    older_than: Annotated[
        float | None,
        typer.Option(metavar="7d", parser=options.duration("--older-than"), help="Only what was kept before then."),
    ] = None,
    *,
    how: options.ChangeOptions,
    said: options.ReportOptions,
) -> None:
    """Remove what jobs put out from the journal, and from the disk.

    The jobs stay in the list.  Nothing is removed at RunPod, which drops it by itself.
    """
    import time

    from vidctl.errors import UsageError
    from vidctl.operations.jobs import find_entry
    from vidctl.text import safe_json

    if sum((job is not None, everything, older_than is not None)) != 1:
        raise UsageError("what is to be forgotten is not said", hint="give one of ID, --all and --older-than 7d")
    report, journal = said.report(), _journal()
    which: dict[str, Any] = {} if older_than is None else {"before": time.time() - older_than}
    if job is not None:
        which = {"job_ids": [find_entry(job, journal).id]}
    found = journal.kept_outputs(**which)
    size = f"{found.outputs} outputs ({found.bytes / 1e6:.1f} MB)"
    if found.outputs and how.confirmed(f"remove {size} from the journal?", report, "removed"):
        found = journal.forget_outputs(**which)
    if said.as_json:
        document = {"outputs": found.outputs, "bytes": found.bytes, "is_dry_run": how.dry_run}
        print(safe_json({"schema": "vidctl.forget/1", **document}, indent=2))  # noqa: T201
    else:
        print(f"{'would remove' if how.dry_run else 'removed'} {size}")  # noqa: T201


def _journal() -> Journal:
    import os

    from vidctl.journal import Journal
    from vidctl.project import settings

    return Journal(settings.open_project(Path.cwd(), os.environ).journal_file)


def _list(limit: int, said: options.ReportOptions) -> None:
    from vidctl.cli import console
    from vidctl.text import safe_json

    entries = [_entry(each) for each in _journal().jobs(limit=limit)]
    if said.as_json:
        print(safe_json({"schema": _LIST, "jobs": entries}, indent=2))  # noqa: T201
        return
    console.table(
        [
            (_moment(each["submitted_at"]), each["status"], each["id"], each["endpoint_id"], each["what"])
            for each in entries
        ],
        header=("sent", "status", "job", "endpoint", "what"),
        empty="no jobs sent from this project",
    )


def _entry(entry: JobEntry) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(entry)


def _of_elsewhere(found: SentJob, now: Job) -> dict[str, Any]:
    known: dict[str, Any] = {
        "id": found.id,
        "endpoint_id": found.endpoint_id,
        "target": found.target.name,
        "status": now.status,
    }
    seen = {"delay_ms": now.delay_ms, "execution_ms": now.execution_ms, "error": now.error, "worker_id": now.worker_id}
    return {**known, **seen}


def _print_job(document: dict[str, Any], said: options.ReportOptions) -> None:
    from vidctl.text import one_line, safe_json

    if said.as_json:
        print(safe_json({"schema": _JOB, **document}, indent=2))  # noqa: T201
        return
    shown = dict(document)
    for name in ("submitted_at", "ended_at"):
        if shown.get(name) is not None:
            shown[name] = _moment(shown[name])
    width = max(map(len, _LABELS.values()))
    for name, label in _LABELS.items():
        if shown.get(name) is not None:
            print(f"{label:{width}}  {one_line(str(shown[name]))}")  # noqa: T201


_LABELS = {
    "id": "job", "status": "status", "what": "what", "command": "command", "spec": "spec", "endpoint_id": "endpoint",
    "target": "target", "submitted_at": "sent", "ended_at": "ended", "delay_ms": "waited (ms)",
    "execution_ms": "ran (ms)", "worker_id": "worker", "error_code": "error code", "error": "error",
    "output": "output",
}  # fmt: skip


def _print_output(found: SentJob, output: Any, said: options.ReportOptions) -> None:
    from vidctl.cli.output import say
    from vidctl.text import safe_json

    document = {"schema": _RESULT, "id": found.id, "endpoint_id": found.endpoint_id, "output": output}
    say(safe_json(document if said.as_json else output, indent=2) + "\n")


def _print_state(found: SentJob, now: Job, said: options.ReportOptions, *, is_dry_run: bool) -> None:
    from vidctl.text import one_line, safe_json

    if said.as_json:
        document = {"id": found.id, "endpoint_id": found.endpoint_id, "status": now.status, "is_dry_run": is_dry_run}
        print(safe_json({"schema": _JOB, **document}, indent=2))  # noqa: T201
    else:
        print(f"job {one_line(found.id)} is {now.status}")  # noqa: T201


def _moment(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@contextmanager
def _left_running(found: SentJob) -> Iterator[None]:
    """Ctrl-C says that nothing was cancelled."""
    from vidctl.errors import InterruptionError

    try:
        yield
    except KeyboardInterrupt:
        raise InterruptionError(
            "interrupted; the job goes on",
            hint=f"vidctl jobs wait {found.id}, or vidctl jobs cancel {found.id}",
            endpoint=found.endpoint_id,
            job_id=found.id,
        ) from None
