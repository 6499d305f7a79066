"""`vidctl local`: the RunPod-compatible runtime on this machine."""

from __future__ import annotations

import json
import os
import shlex
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vidctl.cli import options

app = typer.Typer(
    help="RunPod's protocol on this machine: no key, no GPU, no bill.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="The runtime's port [default: $VIDCTL_LOCAL_PORT, else 8421].")
]


app.callback(invoke_without_command=True)(options.help_alone)


def _port(given: int | None) -> int | None:
    """The option, else what the environment or `.env` says; None means the default."""
    from vidctl.project import settings

    return given if given is not None else settings.local_port(settings.open_project(Path.cwd(), os.environ))


def _deployed(name: str) -> str | None:
    """The id of the endpoint that a spec of this project has here."""
    from vidctl.project import configs, settings

    variable = settings.endpoint_id_name(configs.key_of(name, None), "local")
    return settings.open_project(Path.cwd(), os.environ).environ.get(variable)


class Isolation(str, Enum):
    """What runs a worker."""

    PROCESS = "process"
    CONTAINER = "container"


@app.command()
@options.spread
def up(
    port: Port = None,
    isolation: Annotated[
        Isolation | None,
        typer.Option(help="Run deployed workers as processes from their folder, or as containers of their image."),
    ] = None,
    rate_limits: Annotated[
        bool | None,
        typer.Option(
            "--rate-limits/--no-rate-limits",
            help="Answer requests over RunPod's rate limits with 429, as RunPod does [default: yes].",
            show_default=False,
        ),
    ] = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Start the runtime in the background.

    Do nothing if it is running; restart it if its isolation or rate limits differ.
    """
    from vidctl.local import daemon

    report = said.report()
    chosen: daemon.Isolation | None = isolation.value if isolation else None
    running = daemon.up(_port(port), isolation=chosen, has_rate_limits=rate_limits, notify=report.note)
    document = {
        "schema": "vidctl.local.up/1",
        "url": running.url,
        "port": running.port,
        "pid": running.pid,
        "isolation": running.isolation,
        "rate_limits": running.has_rate_limits,
    }
    print(json.dumps(document) if said.as_json else f"the local runtime is running at {running.url}")  # noqa: T201


@app.command()
@options.spread
def down(port: Port = None, *, said: options.ReportOptions) -> None:
    """Stop the runtime and its workers.

    Queued jobs are kept for the next start.
    """
    from vidctl.local import daemon

    stopped = daemon.down(_port(port))
    message = "the local runtime is stopped" if stopped else "the local runtime was not running"
    print(json.dumps({"schema": "vidctl.local.down/1", "stopped": stopped}) if said.as_json else message)  # noqa: T201


@app.command()
@options.spread
def status(port: Port = None, *, said: options.ReportOptions) -> None:
    """Show whether the runtime is running, its endpoints and workers.

    The exit status is 5 if it is not running.
    """
    from vidctl.cli import console
    from vidctl.errors import NotDeployedError
    from vidctl.local import daemon

    running = daemon.connection(_port(port))
    if running is None:
        raise NotDeployedError("the local runtime is not running", hint="start it: vidctl local up")
    endpoints = daemon.endpoints(running)
    if said.as_json:
        document = {
            "schema": "vidctl.local.status/1",
            "url": running.url,
            "pid": running.pid,
            "isolation": running.isolation,
            "rate_limits": running.has_rate_limits,
            "endpoints": endpoints,
        }
        print(json.dumps(document, indent=2))  # noqa: T201
        return
    limits = "as RunPod's" if running.has_rate_limits else "none"
    facts = f"process {running.pid}, isolation: {running.isolation}, rate limits: {limits}"
    print(f"running at {running.url} ({facts})")  # noqa: T201
    console.table(
        [(e["name"], e["id"], _counts(e["workers"]), _counts(e["jobs"])) for e in endpoints],
        header=("endpoint", "id", "workers", "jobs"),
        empty="no endpoints",
    )


@app.command()
@options.spread
def logs(
    endpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="[ENDPOINT]",
            help="A spec, or an endpoint's name or id [default: the runtime itself].",
            autocompletion=options.specs,
        ),
    ] = None,
    tail: Annotated[int, typer.Option(min=1, help="Number of lines to print.")] = 100,
    port: Port = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Print the last log lines of an endpoint, or of the runtime."""
    from vidctl.cli import console
    from vidctl.local import daemon

    lines = daemon.logs(endpoint, port=_port(port), tail=tail, known_id=_deployed(endpoint) if endpoint else None)
    if said.as_json:
        print(json.dumps(lines, indent=2))  # noqa: T201
        return
    for line in lines:
        console.log_line(line)


@app.command()
@options.spread
def env(port: Port = None, *, said: options.ReportOptions) -> None:
    """Print variables that point any RunPod client at the runtime.

    For a shell: eval "$(vidctl local env)".
    """
    from vidctl.errors import NotDeployedError
    from vidctl.local import daemon

    running = daemon.connection(_port(port))
    if running is None:
        raise NotDeployedError("the local runtime is not running", hint="start it: vidctl local up")
    variables = {
        "RUNPOD_API_KEY": running.api_key,
        "RUNPOD_API_BASE_URL": running.api_base_url,
        "RUNPOD_ENDPOINT_BASE_URL": running.endpoint_base_url,
        **_other_tools(running.url),
        # For vidctl itself, which would take a key for RunPod's.
        "VIDCTL_TARGET": "local",
        "VIDCTL_LOCAL_PORT": str(running.port),
    }
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    print(json.dumps(variables) if said.as_json else f"export {words}")  # noqa: T201


def _other_tools(url: str) -> dict[str, str]:
    """The same for RunPod's other tools, which would send the local key to RunPod.

    Of the MCP server see src/_shared/hosts.ts in runpod/runpod-mcp, of runpodctl internal/configenv in
    runpod/runpodctl.  runpod-sdk for JavaScript reads no variable: it takes `baseUrl`.
    """
    return {
        "RUNPOD_SERVERLESS_API_URL": f"{url}/v2",
        "RUNPOD_PUBLIC_GRAPHQL_URL": f"{url}/graphql",
        "RUNPOD_AUTHED_GRAPHQL_URL": f"{url}/graphql",
        "RUNPOD_API_URL": f"{url}/v1",  # REST v1, which the local runtime does not have: a 404, and no key sent away
        "RUNPOD_REST_V2_URL": f"{url}/v2",
        "RUNPOD_GRAPHQL_URL": f"{url}/graphql",
        "RUNPOD_INVOKE_URL": f"{url}/v2",
    }


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count and name != "ready") or "none"
