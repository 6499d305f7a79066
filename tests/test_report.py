"""What people see while something goes on: on a real pseudo-terminal, in a pipe, and in threads."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pexpect
import pytest

from vidctl.tasks.detect.formats import to_lines
from vidctl.tasks.detect.model import Detection, Detections

PRELUDE = """
import sys
from vidctl.cli.report import Report
from vidctl.errors import VidctlError
from vidctl.progress import Progress

def passing(step, message, **more):
    notify(Progress(step, message, is_passing=True, **more))

def ended(step, message, **more):
    notify(Progress(step, message, **more))
"""

DEPLOY = """
with Report().live() as notify:
    ended("plan", "read")
    passing("push", "layer a", key="a", done=0, total=4)
    passing("push", "layer b", key="b", done=0, total=4)
    passing("smoke", "1 initializing")
    sys.stdin.readline()
    passing("push", "layer a", key="a", done=1, total=4)
    ended("push", "layer b is there", key="b")
    passing("smoke", "1 running")
    sys.stdin.readline()
    ended("smoke", "passed")
"""


DETECT = """
from vidctl.cli import console
from vidctl.tasks.detect.model import Detections
with Report().counting("detect", 3, shown=True) as counter:
    for number in range(3):
        console.detections(Detections(f"{number}.jpg", 640, 480, ()))
        counter.count()
"""


class Terminal:
    """A script with a pseudo-terminal, and what would be on the screen."""

    def __init__(self, script: str, *, columns: int = 80, shell: str = '"$0" -c "$1"') -> None:
        self._typed = io.StringIO()
        self._child = pexpect.spawn(
            "/bin/sh",
            ["-c", shell, sys.executable, PRELUDE + script],
            # COLUMNS and LINES, which pytest sets, would go before the terminal's own size.
            env={
                **{name: os.environ[name] for name in os.environ if name not in ("COLUMNS", "LINES")},
                "TERM": "xterm",
            },
            dimensions=(200, columns),
            encoding="utf-8",
            echo=False,
            timeout=20,
        )
        self._child.logfile_read = self._typed

    def until(self, text: str) -> list[str]:
        """The screen when the text has come."""
        self._child.expect_exact(text)
        return screen(self.output)

    def type(self, text: str) -> None:
        self._child.send(text)

    def until_the_end(self) -> list[str]:
        self._child.expect(pexpect.EOF)
        return screen(self.output)

    @property
    def output(self) -> str:
        return self._typed.getvalue()


def screen(output: str) -> list[str]:
    """The lines that a terminal shows after this output; of its commands, those that Rich sends."""
    rows, row, column = [""], 0, 0
    for command, count, kind, text in re.findall(r"(\x1b\[\??(\d*)[\d;]*([A-Za-z]))|([\r\n]|[^\x1b\r\n]+)", output):
        if kind == "A":
            row -= int(count or 1)
        elif kind == "K":
            rows[row] = ""
        elif text == "\r":
            column = 0
        elif text == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif not command:
            rows[row] = rows[row][:column].ljust(column) + text + rows[row][column + len(text) :]
            column += len(text)
    return [line.rstrip() for line in rows if line.strip()]


def test_results_stand_above_the_bar():
    """Each on a line of its own; at the end the bar has gone."""
    lines = Terminal(DETECT).until_the_end()

    assert [f"{number}.jpg: nothing found, 640x480" for number in range(3)] == lines


def test_each_key_has_a_line_that_is_replaced_in_place():
    """What is under way stands below what is done, newest message only; in the end only what is done is left."""
    terminal = Terminal(DEPLOY)

    begun = terminal.until("1 initializing")
    terminal.type("\n")
    later = terminal.until("1 running")
    terminal.type("\n")
    left = terminal.until_the_end()

    nothing, quarter = "━" * 20, "━" * 5 + "╺" + "━" * 14
    assert begun == [
        "    plan  read",
        f"    push  layer a         {nothing}    0%",
        f"    push  layer b         {nothing}    0%",
        "   smoke  1 initializing",
    ]
    assert later == [
        "    plan  read",
        "    push  layer b is there",
        f"    push  layer a    {quarter}   25%",
        "   smoke  1 running",
    ]
    assert left == ["    plan  read", "    push  layer b is there", "   smoke  passed"]


def run(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The script without a terminal."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        env={"PATH": "/usr/bin:/bin", **environ},
        input="\n\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_without_a_terminal_each_thing_that_is_done_is_one_line():
    """A log holds plain lines, no percentages, and no sequence that moves a cursor, though colours be forced."""
    plain, coloured = run(DEPLOY), run(DEPLOY, FORCE_COLOR="1")

    assert plain.stderr == "    plan  read\n    push  layer b is there\n   smoke  passed\n"
    assert plain.stdout == ""
    assert re.sub(r"\x1b\[\d*m", "", coloured.stderr) == plain.stderr


@pytest.mark.parametrize("options", ["quiet=True", "as_json=True"])
def test_silence_is_silence_on_a_terminal_too(options):
    """--quiet and --json leave the screen as it was, cursor and all."""
    terminal = Terminal(DEPLOY.replace("Report()", f"Report({options})"))
    terminal.type("\n\n")
    terminal.until_the_end()

    assert terminal.output == ""


def test_several_specs_are_told_apart():
    """With a subject each line says whose it is, and what ends of one spec ends nothing of another."""
    terminal = Terminal(
        """
