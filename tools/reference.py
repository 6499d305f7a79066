"""Write the pages that are made from code: docs/reference/*.md, and the man page man/vidctl.1.

    python tools/reference.py           # write them
    python tools/reference.py --check   # exit 1 where one is not as the code is

The command line is read from the commands themselves, specs from their JSON Schema, failures from their classes, and
what each command prints and how it may end from data/schemas.
"""

from __future__ import annotations

import argparse
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

import vidctl
from vidctl import spec
from vidctl.cli import COMMANDS, app, documents, groups
from vidctl.errors import VidctlError

ROOT = Path(__file__).resolve().parent.parent
_MADE = "<!-- Made by tools/reference.py: change what it reads, and run `make reference`. -->\n"
_EXIT = {
    0: "done",
    1: "failure: network, RunPod, a source that cannot be read, an answer that does not meet its schema",
    2: "usage, or a mistake in a spec",
    3: "the job failed on the worker",
    4: "no key, or one that was refused",
    5: "not deployed, or not running",
    6: "waited too long; the job was cancelled",
    7: "the new version failed its smoke test, and the last good one was restored",
    9: "some of many failed, or a limit was reached; the rest was delivered",
    130: "Ctrl-C (143: SIGTERM, 129: SIGHUP)",
}


def pages() -> dict[Path, str]:
    """Each file that is made, and its text."""
    return {
        ROOT / "docs" / "reference" / "cli.md": _cli(),
        ROOT / "docs" / "reference" / "spec.md": _spec(),
        ROOT / "docs" / "reference" / "errors.md": _errors(),
        ROOT / "docs" / "reference" / "json.md": _json(),
        ROOT / "man" / "vidctl.1": _man(),
    }


