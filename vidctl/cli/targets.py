"""The project and the target that a command works with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.deploy.target import Target
    from vidctl.operations.live import LiveTarget
    from vidctl.project import settings


def deployed(report: Report, target: str | None) -> tuple[settings.Project, Target]:
    """The project, and everything that a deploy speaks to."""
    from vidctl.deploy import connect

    project, chosen = _chosen(report, target)
    return project, connect.deploy_target(project, chosen, notify=report.step)


def live(report: Report, target: str | None) -> LiveTarget:
    """What shows the state of the target."""
    from vidctl.operations.live import live_target

    return live_target(*_chosen(report, target), notify=report.step)


def _chosen(report: Report, target: str | None) -> tuple[settings.Project, settings.Target]:
    import os

    from vidctl import endpoints
    from vidctl.project import settings

    project = settings.open_project(Path.cwd(), os.environ)
    chosen, is_default = settings.choose_target(project, target, default=endpoints.default_target(project))
    if is_default:
        report.note(options.LOCAL_BY_DEFAULT)
    return project, chosen
