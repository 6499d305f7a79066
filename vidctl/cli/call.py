"""`vidctl run`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vidctl.cli import options
from vidctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vidctl.cli.output import Output
    from vidctl.cli.report import Report
    from vidctl.client import Client
    from vidctl.progress import Notify
    from vidctl.runpod.jobs import Health, Job
    from vidctl.tasks.call import JobResult
    from vidctl.tasks.invoker import Waiting

SCHEMA = "vidctl.run/1"
_NAME = typer.Argument(metavar="[NAME]", help="Deployed spec to use.", autocompletion=options.specs)


_KeptFor = Annotated[
    float | None,
    typer.Option(
        metavar="30d",
        parser=options.duration("--cache"),
        help="Keep answers so long, and give them again for the same input, instead of paying once more.",
    ),
]


@dataclass(frozen=True)
class JobInput:
    """What is sent."""

    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="JSON|@FILE|-|KEY=VALUE",
            help="The input: JSON, @FILE or -; or KEY=VALUE and KEY=@FILE, repeatable, JSON where possible "
            "[default: the spec's smoke test].",
        ),
    ] = None
    jsonl: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Run many: one input a line; prints one JSON object a line.")
    ] = None
    in_flight: Annotated[int, typer.Option(min=1, max=200, help="With --jsonl: maximum number of jobs at once.")] = 16
    resume: Annotated[
        bool, typer.Option("--resume", help="With --jsonl: send only what an earlier run got no answer for.")
    ] = False
    resend_unknown: Annotated[
        bool,
        typer.Option(
            "--resend-unknown", help="With --resume: send again what may have been accepted, and be paid twice."
        ),
    ] = False


@dataclass(frozen=True)
class JobPolicy:
    """What RunPod is told of the jobs."""

    webhook: Annotated[str | None, typer.Option(metavar="URL", help="RunPod posts the finished job there.")] = None
    execution_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="10m",
            parser=options.duration("--execution-timeout"),
            help="Stop the job when it runs longer [default: the endpoint's].",
        ),
    ] = None
    ttl: Annotated[
        float | None,
        typer.Option(
            metavar="1h",
            parser=options.duration("--ttl"),
            help="Drop the job so long after it was sent, done or not [default: a day].",
        ),
    ] = None
    priority: Annotated[
        Literal["low", "normal"] | None, typer.Option(help="low starts no further worker for the job.")
    ] = None

    def given(self) -> dict[str, Any]:
        """The same by the names of `Client.run`."""
        return {
            "webhook": self.webhook,
            "execution_timeout": self.execution_timeout,
            "ttl": self.ttl,
            "priority": self.priority,
        }


@options.spread
def run(
    name: Annotated[str | None, _NAME] = None,
    *,
    job: JobInput,
    stream: Annotated[bool, typer.Option("--stream", help="Print outputs as they come, one a line.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id, and wait for nothing.")] = False,
    policy: JobPolicy,
    cache: _KeptFor = None,
    output: Annotated[str | None, options.output("FILE|-", "Write the result to FILE.")] = None,
    env: options.Environment = None,
    endpoint_id: Annotated[str | None, typer.Option(metavar="ID", help="An endpoint of any origin.")] = None,
    as_json: options.Json = False,
    how: options.RunOptions,
) -> None:
    """Run jobs of any endpoint.

    Sends the input that its worker takes, waits, and prints the output as JSON. With --jsonl many jobs are in flight
    and results come in the order of the lines; one that fails does not stop the rest (exit code 9). A job whose request
    was cut may have been accepted: its status is unknown, and only --resume --resend-unknown sends it again.
    """
    from vidctl.cli.output import Output

    _check(job, stream=stream, no_wait=no_wait, as_json=as_json)
    _check_cache(cache, {"--stream": stream, "--no-wait": no_wait, "--webhook": policy.webhook is not None})
    report = how.report(as_json=as_json)
    client = how.client(options.EndpointOptions(name, env, endpoint_id), report, cache=cache)
    call = _Call(client, report, Output(output), policy.given(), shown=not how.no_progress)
    call.check([job.jsonl, *(each.partition("=")[2] if "=" in each else each for each in job.given or ())])
    if job.jsonl is not None:
        call.many(job)
        return
    given = _input(job.given) if job.given else _smoke_input(client)
    if no_wait:
        call.sent(given, as_json=as_json)
    elif stream:
        call.streamed(given)
    else:
        call.one(given, as_json=as_json)


def _check(job: JobInput, *, stream: bool, no_wait: bool, as_json: bool) -> None:
    """Raise UsageError for options that exclude each other."""
    excluded = (
        ("--jsonl and --input", job.jsonl is not None and bool(job.given)),
        ("--jsonl and --stream", job.jsonl is not None and stream),
        ("--jsonl and --no-wait", job.jsonl is not None and no_wait),
        ("--stream and --no-wait", stream and no_wait),
        ("--stream and --json", stream and as_json),
    )
    for pair, are_both in excluded:
        if are_both:
            raise UsageError(f"{pair}: one or the other")
    if job.resume and job.jsonl is None:
        raise UsageError("--resume requires --jsonl", hint="vidctl jobs lists the jobs that were sent")
    if job.resend_unknown and not job.resume:
        raise UsageError("--resend-unknown requires --resume")


def _check_cache(cache: float | None, others: Mapping[str, bool]) -> None:
    """Raise UsageError for what an answer that was kept cannot do."""
    for option in (name for name, is_given in others.items() if is_given and cache):
        raise UsageError(f"--cache and {option}: one or the other")


@dataclass(frozen=True)
class _Call:
    """One command: sends jobs and delivers what comes of them."""

    client: Client
    report: Report
    output: Output
    policy: dict[str, Any]
    shown: bool

    def check(self, words: Iterable[str | None]) -> None:
        """Raise, before anything is paid, for a place that cannot be written or would cost an input."""
        from vidctl.cli.inputs import Inputs

        if self.output.is_folder:
            raise UsageError(f"-o {self.output.said}: a folder, not a file")
        read = [word if word is None or word.startswith("@") else f"@{word}" for word in words]
        self.output.check(Inputs([], read))

    def sent(self, given: Mapping[str, Any], *, as_json: bool) -> None:
        job_id = self.client.submit(given, **self.policy)
        self.report.detail(self.client.endpoint_line)
        document = {"schema": SCHEMA, "id": job_id, "status": "IN_QUEUE", "endpoint": self.client.endpoint_name}
        self.output.write(_json(document) if as_json else f"{job_id}\n")

    def one(self, given: Mapping[str, Any], *, as_json: bool) -> None:
        from vidctl.cli.waiting import telling

        with self.report.counting("run", 1, shown=self.shown) as counter:
            try:
                result = self.client.run(given, waiting=telling(counter.wait), **self.policy)
            except KeyboardInterrupt:
                raise self.client.interrupt() from None
        self._tell_limits()
        document = {"schema": SCHEMA, **result.to_dict(), "endpoint": self.client.endpoint_name}
        del document["index"]
        self.output.write(_json(document if as_json else result.output))

    def streamed(self, given: Mapping[str, Any]) -> None:
        """Print each output as it comes."""
        from vidctl.cli.waiting import answers

        try:
            with self.report.passing(shown=self.shown) as notify:
                pieces = self.client.stream(given, waiting=_heard(notify), **self.policy)
                with answers(self.client, pieces) as outputs:
                    for each in outputs:
                        self.output.add(_line(each))
        finally:
            self.output.close()

    def many(self, job: JobInput) -> None:
        from vidctl.cli.waiting import answers, telling

        assert job.jsonl is not None
        count = _checked_lines(job.jsonl, self.policy)
        tally = _JobTally()
        try:
            with self.report.counting("run", count, shown=self.shown) as counter:
                results = self.client.run_many(
                    _inputs(job.jsonl),
                    in_flight=job.in_flight,
                    resume=job.resume,
                    resend_unknown=job.resend_unknown,
                    waiting=telling(counter.wait),
                    **self.policy,
                )
                self.report.detail(self.client.endpoint_line)
                with answers(self.client, results, hint="--resume goes on where this ended") as rows:
                    for each in rows:
                        tally.add(each)
                        self.output.add(_line(each.to_dict()))  # a failed row is a result too: its id
                        counter.count()
        finally:
            self.output.close()
        self._tell_limits()
        tally.settle()

    def _tell_limits(self) -> None:
        if count := self.client.rate_limited:
            self.report.note(f"rate limited (429) {count} times; the jobs were sent again and none is lost")


class _JobTally:
    """Counts what became of many jobs."""

    def __init__(self) -> None:
        self._count = self._failed = self._unknown = 0

    def add(self, result: JobResult) -> None:
        """Count it; raise at once what every other job would fail of too."""
        from vidctl.errors import AuthError, NotDeployedError
        from vidctl.tasks.call import UNKNOWN

        if isinstance(result.error, (AuthError, NotDeployedError)):
            raise result.error
        self._count += 1
        self._failed += result.error is not None
        self._unknown += result.status == UNKNOWN

    def settle(self) -> None:
        """Raise if a job has no output."""
        from vidctl.errors import PartialFailureError

        if not self._failed:
            return
        unknown = f"; of {self._unknown} it is unknown whether they were accepted" if self._unknown else ""
        again = "--resume sends what failed again" if self._failed > self._unknown else ""
        resend = "--resume --resend-unknown sends the unknown again, which may be paid twice" if self._unknown else ""
        raise PartialFailureError(
            f"{self._failed} of {self._count} jobs have no output{unknown}",
            hint="; ".join(filter(None, (again, resend))),
        )


# --- inputs --------------------------------------------------------------------------------------------------------


def _input(words: list[str]) -> dict[str, Any]:
    """What --input says: one document, or names and values."""
    from vidctl.tasks import payload

    documents = [word for word in words if word == "-" or word[:1] in ("@", "{", "[") or "=" not in word]
    if not documents:
        options.check_stdin(*((f"--input {name}=", text) for name, text in map(_parted, words)))
        pairs = [(name, options.text(f"--input {name}", text)) for name, text in map(_parted, words)]
        return payload.checked(payload.of_pairs(pairs, where="--input"), where="--input")
    if len(words) > 1:
        raise UsageError(
            "--input: one document, or KEY=VALUE for each field", hint="put all fields into one of the two"
        )
    word = documents[0]
    if word[:1] not in ("@", "{", "[", "-"):
        raise UsageError(f"--input {word}: neither JSON, @FILE, - nor KEY=VALUE", hint="""write '{"prompt": "…"}'""")
    where = f"--input {word}" if word == "-" or word.startswith("@") else "--input"
    return payload.parsed(options.text("--input", word), where=where)


def _parted(word: str) -> tuple[str, str]:
    name, _, text = word.partition("=")
    if not name.strip():
        raise UsageError(f"--input {word}: not KEY=VALUE")
    return name.strip(), text


def _smoke_input(client: Client) -> dict[str, Any]:
    from vidctl.tasks import payload

    path = client.smoke_input()
    if path is None:
        raise UsageError("no input: the spec has no smoke test", hint="""give one: --input '{"prompt": "…"}'""")
    return payload.parsed(options.text("input", f"@{path}"), where=str(path))


def _checked_lines(word: str, policy: Mapping[str, Any]) -> int:
    """How many inputs a file has, each of them checked before anything is sent; 0 for standard input."""
    if word == "-":
        return 0
    from vidctl.tasks import payload
    from vidctl.tasks.call import job_options

    count, chosen = 0, job_options(**policy)
    for each in _inputs(word):
        if isinstance(each, UsageError):
            raise each
        payload.check_size(each, chosen, where=f"--jsonl {word}: input {count}")
        count += 1
    if not count:
        raise UsageError(f"--jsonl {word}: empty")
    return count


def _inputs(word: str) -> Iterator[dict[str, Any] | UsageError]:
    """The input of each line that is not blank, or what is wrong with it."""
    from vidctl.tasks import payload

    try:
        with sys.stdin.buffer if word == "-" else Path(word).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield payload.parsed(line.rstrip().decode("utf-8-sig"), where=f"{word}:{number}")
                except UsageError as error:
                    yield error
                except ValueError:
                    yield UsageError(f"{word}:{number}: not text in UTF-8")
    except OSError as error:
        raise UsageError(f"--jsonl {word}: cannot be read ({error.strerror or error})") from error


# --- output --------------------------------------------------------------------------------------------------------


def _json(value: object) -> str:
    from vidctl.text import safe_json

    return safe_json(value, indent=2) + "\n"


def _line(value: object) -> str:
    from vidctl.text import safe_json

    return safe_json(value) + "\n"


def _heard(notify: Notify) -> Waiting:
    """What shows why there is no output yet."""
    from vidctl.cli.waiting import state
    from vidctl.progress import Progress

    def waiting(job: Job, health: Health | None) -> None:
        notify(Progress("run", state(job, health), is_passing=True))

    return waiting