def _walk(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each command below another with its words, in the order in which the help lists them."""
    inner = getattr(command, "commands", {})
    names = [name for listed in groups.of(COMMANDS).values() for name in listed] if not words else list(inner)
    for name in names:
        yield " ".join((*words, name)), inner[name]
        yield from _walk(inner[name], (*words, name))


def _commands() -> list[tuple[str, Any]]:
    return list(_walk(typer.main.get_command(app)))


def _help(words: str, command: Any) -> str:
    context = typer.Context(command, info_name=f"vidctl {words}".strip(), help_option_names=["-h", "--help"])
    context.terminal_width = context.max_content_width = 100
    lines = [line.rstrip() for line in command.get_help(context).splitlines()]
    return "\n".join(lines).strip("\n")


def _cli() -> str:
    parts = [
        _MADE,
        "# Commands\n",
        "Every command takes `--json`, `-q`, `-v` and `--debug`, also before its name. [JSON](json.md) says what",
        "`--json` prints, [errors](errors.md) what codes mean.\n",
        _block(_help("", typer.main.get_command(app))),
    ]
    for words, command in _commands():
        parts += [f"## vidctl {words}\n", _block(_help(words, command))]
        if words in documents.names():
            parts.append(_ends(documents.contract(words)))
    return "\n".join(parts)


def _ends(contract: dict[str, Any]) -> str:
    """How a command may end."""
    exits = {int(code): meaning for code, meaning in contract.get("x-exit", {}).items()}
    statuses = sorted({0, *exits, *(_classes()[code].exit_status for code in contract["x-errors"])})
    codes = ", ".join(f"`{code}`" for code in contract["x-errors"])
    special = "".join(f" {code}: {meaning}." for code, meaning in exits.items())
    return (
        f"Exit codes: {', '.join(map(str, statuses))}.{special}  \nErrors: {codes}.  \n"
        f"JSON: `{contract['title']}`, {contract['description']}\n"
    )


def _block(text: str) -> str:
    return f"```text\n{text}\n```\n"


def _json() -> str:
    rows = []
    for words in documents.names():
        contract = documents.contract(words)
        rows.append(f"| `{words}` | `{contract['title']}` | {contract['description']} |")
    return "\n".join(
        [
            _MADE,
            "# JSON\n",
            "With `--json` a command prints one document on stdout, and a failure is one line of JSON on stderr.",
            "Each has a JSON Schema, which is part of the package: `vidctl schema local status` prints that of",
            "`vidctl local status --json`. An object of vidctl's own names its version in `schema`; lists have none.",
            "Within a version keys are added only: none goes, or changes what it means.\n",
            "| command | document | what it is |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _classes() -> dict[str, type[VidctlError]]:
    """The classes of failures that vidctl may raise to a user, by their codes."""
    for module in pkgutil.walk_packages(vidctl.__path__, "vidctl."):
        if not module.name.startswith("vidctl.local") and module.name != "vidctl.__main__":
            import_module(module.name)
    found: dict[str, type[VidctlError]] = {}
    pending: list[type[VidctlError]] = [VidctlError]
    while pending:
        each = pending.pop(0)
        pending += each.__subclasses__()
        if each.__module__.startswith("vidctl.") and not each.__module__.startswith("vidctl.local"):
            found.setdefault(each.code, each)  # a class without a code of its own has that of its base
    return found


def _errors() -> str:
    found = _classes()
    of = {
        code: [name for name in documents.names() if code in documents.contract(name).get("x-errors", ())]
        for code in found
    }
    parts = [
        _MADE,
        "# Errors and exit codes\n",
        "A failure is one line and a hint on stderr; with `--json` it is one object there: `error`, `code`, `hint`,",
        "`job_id`, `endpoint`, `status`. Wording may change, codes do not.\n",
        "## Exit codes\n",
        "| exit code | meaning |",
        "| --- | --- |",
        *(f"| {status} | {meaning} |" for status, meaning in sorted((_EXIT | _special()).items())),
        "\n## Error codes\n",
        "| `code` | exit code | class in Python | what happened |",
        "| --- | --- | --- | --- |",
    ]
    for code, each in sorted(found.items()):
        said = inspect.cleandoc(each.__doc__ or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        status = "the first one's" if code == "several" else each.exit_status
        parts.append(f"| `{code}` | {status} | `{each.__name__}` | {said} |")
    parts += ["\n## Which command ends with which\n", "| `code` | commands |", "| --- | --- |"]
    for code, names in sorted(of.items()):
        told = "every command" if len(names) == len(documents.names()) - 1 else ", ".join(f"`{name}`" for name in names)
        parts.append(f"| `{code}` | {told or 'only in Python'} |")
    return "\n".join([*parts, ""])


def _special() -> dict[int, str]:
    """Exit codes that are no failure's, and which command ends with them."""
    found: dict[int, list[str]] = {}
    for words in documents.names():
        for code, meaning in documents.contract(words).get("x-exit", {}).items():
            found.setdefault(int(code), []).append(f"`{words}`: {meaning}")
    return {code: "; ".join(([_EXIT[code]] if code in _EXIT else []) + told) for code, told in found.items()}


def _spec() -> str:
    document = spec.json_schema()
    parts = [
        _MADE,
        "# Specs\n",
        "A spec is a file in `configs/`: `configs/yolo.yaml` is the spec `yolo`. `vidctl validate` checks all,",
        "`vidctl schema` prints the JSON Schema for editors, `vidctl init` writes commented ones. Each text may use",
        "`${NAME}` and `${NAME:-default}` from the environment and `.env`.\n",
        *_table(document, document),
    ]
    for name, part in sorted(document["$defs"].items()):
        if "properties" in part:
            parts += [f"\n## {name}\n", *([f"{part['description']}\n"] if "description" in part else [])]
            parts += _table(part, document)
        elif any("properties" in each for each in part.get("anyOf", ())):
            inner = next(each for each in part["anyOf"] if "properties" in each)
            parts += [f"\n## {name}\n", *([f"{part['description']}\n"] if "description" in part else [])]
            parts += _table(inner, document)
    return "\n".join([*parts, ""])


def _table(part: dict[str, Any], document: dict[str, Any]) -> list[str]:
    rows = ["| key | value | |", "| --- | --- | --- |"]
    required = part.get("required", ())
    for name, field in part["properties"].items():
        key = f"`{name}`{' (required)' if name in required else ''}"
        said = field.get("description") or document["$defs"].get(_target(field), {}).get("description", "")
        rows.append(f"| {key} | {_escaped(_kind(field))} | {_escaped(said)} |")
    return rows


def _target(field: dict[str, Any]) -> str:
    return str(field.get("$ref", "")).rpartition("/")[2]


def _kind(field: dict[str, Any]) -> str:
    """What a value may be, in a few words."""
    if "$ref" in field:
        name = _target(field)
        return "" if name == "variable" else name
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(kind for each in field["anyOf"] if (kind := _kind(each))))
    if "enum" in field:
        return ", ".join(
            f"`{json.dumps(each)}`" if not isinstance(each, str) else f"`{each}`" for each in field["enum"]
        )
    if "const" in field:
        return f"`{field['const']}`"
    kinds = {
        "integer": "whole number",
        "boolean": "`true` or `false`",
        "array": "list",
        "object": "mapping",
        "null": "nothing",
    }
    kind = str(field.get("type", "anything"))
    named = kinds.get(kind, "text" if kind == "string" else kind)
    return f"{named} of {inner}" if kind == "array" and (inner := _kind(field.get("items", {}))) else named


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _man() -> str:
    """The manual page, in the macros of man(7)."""
    lines = [
        '.\\" Made by tools/reference.py',
        f'.TH VIDCTL 1 "" "vidctl {vidctl.__version__}" "User Commands"',
        ".SH NAME",
        "vidctl \\- deploy and call RunPod Serverless endpoints for video understanding",
        ".SH SYNOPSIS",
        ".B vidctl",
        '.RI [ OPTION \\|.\\|.\\|.] " COMMAND " [ ARGUMENT \\|.\\|.\\|.]',
        ".SH DESCRIPTION",
        *_roff(_help("", typer.main.get_command(app))),
        ".SH COMMANDS",
    ]
    for words, command in _commands():
        lines += [f'.SS "vidctl {words}"', *_roff(_help(words, command))]
    lines.append(".SH EXIT STATUS")
    for status, meaning in sorted((_EXIT | _special()).items()):
        lines += [".TP", f".B {status}", _roff_line(meaning.replace("`", ""))]
    return "\n".join([*lines, ""])


def _roff(text: str) -> list[str]:
    return [".nf", *map(_roff_line, text.splitlines()), ".fi"]


def _roff_line(line: str) -> str:
    """A line that no character of makes a request or an escape."""
    said = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{said}" if re.match(r"[.']", said) else said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is not as the code is")
    only_checks = parser.parse_args().check
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'is not as the code is: make reference' if only_checks else 'written'}")
        if not only_checks:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages()[path], encoding="utf-8")
    return 1 if only_checks and stale else 0


if __name__ == "__main__":
    sys.exit(main())
