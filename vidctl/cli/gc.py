"""`vidctl gc`."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from vidctl.cli import options, targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from vidctl.cli.report import Report
    from vidctl.deploy.garbage import Garbage
    from vidctl.deploy.target import Target
    from vidctl.images import Built, Images
    from vidctl.project.settings import Project
    from vidctl.runpod.types import RegistryLogin, Template


@options.spread
def gc(
    target: options.Target = None,
    *,
    how: options.ChangeOptions,
    said: options.ReportOptions,
) -> None:
    """Delete what this project left behind, and no spec of it wants any more.

    Endpoints and templates of specs that are gone, registry logins that were saved from here and nothing uses, and
    images of such specs on this machine.  Names idle workers that cost, and the command that ends them.
    """
    from vidctl.deploy import garbage, lock, worker_images

    report = said.report()
    project, place = targets.deployed(report, target)
    images = worker_images.docker_images(project)
    keys = [each.key for each in garbage.find(project, place).endpoints]
    with lock.held(project.root, place.name, keys, timeout_s=60, notify=report.step):
        found, built = garbage.find(project, place), _images(images, project, report)
        for note in found.notes:
            report.note(note)
        what = ", ".join(filter(None, [str(found), *(f"image {each.tag}" for each in built)]))
        if what and how.confirmed(f"delete {what}?", report, "deleted"):
            _delete(found, built, project, place, images, report)
    if said.as_json:
        print(json.dumps(_document(found, built, place, is_done=not how.dry_run), indent=2))  # noqa: T201
    elif not what:
        report.note("nothing to delete")
    elif how.dry_run:
        print(f"would delete {what}")  # noqa: T201


def _images(images: Images, project: Project, report: Report) -> list[Built]:
    """Those of this project on this machine whose spec is gone; none where there is no engine."""
    from vidctl.errors import ImageError
    from vidctl.project import configs

    try:
        gone = {each.key for each in images.built()} - set(configs.keys(project.root))
        return images.outdated(keep=0, keys=gone) if gone else []
    except ImageError as error:
        report.detail(f"images are left out: {error.message}")
        return []


def _delete(
    found: Garbage, built: list[Built], project: Project, place: Target, images: Images, report: Report
) -> None:
    """Delete all of it, those after one that cannot be too; raise what went wrong."""
    from vidctl.cli.destroy import delete
    from vidctl.deploy import destroy
    from vidctl.errors import SeveralError, VidctlError

    def template(each: Template) -> None:
        place.control.delete_template(each)
        _say(report, f"{each.name}: deleted template {each.id}")

    def login(each: RegistryLogin) -> None:
        destroy.remove_login(each, place)
        _say(report, f"{each.name}: removed registry login {each.id}")

    failures: list[VidctlError] = []
    with report.live() as notify:
        work: list[Callable[[], object]] = [
            *(partial(delete, each, project, place, report, notify) for each in found.endpoints),
            *(partial(template, each) for each in found.templates),
            *(partial(login, each) for each in found.logins),
        ]
        for end in work:
            try:
                end()
            except VidctlError as error:  # noqa: PERF203  the others cost, too
                failures.append(error)
    for each in images.prune(built) if built else ():
        _say(report, f"{each.image.tag}: {f'kept: {each.kept_because}' if each.kept_because else 'removed'}")
    if failures:
        raise SeveralError.of(failures)


def _say(report: Report, line: str) -> None:
    if not report.as_json:
        print(line)  # noqa: T201


def _document(found: Garbage, built: list[Built], place: Target, *, is_done: bool) -> dict[str, Any]:
    return {
        "schema": "vidctl.gc/1",
        "target": place.name,
        "endpoints": [{"spec": each.key, "endpoint_id": each.live and each.live.id} for each in found.endpoints],
        "templates": [{"id": each.id, "name": each.name} for each in found.templates],
        "logins": [{"id": each.id, "name": each.name} for each in found.logins],
        "images": [{"spec": each.key, "image": each.tag} for each in built],
        "notes": list(found.notes),
        "is_done": is_done,
    }
