"""Measure the house: how large its rooms are, what is said twice, and in which words.

    $ .venv/bin/python tools/measure.py [--root FOLDER] [--json] [--list NAME]

What each number counts:

top_level_entries    modules and packages directly in vidctl/, without __init__.py, __main__.py, py.typed and folders
                     that hold no Python
repeated_types       class names that are defined at the top of more than one module of vidctl/, a leading underscore
                     not counted; a copy of a file of workers/_shared is no second home
long_modules         modules of vidctl/ over 450 lines
contract_lines       lines of the tables [tool.importlinter…] in pyproject.toml, without empty ones and comments
contract_names       module names in those lines, which are long
functions            functions and methods of vidctl/, those inside others too; their length is from `def` to the last
                     line, docstring included
long_functions       those over 40 lines
median_function      their median length
worker_repeats       places where two workers have the same 6 or more lines in a row, empty lines not counted and
                     indentation counted; files that `make sync-workers` copies are left out
user_strings         strings that a user may read: `help=`, `epilog=` and `hint=` anywhere; docstrings of commands and
                     the sentences of the command table; the texts given to an exception, to print and to what reports
                     (note, warn, detail, step, Progress, …); of README.md, docs/*.md and workers/*/README.md each
                     paragraph, list item and table row.  An f-string is one string.
left_out_strings     those of them that have a word of tools/words.py
test_functions       `def test_…` in tests/
tests                what pytest collects there; empty where it cannot

The files touched by a toy kind, and minutes of tests, are written down by hand.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from words import left_out

ROOT = Path(__file__).resolve().parent.parent
LONG_MODULE = 450
LONG_FUNCTION = 40
REPEAT = 6
_SAYS = {"print", "_print", "echo", "note", "warn", "detail", "step", "confirm", "say", "tell", "notify", "wait"}
_SAYS |= {"Progress", "_Place", "Place", "table", "heading"}
_SAID_BY_NAME = {"help", "epilog", "hint", "message", "empty", "short_help"}
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*|#>]|\d+\.)\s?)")


@dataclass
class House:
    """Everything that is measured, and for some of it where it is."""

    numbers: dict[str, float | None] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)

    def count(self, name: str, places: list[str]) -> None:
        self.numbers[name] = len(places)
        self.places[name] = places


def main() -> None:
    options = _options()
    root = options.root.resolve()
    house = measured(root)
    if not options.list:
        house.numbers["tests"] = _collected(root)
    if options.list:
        print("\n".join(house.places[options.list]))
    elif options.json:
        print(json.dumps(house.numbers, indent=2))
    else:
        for name, number in house.numbers.items():
            print(f"{name:<20}{'' if number is None else f'{number:g}':>8}")


def measured(root: Path) -> House:
    """Measure the project in a folder."""
    house = House()
    trees = {path: ast.parse(path.read_text()) for path in sorted((root / "vidctl").rglob("*.py"))}
    copied = _copied(root)
    house.count("top_level_entries", _entries(root / "vidctl"))
    house.count("repeated_types", _repeated_types({path: tree for path, tree in trees.items() if path not in copied}))
    house.count("long_modules", [_at(root, path) for path in trees if len(_lines(path)) > LONG_MODULE])
    contracts = _contracts((root / "pyproject.toml").read_text())
    house.numbers["contract_lines"] = len(contracts)
    house.numbers["contract_names"] = sum(line.count('"vidctl.') for line in contracts)
    _measure_functions(house, root, trees)
    house.count("worker_repeats", _repeats(root, copied))
    said = [*_said_by_code(root, trees), *_said_by_pages(root)]
    house.numbers["user_strings"] = len(said)
    house.count("left_out_strings", [f"{at}: {', '.join(found)}" for at, text in said if (found := left_out(text))])
    house.numbers["test_functions"] = sum(
        len(re.findall(r"^\s*(?:async )?def test_", path.read_text(), re.MULTILINE))
        for path in (root / "tests").rglob("test_*.py")
    )
    return house


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the house; the docstring says what each number counts.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder, for an older one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--list", metavar="NAME", help="print the places that make up one of the numbers")
    return parser.parse_args()


def _at(root: Path, path: Path, line: int | None = None) -> str:
    return f"{path.relative_to(root)}{'' if line is None else f':{line}'}"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _copied(root: Path) -> set[Path]:
    """The copies of workers/_shared, as the project's own tools/sync_workers.py lists them."""
    script = root / "tools/sync_workers.py"
    if not script.exists():
        return set()
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "COPIES" and node.value is not None:
            copies: dict[str, tuple[str, ...]] = ast.literal_eval(node.value)
            return {root / folder / name for name, folders in copies.items() for folder in folders}
    return set()


def _entries(package: Path) -> list[str]:
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    packages = {path.parent.name for path in package.glob("*/*.py")}
    return sorted(modules | packages)


