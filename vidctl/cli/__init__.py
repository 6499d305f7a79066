"""The command line: one boundary where every failure becomes a line, a hint and an exit status."""

from __future__ import annotations

import codecs
import importlib
import io
import os
import re
import signal
import sys
import threading
import warnings
from collections import UserDict
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from vidctl import __version__
from vidctl.cli import defaults, examples, groups, options, spelling
from vidctl.errors import InterruptionError, UsageError, VidctlError
from vidctl.kinds import KINDS

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter


class _Place(NamedTuple):
    """Where a command's function or a group's app is, and its docstring's first sentence, shown without loading it."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    **{name: _Place(kind.command, name, kind.help) for name, kind in KINDS.items()},
    "help": _Place("vidctl.cli.help", "help_", "Show the help of a command."),
    "init": _Place("vidctl.cli.init", "init", "Start a project in this folder."),
    "doctor": _Place("vidctl.cli.doctor", "doctor", "Check this machine, the project and the account."),
    "config": _Place("vidctl.cli.config", "app", "Show the settings, and where each comes from."),
    "validate": _Place(
        "vidctl.cli.specs",
        "validate",
        "Check specs: every mistake at once, with file:line:column, and what cannot hold as a warning.",
    ),
    "plan": _Place("vidctl.cli.deploy", "plan", "Show what a deploy would change, and what that costs."),
    "deploy": _Place("vidctl.cli.deploy", "deploy", "Create or update endpoints, and smoke test them."),
    "list": _Place("vidctl.cli.endpoints", "list_endpoints", "List the account's endpoints."),
    "scale": _Place(
        "vidctl.cli.scale",
        "scale",
        "Change how many workers an endpoint has, and how long they idle, without a deploy.",
    ),
    "rollback": _Place(
        "vidctl.cli.rollback",
        "rollback",
        "Make an earlier version of an endpoint live again: its image and its settings together.",
    ),
    "destroy": _Place("vidctl.cli.destroy", "destroy", "Delete endpoints with their templates."),
    "gc": _Place("vidctl.cli.gc", "gc", "Delete what this project left behind, and no spec of it wants any more."),
    "build": _Place("vidctl.cli.images", "build", "Build workers' images."),
    "push": _Place("vidctl.cli.images", "push", "Push workers' images, built first if they are not."),
    "run": _Place("vidctl.cli.call", "run", "Run jobs of any endpoint."),
    "jobs": _Place(
        "vidctl.cli.jobs", "app", "List the jobs sent from this project, and show, wait for, cancel or retry one."
    ),
    "health": _Place(
        "vidctl.cli.queue", "health", "Show how many workers of an endpoint are in each state, and how many jobs."
    ),
    "purge": _Place(
        "vidctl.cli.queue", "purge", "Remove the jobs that wait in an endpoint's queue; those that run go on."
    ),
    "restart": _Place(
        "vidctl.cli.restart", "restart", "Replace an endpoint's workers by new ones of the same version."
    ),
    "history": _Place("vidctl.cli.history", "history", "List an endpoint's versions, and what each changed."),
    "why": _Place("vidctl.cli.why", "why", "Say why an endpoint or a job does not answer."),
    "status": _Place("vidctl.cli.status", "status", "Show what endpoints do now: workers, queue, errors, price."),
    "logs": _Place("vidctl.cli.logs", "logs", "Print the logs of an endpoint's workers, merged by time."),
    "cost": _Place("vidctl.cli.cost", "app", "Estimate, simulate and report what endpoints cost."),
    "schema": _Place(
        "vidctl.cli.specs", "schema", "Print the JSON Schema of a spec, for editors, or of what a command prints."
    ),
    "images": _Place("vidctl.cli.images", "app", "List the images that were built on this machine, newest first."),
    "registry": _Place(
        "vidctl.cli.registry", "registry", "Manage the logins with which RunPod pulls images from private registries."
    ),
    "local": _Place("vidctl.cli.local", "app", "RunPod's protocol on this machine: no key, no GPU, no bill."),
}


class _Commands(UserDict[str, Any]):
    """The table above; a place becomes its command when it is asked for."""

    def __getitem__(self, name: str) -> Command:
        if isinstance(self.data[name], _Place):
            self.data[name] = _built(name, self.data[name])
        command: Command = self.data[name]
        return command


def _built(name: str, place: _Place) -> Command:
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    module = importlib.import_module(place.module)
    command = getattr(module, place.attribute)
    if isinstance(command, typer.Typer):
        holder.add_typer(command, name=name)
    else:
        holder.command(name, cls=getattr(module, "COMMAND", None))(command)
    found = typer.main.get_group(holder).commands[name]
    _complete(found, name)
    return found


def _complete(command: Command, words: str) -> None:
    """Give a command and those inside it their examples, and the options of every command, whatever they change."""
    command.epilog = examples.block(words)
    there = {parameter.name for parameter in command.params}
    command.params += [option for option in options.common() if option.name not in there]
    for name, inner in getattr(command, "commands", {}).items():
        _complete(inner, f"{words} {name}")


class _Vidctl(TyperGroup):
    """Builds a command when it is asked for; Typer would build them all, with their options, to show the help."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(COMMANDS)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002  Typer's signature
        width = max(map(len, COMMANDS))  # one column for all groups
        for title, names in groups.of(COMMANDS).items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), COMMANDS[name].help) for name in names])