with Report().live() as notify:
    passing("build", "step 2/9", subject="yolo")
    passing("build", "step 3/9", subject="whisper")
    ended("push", "it is there", subject="yolo")
    sys.stdin.readline()
"""
    )

    both = terminal.until("whisper: step 3/9")
    terminal.type("\n")

    assert both == ["    push  yolo: it is there", "   build  whisper: step 3/9"]
    assert terminal.until_the_end() == ["    push  yolo: it is there"]


def test_threads_may_tell_at_the_same_time():
    """Parallel deploys lose no line and mix none."""
    terminal = Terminal(
        """
from concurrent.futures import ThreadPoolExecutor

def deploy(name):
    for number in range(40):
        passing("push", f"layer {number}", subject=name, key=str(number % 3), done=number, total=40)
        ended("apply", f"part {number}", subject=name)

with Report().live() as notify, ThreadPoolExecutor(4) as pool:
    list(pool.map(deploy, "abcd"))
"""
    )

    left = terminal.until_the_end()

    assert sorted(left) == sorted(f"   apply  {name}: part {number}" for name in "abcd" for number in range(40))


@pytest.mark.parametrize(("key", "left"), [("\x03", "KeyboardInterrupt"), ("\n", "ValueError")])
def test_whatever_ends_it_the_terminal_is_as_before(key, left):
    """After Ctrl-C or an error the lines of what was under way are gone and the cursor is back."""
    terminal = Terminal(
        """
try:
    with Report().live() as notify:
        passing("smoke", "1 initializing")
        sys.stdin.readline()
        raise ValueError
except (KeyboardInterrupt, ValueError) as error:
    print(type(error).__name__)
"""
    )

    terminal.until("1 initializing")
    terminal.type(key)

    assert terminal.until_the_end() == [left]
    assert terminal.output.rindex("\x1b[?25h") > terminal.output.rindex("\x1b[?25l")


def test_results_and_notes_go_above_what_is_under_way():
    """Other lines for the same screen disturb no live line, and stdout in a file stays out of it."""
    script = """
with Report().live() as notify:
    passing("smoke", "1 initializing")
    sys.stdin.readline()
    print("yolo: ready")
    Report().note("RUNPOD_API_KEY is not set")
    passing("smoke", "1 running")
    sys.stdin.readline()
"""
    shown = []
    for shell in ('"$0" -c "$1"', '"$0" -c "$1" > /dev/null'):
        terminal = Terminal(script, shell=shell)
        terminal.until("1 initializing")
        terminal.type("\n")
        shown.append(terminal.until("1 running"))
        terminal.type("\n")
        terminal.until_the_end()

    note, under_way = "RUNPOD_API_KEY is not set", "   smoke  1 running"
    assert shown == [["yolo: ready", note, under_way], [note, under_way]]


def test_foreign_words_command_no_terminal():
    """A line longer than the screen is cut, line breaks are folded, and escape sequences are shown, not obeyed."""
    terminal = Terminal(
        """
