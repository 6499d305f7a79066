"""What a deploy speaks to, made for a project and a target: here and in `client` real collaborators are chosen."""

from __future__ import annotations

from vidctl import spec
from vidctl.deploy import target
from vidctl.deploy.worker_images import ProjectImages
from vidctl.endpoints import connect
from vidctl.journal import Journal
from vidctl.local import daemon
from vidctl.progress import Notify, silent
from vidctl.project import settings
from vidctl.project.settings import Project
from vidctl.runpod.control import control
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs
from vidctl.runpod.workers import WorkersApi


def deploy_target(project: Project, chosen: settings.Target, *, notify: Notify = silent) -> target.Target:
    """Everything that a deploy speaks to."""
    access = connect(project, chosen, notify=notify)
    http = Http(access.api_key)
    return target.Target(
        name=chosen,
        control=control(control_plane(project), http, access.api_base_url, notify=notify),
        jobs=Jobs(http, access.endpoint_base_url),
        workers=WorkersApi(http, f"{access.api_base_url}/v2"),
        images=ProjectImages(project, _local_isolation(project) if chosen == "local" else None),
        journal=Journal(project.journal_file),
    )


def control_plane(project: Project) -> settings.ControlPlane:
    """GraphQL or REST v2, as the environment, `.env` or the project's vidctl.yaml say."""
    return settings.control_plane(project, spec.settings_of(project.root).control)


def _local_isolation(project: Project) -> daemon.Isolation:
    running = daemon.connection(settings.local_port(project))
    return running.isolation if running else "process"