_HELP = ["-h", "--help"]
app = typer.Typer(
    cls=_Vidctl,
    name="vidctl",
    help="Video understanding on RunPod Serverless GPUs: from a YAML file to an endpoint, from images and audio to "
    "answers.",
    epilog="Start with: vidctl deploy yolo; vidctl detect sample.jpg; vidctl transcribe clip.mp4; vidctl describe "
    'sample.jpg "What is this?"',
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": _HELP},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from vidctl.revision import revision

        found = revision()
        print(f"vidctl {__version__}{f' ({found})' if found else ''}")  # noqa: T201  the answer itself
        raise typer.Exit


def _enter(context: typer.Context, folders: list[str] | None) -> list[str] | None:
    """Work in that folder, each from the one before it, as git and make have it; completion too."""
    try:
        for folder in folders or ():
            os.chdir(folder)
    except (OSError, ValueError) as error:
        if not context.resilient_parsing:
            reason = getattr(error, "strerror", None) or "not a folder"
            raise UsageError(f"-C {folder}: {reason}", hint="-C takes a folder that is there") from error
    return folders


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
    folder: Annotated[
        list[str] | None,
        typer.Option("-C", metavar="DIR", help="Work in DIR, as if started there.", is_eager=True, callback=_enter),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())  # noqa: T201  the answer itself
    else:
        context.default_map = defaults.of_project(context.invoked_subcommand)


def main() -> None:
    """The `vidctl` command."""
    _open_closed_streams()
    if "--debug" not in sys.argv:
        warnings.simplefilter("ignore")  # libraries' own, such as Pillow's of a large image
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup has it ignored
        signal.signal(signal.SIGHUP, _terminate)
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if status == InterruptionError.exit_status or threading.active_count() > 1:
        # Threads may still hang in a read, a connection or somebody else's build, and Python would wait for them.
        sys.stderr.flush()
        os._exit(128 + _terminated[0] if _terminated else status)
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit status; nothing but SystemExit ever leaves."""
    arguments = _command_first(arguments)
    try:
        status = _status(arguments)
    except VidctlError as error:
        return _report(spelling.with_dashes(error, _flags(arguments), arguments), arguments)
    except typer.TyperException as error:
        return _report(UsageError(error.format_message(), hint=_help_hint(arguments)), arguments)
    except (typer.Abort, KeyboardInterrupt) as error:
        if told := _interrupted(error):
            return _report(told, arguments)
        status = InterruptionError.exit_status
    except BrokenPipeError:
        return 0
    except SystemExit:  # Typer's way to end when whoever read our output has gone
        return 0
    except OSError as error:
        return _report(VidctlError(f"{error.filename or 'the system'}: {error.strerror or error}"), arguments, error)
    except Exception as error:  # noqa: BLE001  the last boundary: a user never sees a traceback unasked
        return _report(VidctlError(f"vidctl failed: {type(error).__name__}: {error}", hint=_BUG), arguments, error)
    if status == InterruptionError.exit_status:  # also what Typer makes of Ctrl-C
        return _report(InterruptionError("interrupted; no job was running"), arguments)
    return status


def _command_first(arguments: list[str]) -> list[str]:
    """The same words with the options of every command behind its name, for each command reads its own.

    `-C DIR` stays before it.  A `--` before a command's name ends the options there, and nothing more.
    """
    names: list[str] = []
    moved: list[str] = []
    ended: list[str] = []
    folder, rest = _folder(arguments)
    command: Any = typer.main.get_command(app)
    while rest:
        if inner := getattr(command, "commands", {}).get(rest[0]):
            names.append(rest[0])
            command, ended = inner, []
        elif not ended and _COMMON.fullmatch(rest[0]):
            moved.append(rest[0])
        elif not ended and rest[0] == "--" and hasattr(command, "commands"):
            ended = ["--"]
        else:
            break
        del rest[0]
    return [*folder, *names, *moved, *ended, *rest]


def _folder(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Each `-C DIR` before the command's name, and the other words."""
    folder: list[str] = []
    rest = list(arguments)
    at = 0
    while at < len(rest):
        if rest[at] == "-C":
            folder += rest[at : at + 2]
            del rest[at : at + 2]
        elif _COMMON.fullmatch(rest[at]):
            at += 1
        else:
            break
    return folder, rest


def _said_options(arguments: list[str]) -> list[str]:
    """The words before a `--`, behind which `--json` is a file of that name."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


_COMMON = re.compile(r"--(json|quiet|verbose|debug)|-[qv]+")


def _interrupted(error: BaseException | None) -> InterruptionError | None:
    """What the first Ctrl-C had found out of the jobs that were out, when a second one came."""
    while error is not None:
        if isinstance(error, InterruptionError):
            return error
        error = error.__cause__ or error.__context__
    return None


_BUG = "this is a defect of vidctl: please report it with what --debug prints"
_terminated: list[int] = []


def _terminate(number: int, _: FrameType | None) -> None:
    _terminated.append(number)
    raise KeyboardInterrupt


def _report(error: VidctlError, arguments: list[str], cause: BaseException | None = None) -> int:
    from vidctl.cli import report

    if "--debug" in _said_options(arguments):
        report.traceback(cause or error)
    report.failure(error, as_json=_wants_json(arguments))
    return error.exit_status


def _open_closed_streams() -> None:
    """`vidctl … >&-` leaves Python without a stream; a null one spares every writer the question."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # a result is not lost for a letter that the locale cannot write
        codecs.register_error("vidctl", _escaped)
        sys.stdout.reconfigure(errors="vidctl")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """As JSON escapes a letter, which keeps a document one and is read by people too."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end


def _wants_json(arguments: list[str]) -> bool:
    """Whether errors are to be JSON; asked of the words themselves, for they may be what is wrong."""
    line = f" {' '.join(_said_options(arguments))} "
    return re.search(r" (--json|(--format[ =]|-f[ =]?)jsonl?) ", line) is not None


def _help_hint(arguments: list[str]) -> str:
    """How to ask what the command takes that was used wrong."""
    names, _ = _command(arguments)
    return f"{' '.join(['vidctl', *names])} --help"


def _status(arguments: list[str]) -> int:
    if arguments[-1:] in (["--help"], ["-h"]) and (shown := _help(arguments[:-1])):
        print(shown)  # noqa: T201  the answer itself
        return 0
    return int(app(args=arguments, prog_name="vidctl", standalone_mode=False) or 0)


def _help(words: list[str]) -> str:
    """The help of the command of these names, "" if they are more than that.

    Typer would load pydantic first, to find out that the words are valid.
    """
    names, command = _command(words)
    if names != words:
        return ""
    context = typer.Context(command, info_name=" ".join(["vidctl", *names]), help_option_names=_HELP)
    return str(command.get_help(context))


def _flags(arguments: list[str]) -> list[str]:
    """How the options of the command are typed."""
    return [flag for parameter in _command(arguments)[1].params for flag in parameter.opts]


def _command(arguments: list[str]) -> tuple[list[str], Any]:
    """The command that is meant, with the names that lead to it."""
    names: list[str] = []
    command: Any = typer.main.get_command(app)
    for word in _folder(arguments)[1]:
        if inner := getattr(command, "commands", {}).get(word):
            names.append(word)
            command = inner
    return names, command
