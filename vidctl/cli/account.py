"""`vidctl list`, `vidctl destroy` and `vidctl registry`: what is in the account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.deploy import Possession, Target
    from vidctl.resources import Endpoint
    from vidctl.settings import Project

registry = typer.Typer(help="Logins to private registries, which RunPod keeps to pull images.", no_args_is_help=True)


def list_endpoints(
    target: options.Target = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """List the account's endpoints: which spec made them, workers, GPUs, and what they cost when idle."""
    from vidctl.cli import report

    _, place = _place(report.Report(quiet=quiet, as_json=as_json), target)
    rows = [_row(each) for each in place.control.account().endpoints]
    if as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201
        return
    report.table(
        [
            (row["name"], row["id"], row["spec"] or "-", f"{row['workers_min']}-{row['workers_max']}", row["gpu_ids"],
             _dollars(row["idle_per_hour"]), row["image"])
            for row in rows
        ],
        header=("endpoint", "id", "spec", "workers", "gpus", "idle $/h", "image"),
    )  # fmt: skip


def destroy(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME…", help="Specs, or endpoints' ids.", autocompletion=options.specs)
    ],
    env: options.Environment = None,
    target: options.Target = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help="Also what vidctl, or this spec, did not make.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Delete endpoints, their workers and queued jobs, and their templates.  A spec stays as it is."""
    from vidctl import deploy, rollout, settings
    from vidctl.cli.report import Report
    from vidctl.errors import UsageError

    report = Report(quiet=quiet, as_json=as_json)
    project, place = _place(report, target)
    keys = [f"{name}.{env}" if env else name for name in dict.fromkeys(names)]
    documents = []
    locks = project.root / ".vidctl" / "locks"
    with rollout.locked(keys, place.name, locks, timeout_s=60, notify=report.step):
        found = [_thing(key, project, place, adopts=adopt) for key in keys]
        told = ", ".join(str(each) for each in found)
        if not yes and not report.confirm(f"delete {told} on {place.name}?"):
            raise UsageError("nothing was deleted: you said no")
        with report.live() as notify:
            for each in found:
                deploy.destroy(each, place, notify=notify)
                settings.forget(project.env_file, settings.endpoint_id_name(each.key, place.name))
                documents.append({"spec": each.key, "target": place.name, "endpoint_id": each.live and each.live.id})
                if not report.is_silent:
                    print(f"{each.key}: {each} is gone")  # noqa: T201
    if as_json:
        print(json.dumps(documents, indent=2))  # noqa: T201


def _thing(key: str, project: Project, place: Target, *, adopts: bool) -> Possession:
    """What a spec made, by its stamp or by the spec's name; or an endpoint by its id.  Raise NotDeployed."""
    from vidctl import deploy, plan, spec
    from vidctl.errors import NotDeployed, SpecError

    account = place.control.account()
    by_id = [each for each in account.endpoints if each.id == key]
    stamped = [each for each in account.endpoints if plan.owner(each) == key]
    live = next(iter(by_id or stamped), None)
    name = live.name if live else None
    if live is None:
        try:
            (known,) = spec.load_all([key], root=project.root, environ=project.environ)
        except SpecError as error:
            raise NotDeployed(f"{key}: there is no such endpoint, and no such spec", hint="vidctl list") from error
        live, name = deploy.find(known, account), known.name
    templates = deploy.leftovers(key, name or "", place)
    if live is None and not templates:
        raise NotDeployed(f"{key} is not deployed to {place.name}", hint="vidctl list")
    if live is not None:
        deploy.require_owned(live, key, place.journal, adopts=adopts or bool(by_id and plan.owner(live)))
    return deploy.Possession(key, live, templates)


@registry.command("login")
def login(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What a spec's registry_auth: calls it.")],
    username: Annotated[str, typer.Option("--username", "-u", help="The registry's user.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help="Change a login of that name that is there.")] = False,
    target: options.Target = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Give RunPod a login to a private registry.

    The password comes from stdin, or from VIDCTL_REGISTRY_PASSWORD; never from the command line.
    """
    import sys

    from vidctl.cli.report import Report
    from vidctl.errors import NotOwned, UsageError

    report = Report(quiet=quiet, as_json=as_json)
    project, place = _place(report, target)
    password = (
        sys.stdin.read().rstrip("\r\n") if password_stdin else project.environ.get("VIDCTL_REGISTRY_PASSWORD", "")
    )
    if not password:
        raise UsageError(
            "there is no password", hint="pipe it in with --password-stdin, or set VIDCTL_REGISTRY_PASSWORD"
        )
    there = [each for each in place.control.registries() if each.name == name]
    if there and not adopt:
        raise NotOwned(
            f"RunPod has a login named {name!r} ({there[0].id})", hint="--adopt gives it this user and password"
        )
    saved = place.control.save_registry(name, username, password, id=there[0].id if there else None)
    if as_json:
        print(json.dumps({"id": saved.id, "name": saved.name}))  # noqa: T201
    else:
        print(f"{saved.name}: RunPod has this login ({saved.id}); write registry_auth: {saved.name} in a spec")  # noqa: T201


@registry.command("list")
def list_logins(
    target: options.Target = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """List the logins that RunPod keeps; nobody can read their passwords back."""
    from vidctl.cli import report

    _, place = _place(report.Report(quiet=quiet, as_json=as_json), target)
    logins = place.control.registries()
    if as_json:
        print(json.dumps([{"id": each.id, "name": each.name} for each in logins], indent=2))  # noqa: T201
        return
    report.table([(each.name, each.id) for each in logins], header=("login", "id"))


def _place(report: Report, target: str | None) -> tuple[Project, Target]:
    import os

    from vidctl import settings, spec, targets

    project = settings.open_project(Path.cwd(), os.environ)
    chosen, is_default = settings.choose_target(project, target, default=spec.settings_of(project.root).target)
    if is_default:
        report.note("RUNPOD_API_KEY is not set: this is the local runtime (--target local)")
    return project, targets.deploy_target(project, chosen, notify=report.step)


def _row(endpoint: Endpoint) -> dict[str, Any]:
    from vidctl import plan

    costs = plan.cost(endpoint)
    return {
        "name": endpoint.name,
        "id": endpoint.id,
        "spec": plan.owner(endpoint),
        "workers_min": endpoint.workers_min,
        "workers_max": endpoint.workers_max,
        "gpu_ids": endpoint.gpu_ids,
        "idle_per_hour": costs.idle,
        "most_per_hour": costs.most,
        "image": endpoint.template.image,
    }


def _dollars(amount: float | None) -> str:
    return "?" if amount is None else f"{amount:.2f}"
