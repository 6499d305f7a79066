"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from vidctl.cli import completion
from vidctl.project import configs

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.client import Client

Answer = TypeVar("Answer")

LOCAL_BY_DEFAULT = "RUNPOD_API_KEY is not set: using the local runtime (--target local)"


def help_alone(context: typer.Context) -> None:
    """What a group of commands does without one of them: it shows its help."""
    if context.invoked_subcommand is None:
        print(context.get_help())  # noqa: T201  the answer itself


def specs() -> list[str]:
    """The project's specs, with and without their overlays, for completion: file names only, no file is read."""
    return configs.keys(project_root())


def environments(context: typer.Context) -> list[str]:
    """The overlays of the specs on the command line, of all without one, for completion."""
    root = project_root()
    given = [context.params["endpoint"]] if context.params.get("endpoint") else []
    if "names" in context.params:
        given = context.params["names"] or context.args  # an option that lacks its value leaves the names there
    return sorted({overlay for spec in given or configs.specs(root) for overlay in configs.overlays(root, spec)})


def presets() -> list[str]:
    """The questions that have a name, for completion."""
    return list(configs.preset_files(project_root()))


def settings(pairs: list[str]) -> dict[str, Any]:
    """What --set says: `best_of=3` and `suppress_tokens=[-1]` are JSON where that is possible, and text elsewhere."""
    from vidctl.errors import UsageError

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {pair}: not KEY=VALUE", hint="KEY is a field that the worker knows")
        try:
            found[name.strip()] = json.loads(text)
        except ValueError:
            found[name.strip()] = text
        except RecursionError as error:
            raise UsageError(f"--set {name}: nested too deeply") from error
    return found


def text(name: str, word: str) -> str:
    """The text itself, what @file holds, or with - what is piped in."""
    from vidctl.errors import UsageError

    if word != "-" and not word.startswith("@"):
        return word
    try:
        data = sys.stdin.buffer.read() if word == "-" else Path(word[1:]).read_bytes()
        found = data.decode("utf-8-sig").strip()
    except OSError as error:
        raise UsageError(f"{name} {word}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UsageError(f"{name} {word}: not text in UTF-8") from error
    if not found:
        raise UsageError(f"{name} {word}: empty")
    return found


def check_stdin(*said: tuple[str, str | None]) -> None:
    """Raise UsageError if more than one of the words, each with what goes before it, is - for standard input."""
    from vidctl.errors import UsageError

    wanted = [f"{name}-" for name, word in said if word == "-"]
    if len(wanted) > 1:
        raise UsageError(f"{' and '.join(wanted)}: there is one standard input", hint="give text as text or as @file")


def duration(option: str, *, least: float = 0.0) -> Callable[[str], float]:
    """What reads an option's value, which a person may write as `90`, `90s`, `5m` or `1:30`."""

    def read(value: str) -> float:
        from vidctl.errors import UsageError
        from vidctl.text import DURATIONS, duration_s

        seconds = duration_s(str(value))
        if seconds is None:
            raise UsageError(f"{option} {value}: not a duration", hint=DURATIONS)
        if seconds < least:
            raise UsageError(f"{option} {value}: shorter than {least:g} s")
        return seconds

    return read


def endpoint_argument() -> Any:
    """NAME of the commands about an endpoint that is there, whoever made it."""
    return typer.Argument(metavar="NAME", help="A spec, or an endpoint's name or id.", autocompletion=specs)


def changed_argument() -> Any:
    """NAME of the commands that change one: names are not unique, so an endpoint of any origin goes by its id."""
    return typer.Argument(metavar="NAME", help="A spec, or an endpoint's id.", autocompletion=specs)


def usd(option: str) -> Callable[[str], float]:
    """What reads an amount of US dollars: `5`, `0.25` or `$5`."""

    def read(value: str) -> float:
        from vidctl.errors import UsageError

        try:
            amount = float(str(value).removeprefix("$"))
        except ValueError:
            amount = 0.0
        if not 0 < amount < float("inf"):
            raise UsageError(f"{option} {value}: not an amount of US dollars over 0", hint=f"write {option} 5")
        return amount

    return read


def output(metavar: str, help_: str) -> Any:
    """`-o` of the commands that ask an endpoint: where the result is written."""
    return typer.Option("--output", "-o", parser=name_of_output, metavar=metavar, help=help_)


def folder_of_output(word: str) -> Path:
    """The folder of that name; a usage error as `name_of_output` has it."""
    return Path(name_of_output(word))


def name_of_output(word: str) -> str:
    """The word itself; a usage error for an empty one, which a shell makes of a variable that is not set."""
    if not word.strip():
        raise typer.BadParameter("it is empty; `.` is this folder")
    return word


def project_root() -> Path:
    """The folder that holds configs/, from here upwards; without one this folder."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "configs").is_dir()), here)


Environment = Annotated[
    str | None,
    typer.Option(
        "--env",
        "-e",
        metavar="ENV",
        help="With an overlay: prod means configs/NAME.prod.yaml over configs/NAME.yaml.",
        autocompletion=environments,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="local|runpod",
        help="Where to. Default: runpod with a key, else local.",
        autocompletion=completion.targets,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, errors included.")]
# Of the commands whose result may be a file of another format.
JsonResult = Annotated[
    bool,
    typer.Option("--json", help="Print JSON, errors included; what -o writes is still as -f or FILE's ending says."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


# Of the commands that ask an endpoint.
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Look into subfolders.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other field of the worker.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Use no answers kept in the journal (`cache:` in vidctl.yaml).")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files in a folder that would change.")]


def cache(*, no_cache: bool) -> Literal[False] | None:
    """What --no-cache is to a client."""
    return False if no_cache else None


# --- sets of options that stand together ------------------------------------------------------------------


def spread(command: Callable[..., Answer]) -> Callable[..., Answer]:
    """Let a command line name each field of the command's parameters that are dataclasses, in its place."""
    hints = get_type_hints(command, include_extras=True)
    sets: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for name, given in inspect.signature(command).parameters.items():
        spelled = _fields(sets[name]) if name in sets else [given.replace(annotation=hints[name])]
        parameters += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in spelled]

    @functools.wraps(command)
    def called(**said: Any) -> Answer:
        taken = {name: kind(**{each.name: said.pop(each.name) for each in fields(kind)}) for name, kind in sets.items()}
        return command(**said, **taken)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def _fields(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name])
        for each in fields(kind)
    ]