with Report().live() as notify:
    passing("push", "one\\x1b[2Jtwo\\nthree " + "x" * 100)
    passing("smoke", "1 running")
    sys.stdin.readline()
""",
        columns=40,
    )

    lines = terminal.until("1 running")
    terminal.type("\n")

    assert lines == [
        "    push  one\N{REPLACEMENT CHARACTER}[2Jtwo three xxxxxxxxxxxx…",
        "   smoke  1 running",
    ]
    assert terminal.until_the_end() == []


CONFIRM = 'print("answer:", Report().confirm("destroy yolo?"))'


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("yolo\n", False), ("\x04", False)],
)
def test_only_yes_is_a_yes(typed, answer):
    """Return, Ctrl-D and anything else leave things as they are."""
    terminal = Terminal(CONFIRM)

    assert terminal.until("[y/N] ") == ["destroy yolo? [y/N]"]
    terminal.type(typed)

    assert terminal.until_the_end()[-1].endswith(f"answer: {answer}")


def test_ctrl_c_at_a_question_interrupts():
    """It is neither a yes nor a no: the command's boundary gets it, and what it says has a line of its own."""
    terminal = Terminal(f"try:\n    {CONFIRM}\nexcept VidctlError as error:\n    print(error.code)")
    terminal.until("[y/N] ")
    terminal.type("\x03")

    assert terminal.until_the_end()[-1] == "interrupted"


def test_a_table_is_never_cut():
    """An id is there to be copied, on however narrow a terminal."""
    script = "from vidctl.cli import console\nconsole.table([('yolo', 'i' * 40)], header=('endpoint', 'id'), empty='')"

    assert Terminal(script, columns=20).until_the_end() == ["endpoint  id", f"yolo      {'i' * 40}"]


REFUSED = """
try:
    Report({options}).confirm("destroy yolo?")
except VidctlError as error:
    print(error.message, error.hint, sep="; ")
"""


def test_nobody_is_asked_who_cannot_answer():
    """Without a terminal, or with JSON on stderr, the question is an error that names the way out."""
    refused = "destroy yolo? No terminal to ask on; say yes beforehand with -y"

    assert run(REFUSED.format(options="")).stdout == f"{refused}\n"
    assert Terminal(REFUSED.format(options="as_json=True")).until_the_end() == [refused]
    assert Terminal(REFUSED.format(options=""), shell='"$0" -c "$1" < /dev/null').until_the_end() == [refused]


def test_a_place_in_a_file_is_no_emoji():
    """Rich knows `:100:` as one; what is not ours is shown as it is."""
    code = (
        "from vidctl.cli.report import failure\nfrom vidctl.errors import VidctlError\n"
        "failure(VidctlError('s.yaml:100:1: wrong', hint='see a:smile:b'), as_json=False)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr

    assert "error: s.yaml:100:1: wrong\nhint: see a:smile:b\n" == said


def test_names_forge_no_line_of_what_goes_on():
    """Of one failure among many, of a warning, a note and a step; what has lines on purpose keeps them."""
    code = """
from vidctl.cli.report import Report, failure
from vidctl.errors import MediaError, SeveralError
from vidctl.progress import Progress
from vidctl.tasks.results import Failed

name, report = "a\\nforged", Report()
report.failed(Failed(name, MediaError("no such file")))
report.failed(Failed(name, MediaError(f"{name}: no such file")))
report.warn(name)
report.note(name)
report.step(Progress("build", name))
failure(SeveralError([MediaError(name, hint=name), MediaError("b")]), as_json=False)
"""
    said = run(code).stderr.splitlines()

    assert ["error: 2 things stand in the way", "- a forged (a forged)", "- b"] == said[-3:]
    assert (8, []) == (len(said), [line for line in said if line.startswith("forged")])


def test_names_forge_no_line_and_no_field():
    """A line's end or a tab in a file's or a class's name: still one line of seven fields."""
    found = Detection((1.0, 2.0, 3.0, 4.0), 0.5, 0, "a\nb")
    (line,) = to_lines([Detections("x\ty.jpg", 10, 10, (found,))]).splitlines()

    assert ["x y.jpg", "a b", "0.50", "1", "2", "3", "4"] == line.split("\t")
