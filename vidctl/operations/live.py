"""What shows the state of a target, made for a project; it loads nothing of specs and images, which takes longer than
a request.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidctl.endpoints import connect
from vidctl.journal import Journal
from vidctl.progress import Notify, silent
from vidctl.project import settings
from vidctl.project.settings import Project
from vidctl.runpod.graphql import GraphQL
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs
from vidctl.runpod.rest import Rest
from vidctl.runpod.workers import WorkersApi


@dataclass(frozen=True)
class LiveTarget:
    """REST v2, whichever control plane changes the target, and what goes with it.

    `graphql` is for what only it tells: an account's balance and quota.
    """

    name: settings.Target
    project: Project
    rest: Rest
    graphql: GraphQL
    jobs: Jobs
    workers: WorkersApi
    journal: Journal


def live_target(project: Project, chosen: settings.Target, *, notify: Notify = silent) -> LiveTarget:
    """Everything that shows what runs there."""
    access = connect(project, chosen, notify=notify)
    http = Http(access.api_key)
    return LiveTarget(
        name=chosen,
        project=project,
        graphql=GraphQL(http, access.api_base_url, notify=notify),
        rest=Rest(http, access.api_base_url, notify=notify),
        jobs=Jobs(http, access.endpoint_base_url),
        workers=WorkersApi(http, f"{access.api_base_url}/v2"),
        journal=Journal(project.journal_file),
    )