@dataclass(frozen=True)
class ReportOptions:
    """What a command says, and how: the options of every command."""

    as_json: Json = False
    quiet: Quiet = False
    verbose: Verbose = False
    debug: Debug = False

    def report(self) -> Report:
        from vidctl.cli.report import Report

        return Report(quiet=self.quiet, verbose=self.verbose, as_json=self.as_json)


@spread
def _common(said: ReportOptions) -> None:
    """Only its parameters are used."""


def common() -> list[Any]:
    """The options of every command as parameters of one that does not read them."""
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    holder.command("any")(_common)
    found = typer.main.get_command(holder).params
    for option in found:
        option.expose_value = False
    return found


@dataclass(frozen=True)
class ChangeOptions:
    """Whether something is changed, and whether that is asked first."""

    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would change; change nothing.")] = False

    def confirmed(self, question: str, report: Report, done: str) -> bool:
        """Whether to do it, which a dry run is not; raise UsageError for a no, after which nothing was `done`."""
        from vidctl.errors import UsageError

        if self.dry_run:
            return False
        if not self.yes and not report.confirm(question):
            raise UsageError(f"aborted; nothing was {done}")
        return True


@dataclass(frozen=True)
class EndpointOptions:
    """Which endpoint answers."""

    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Deployed spec to use [default: the one for this command].", autocompletion=specs
        ),
    ] = None
    env: Environment = None
    endpoint_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="An endpoint of any origin.", autocompletion=completion.endpoint_ids),
    ] = None


@dataclass(frozen=True)
class RunOptions:
    """How requests are run, and what is said meanwhile."""

    target: Target = None
    timeout: Annotated[
        float, typer.Option(metavar="5m", parser=duration("--timeout", least=0.1), help="How long to wait for one job.")
    ] = 600
    max_cost: Annotated[
        float | None,
        typer.Option(
            metavar="USD",
            parser=usd("--max-cost"),
            help="Stop before execution time costs more than this; what was paid for is kept (exit code 9).",
        ),
    ] = None
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.")] = False
    quiet: Quiet = False
    verbose: Verbose = False
    debug: Debug = False

    def report(self, *, as_json: bool) -> Report:
        from vidctl.cli.report import Report

        return Report(quiet=self.quiet, verbose=self.verbose, as_json=as_json)

    def client(self, chosen: EndpointOptions, report: Report, **others: str | float | Literal[False] | None) -> Client:
        """What sends the requests; `report` hears what it does, and of the target if that was not chosen."""
        from vidctl.client import Client

        client = Client(
            target=self.target,
            endpoint=chosen.endpoint,
            overlay=chosen.env,
            endpoint_id=chosen.endpoint_id,
            timeout_s=self.timeout,
            max_cost_usd=self.max_cost,
            notify=report.step,
            **others,  # type: ignore[arg-type]  # protocol, model and cache
        )
        if client.is_target_by_default:
            report.detail(LOCAL_BY_DEFAULT)
        return client