def _repeated_types(trees: dict[Path, ast.Module]) -> list[str]:
    homes = defaultdict(list)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                homes[node.name.lstrip("_")].append(path.stem if path.stem != "__init__" else path.parent.name)
    return [f"{name}: {', '.join(paths)}" for name, paths in sorted(homes.items()) if len(paths) > 1]


def _contracts(pyproject: str) -> list[str]:
    inside, found = False, []
    for line in pyproject.splitlines():
        if line.startswith("["):
            inside = line.startswith(("[tool.importlinter", "[[tool.importlinter"))
        if inside and line.strip() and not line.lstrip().startswith("#"):
            found.append(line)
    return found


def _measure_functions(house: House, root: Path, trees: dict[Path, ast.Module]) -> None:
    lengths = {
        _at(root, path, node.lineno): (node.end_lineno or node.lineno) - node.lineno + 1
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    house.numbers["functions"] = len(lengths)
    house.count("long_functions", [f"{at}: {length}" for at, length in lengths.items() if length > LONG_FUNCTION])
    house.numbers["long_functions_percent"] = round(100 * len(house.places["long_functions"]) / len(lengths), 2)
    house.numbers["median_function"] = statistics.median(lengths.values())


def _repeats(root: Path, copied: set[Path]) -> list[str]:
    """Every place where two workers' files agree for REPEAT lines and more, told once by where it begins."""
    files = [
        path
        for path in sorted((root / "workers").rglob("*.py"))
        if path not in copied and path.relative_to(root).parts[1] != "_shared"
    ]
    texts = {path: [line.rstrip() for line in _lines(path) if line.strip()] for path in files}
    found = []
    for one, other in combinations(files, 2):
        if one.relative_to(root).parts[1] != other.relative_to(root).parts[1]:
            found += [f"{_at(root, one)}: {first.strip()}" for first in _shared_runs(texts[one], texts[other])]
    return found


def _shared_runs(one: list[str], other: list[str]) -> Iterator[str]:
    """Yield the first line of each run of REPEAT and more lines that both have."""
    windows = defaultdict(list)
    for at in range(len(other) - REPEAT + 1):
        windows[tuple(other[at : at + REPEAT])].append(at)
    for at in range(len(one) - REPEAT + 1):
        for there in windows[tuple(one[at : at + REPEAT])]:
            if at == 0 or there == 0 or one[at - 1] != other[there - 1]:
                yield one[at]


def _said_by_code(root: Path, trees: dict[Path, ast.Module]) -> Iterator[tuple[str, str]]:
    failures = _failures(trees)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                for text in _said_by_call(node, failures):
                    yield _at(root, path, node.lineno), text
            elif isinstance(node, ast.FunctionDef) and path.parent.name == "cli" and _is_command(node):
                yield _at(root, path, node.lineno), ast.get_docstring(node) or ""


def _failures(trees: dict[Path, ast.Module]) -> set[str]:
    """The names of the package's exceptions: whatever errors.py defines, and whatever inherits from one of those."""
    names: set[str] = set()
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while True:
        more = {node.name for node in classes if any(_is_failure(ast.unparse(base), names) for base in node.bases)}
        if more <= names:
            return names
        names |= more


def _is_failure(base: str, names: set[str]) -> bool:
    return base in names or base.rpartition(".")[2] in {"Exception", "ValueError", "RuntimeError"}


def _said_by_call(call: ast.Call, failures: set[str]) -> Iterator[str]:
    name = ast.unparse(call.func).rpartition(".")[2]
    if name in _SAYS or name in failures or name.endswith("Error"):
        yield from filter(None, map(_text, call.args))
    for keyword in call.keywords:
        if keyword.arg in _SAID_BY_NAME and (text := _text(keyword.value)):
            yield text


def _is_command(node: ast.FunctionDef) -> bool:
    """A function of cli/ that has options: Typer shows its docstring as help."""
    notes = [ast.unparse(each.annotation) for each in (*node.args.args, *node.args.kwonlyargs) if each.annotation]
    return not node.name.startswith("_") and any("options." in each or "typer." in each for each in notes)


def _text(node: ast.expr) -> str:
    """The words of a string or an f-string, whose values are `{}`; of a choice and a sum, all that may be said."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) and " " in node.value else ""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        return "".join(map(str, parts))
    if isinstance(node, ast.IfExp):
        return " | ".join(filter(None, (_text(node.body), _text(node.orelse))))
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""


def _said_by_pages(root: Path) -> Iterator[tuple[str, str]]:
    for page in (root / "README.md", *sorted(root.glob("docs/*.md")), *sorted(root.glob("workers/*/README.md"))):
        text = page.read_text()
        for block in _BLOCK.split(text):
            if block.strip():
                yield _at(root, page, text[: text.index(block)].count("\n") + 1), block


def _collected(root: Path) -> int | None:
    """How many tests pytest finds, with this interpreter and that folder's package."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False)
    found = re.search(r"^(\d+) tests? collected", done.stdout, re.MULTILINE)
    return int(found[1]) if found else None


if __name__ == "__main__":
    main()
