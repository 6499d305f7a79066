"""The test of the design: a new kind of worker is a worker, a spec, a task, a command, and one line in the table."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

HANDLER = """
import runpod


def handler(job):
    return {"shouted": job["input"]["text"].upper()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
"""
SPEC = """
name: toy
task: toy
image:
  build: workers/toy
gpu: L4
smoke:
  input: workers/toy/test_input.json
  contains: {shouted: HELLO}
"""
TASK = '''
"""Shout text."""

from vidctl.tasks.invoker import Request


def run(context, text):
    invoker = context.connect(context.find())
    return invoker.ask(Request({"text": text}, "toy", None), timeout_s=context.timeout_s).output["shouted"]
'''
COMMAND = '''
"""`vidctl toy`."""

from typing import Annotated

import typer

from vidctl.cli import options


def toy(text: Annotated[str, typer.Argument(help="What to shout.")], target: options.Target = None) -> None:
    """Shout text."""
    from vidctl.client import Client

    print(Client(target=target).run_task("toy", text))
'''
LINE = '    "toy": TaskKind("Shout text.", "hello", None, "vidctl.cli.toy", "vidctl.tasks.toy.run"),\n'


def test_a_new_kind_is_five_files_and_one_line(project, tmp_path):
    """`validate`, the schema, `deploy`, what it says to try, the command and `run_task` need no other edit."""
    house = tmp_path / "house"
    shutil.copytree(ROOT / "vidctl", house / "vidctl", ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in {
        project.root / "workers/toy/handler.py": HANDLER,
        project.root / "workers/toy/test_input.json": '{"input": {"text": "hello"}}',
        project.root / "configs/toy.yaml": SPEC,
        house / "vidctl/tasks/toy/__init__.py": "",
        house / "vidctl/tasks/toy/run.py": TASK,
        house / "vidctl/cli/toy.py": COMMAND,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    table = house / "vidctl/kinds.py"
    before, kinds, after = table.read_text().partition("KINDS = {\n")
    table.write_text(f"{before}{kinds}{LINE}{after}")
    project.environ["PYTHONPATH"] = str(house)

    valid = project.run("validate", "toy", "--json")
    schema = project.run("schema").stdout
    deployed = project.run("deploy", "toy", "--target", "local")
    shouted = project.run("toy", "hello")
    program = "from vidctl import Client; print(Client().run_task('toy', 'hello'))"
    scripted = subprocess.run(
        [sys.executable, "-c", program], cwd=project.root, env={**os.environ, **project.environ}, capture_output=True
    )

    assert ["toy"] == [each["spec"] for each in valid.document["valid"]], valid.stderr
    assert json.dumps("toy") in schema
    assert (0, True) == (deployed.status, "try: vidctl toy hello" in deployed.stderr), deployed.stderr
    assert (0, "HELLO\n") == (shouted.status, shouted.stdout), shouted.stderr
    assert (0, b"HELLO\n") == (scripted.returncode, scripted.stdout), scripted.stderr
