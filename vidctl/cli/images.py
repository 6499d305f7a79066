"""`vidctl build`, `vidctl push` and `vidctl images`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.images import BuildSource, Built, Images
    from vidctl.runpod.types import WorkerImage

app = typer.Typer(help="List the images that were built on this machine, newest first.", invoke_without_command=True)

Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME…", help="Specs: yolo means configs/yolo.yaml.", autocompletion=options.specs),
]


@options.spread
def build(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME…]", help="Specs: yolo means configs/yolo.yaml.", autocompletion=options.specs),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All specs in configs/ that are built; with -e, all that have the overlay.")
    ] = False,
    env: options.Environment = None,
    force: Annotated[bool, typer.Option("--force", help="Rebuild existing images, without the layer cache.")] = False,
    *,
    said: options.ReportOptions,
) -> None:
    """Build workers' images.

    An image is named by its content: one that exists is not built again.
    """
    from vidctl.cli import specs
    from vidctl.errors import UsageError

    report = said.report()
    if every == bool(names):
        there = ", ".join(specs.all_of(options.project_root(), env))
        raise UsageError("name the specs, or use --all", hint=f"available: {there}")
    images, sources = _workshop(names or specs.all_of(options.project_root(), env), env, is_any=every, report=report)
    # Who only builds needs no registry: the login is looked at when something is pushed.
    with report.live() as notify:
        done = [(source, images.build(source, notify, force=force)) for source in sources]
    _print(done, report, are_many=every)


@options.spread
def push(
    names: Names,
    env: options.Environment = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Push workers' images, built first if they are not.

    What the registry has is neither built nor pushed again.
    """
    from vidctl.errors import SeveralError, UsageError

    report = said.report()
    images, sources = _workshop(names, env)
    if unnamed := [source.key for source in sources if source.repository is None]:
        hint = "add image.repository to the spec"
        raise UsageError(f"{', '.join(unnamed)}: no repository to push to", hint=hint)
    absent = [source for source in sources if images.look(source).digest is None]
    if problems := [problem for source in absent for problem in images.problems(source)]:
        raise SeveralError.of(problems)
    with report.live() as notify:
        done = [(source, images.provide(source, notify)) for source in sources]
    _print(done, report)


@app.callback()
@options.spread
def list_images(context: typer.Context, *, said: options.ReportOptions) -> None:
    """List the images that were built on this machine, newest first: what was pushed, and which layer changed."""
    from vidctl.cli import console

    if context.invoked_subcommand is not None:
        return
    found = _images().built()
    if said.as_json:
        print(json.dumps([_entry(each) for each in found], indent=2))  # noqa: T201
        return
    console.table(
        [
            (each.key, each.tag, _moment(each.created_at), _megabytes(each.size),
             "yes" if each.digest else "no", _change(each))
            for each in found
        ],
        header=("spec", "image", "created", "size", "pushed", "changed layer"),
        empty="no images built on this machine",
    )  # fmt: skip


@app.command("prune")
@options.spread
def prune(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME…]", help="Specs [default: all].", autocompletion=options.specs),
    ] = None,
    keep: Annotated[int, typer.Option("--keep", min=0, metavar="N", help="Images to keep of each spec.")] = 3,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    *,
    said: options.ReportOptions,
) -> None:
    """Remove old images that vidctl built for this project on this machine.

    Keeps the newest of each spec, and removes nothing from registries.
    """
    from vidctl.errors import UsageError

    report, images = said.report(), _images()
    found = images.outdated(keep=keep, keys=names or (), repositories=_repositories(report))
    size = _megabytes(sum(each.size for each in found))
    if found and not yes and not report.confirm(f"remove {len(found)} images ({size} with the layers they share)?"):
        raise UsageError("aborted; nothing was removed")
    done = images.prune(found)
    if said.as_json:
        print(json.dumps([{**_entry(each.image), "kept_because": each.kept_because} for each in done], indent=2))  # noqa: T201
        return
    for each in done:
        print(f"{each.image.tag}: {f'kept: {each.kept_because}' if each.kept_because else 'removed'}")  # noqa: T201
    if not found:
        report.note("nothing to remove")


def _images() -> Images:
    import os

    from vidctl.deploy import worker_images
    from vidctl.project import settings

    return worker_images.docker_images(settings.open_project(Path.cwd(), os.environ))


def _repositories(report: Report) -> set[str]:
    """Where this project's images are: one without a project's label, of an older vidctl, is known by its name.

    Not by a name that vidctl gave it, after the worker's folder: another project may have a folder of that name.
    """
    import os

    from vidctl import spec
    from vidctl.errors import SpecError
    from vidctl.project import settings

    project = settings.open_project(Path.cwd(), os.environ)
    found: set[str] = set()
    for name in spec.names(project.root):
        for overlay in (None, *spec.overlays(project.root, name)):
            try:
                (each,) = spec.load_all([name], root=project.root, environ=project.environ, overlay=overlay)
            except SpecError as error:
                reason = error.message.splitlines()[0]
                report.note(f"keeping images of {name} without a project label: invalid spec: {reason}")
                continue
            if each.image.build and each.image.repository:
                found.add(each.image.repository)
    return found


def _workshop(
    names: list[str], env: str | None, *, is_any: bool = False, report: Report | None = None
) -> tuple[Images, list[BuildSource]]:
    """The engine's images, and what the specs say to build; raise UsageError for one that is prebuilt.

    Of any specs those are left out, and it is said.
    """
    import os

    from vidctl import spec
    from vidctl.deploy import worker_images
    from vidctl.project import settings

    project = settings.open_project(Path.cwd(), os.environ)
    specs = spec.load_all(names, root=project.root, environ=project.environ, overlay=env)
    if is_any:
        for each in specs:
            if each.image.build is None and report is not None:
                report.note(f"{each.key}: skipped: its image is prebuilt ({each.image.reference})")
        specs = [each for each in specs if each.image.build is not None]
    return worker_images.docker_images(project), [worker_images.image_source(each, project.environ) for each in specs]


def _print(done: list[tuple[BuildSource, WorkerImage]], report: Report, *, are_many: bool = False) -> None:
    if report.as_json:
        documents = [{"spec": source.key, "image": image.tag, "digest": image.digest} for source, image in done]
        print(json.dumps(documents[0] if len(documents) == 1 and not are_many else documents, indent=2))  # noqa: T201
    else:
        for source, image in done:
            print(f"{source.key}: {image.digest or image.tag}")  # noqa: T201


def _entry(each: Built) -> dict[str, Any]:
    return {
        "spec": each.key,
        "image": each.tag,
        "digest": each.digest,
        "created": _moment(each.created_at),
        "size": each.size,
        "changed_layer": each.changed_step,
        "changed_bytes": each.changed_bytes,
    }


def _moment(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _change(each: Built) -> str:
    if each.changed_bytes is None:
        return "the first"
    return f"{each.changed_step} ({_megabytes(each.changed_bytes)})" if each.changed_step else "none"
