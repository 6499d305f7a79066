"""`vidctl registry`: the logins with which RunPod pulls images from private registries."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vidctl.cli import options, targets

registry = typer.Typer(help="Manage the logins with which RunPod pulls images from private registries.")
registry.callback(invoke_without_command=True)(options.help_alone)


@registry.command("login")
@options.spread
def login(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the login, for registry_auth: in a spec.")],
    username: Annotated[str, typer.Option("--username", "-u", help="User name at the registry.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help="Change an existing login of that name.")] = False,
    target: options.Target = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Save a login to a private registry at RunPod.

    The password comes from stdin or from VIDCTL_REGISTRY_PASSWORD, never from the command line.
    """
    import sys

    from vidctl.errors import NotOwnedError, UsageError

    report = said.report()
    project, place = targets.deployed(report, target)
    password = (
        sys.stdin.read().rstrip("\r\n") if password_stdin else project.environ.get("VIDCTL_REGISTRY_PASSWORD", "")
    )
    if not password:
        raise UsageError("no password given", hint="pipe it in with --password-stdin, or set VIDCTL_REGISTRY_PASSWORD")
    there = [each for each in place.control.registries() if each.name == name]
    if there and not adopt:
        raise NotOwnedError(f"registry login {name!r} ({there[0].id}) already exists", hint="change it with --adopt")
    saved = place.control.save_registry(name, username, password, id=there[0].id if there else None)
    place.journal.login_saved(saved.id, username, password)
    if said.as_json:
        print(json.dumps({"id": saved.id, "name": saved.name}))  # noqa: T201
    else:
        print(f"{saved.name}: saved registry login {saved.id}; write registry_auth: {saved.name} in a spec")  # noqa: T201


@registry.command("remove")
@options.spread
def remove_login(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the login.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Remove it even if endpoints use it: they cannot pull until deployed again."),
    ] = False,
    target: options.Target = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Remove a login from RunPod.

    One that an endpoint uses is removed only with --force.
    """
    from vidctl.deploy import destroy
    from vidctl.errors import NotDeployedError, NotOwnedError, UsageError

    report = said.report()
    _, place = targets.deployed(report, target)
    found = next((each for each in place.control.registries() if name in (each.name, each.id)), None)
    if found is None:
        raise NotDeployedError(f"registry login {name!r} not found", hint="vidctl registry list")
    users = ", ".join(f"{each.name} ({each.id})" for each in destroy.users_of(found, place))
    if users and not force:
        raise NotOwnedError(f"registry login {found.name} is used by {users}", hint="remove it anyway with --force")
    if not yes and not report.confirm(f"remove registry login {found.name} ({found.id}) on {place.name}?"):
        raise UsageError("aborted; nothing was removed")
    destroy.remove_login(found, place)
    if said.as_json:
        print(json.dumps({"id": found.id, "name": found.name}))  # noqa: T201
    else:
        print(f"{found.name}: removed registry login {found.id}")  # noqa: T201


@registry.command("list")
@options.spread
def list_logins(
    target: options.Target = None,
    *,
    said: options.ReportOptions,
) -> None:
    """List the logins that RunPod keeps.

    Their passwords cannot be read back.
    """
    from vidctl.cli import console

    _, place = targets.deployed(said.report(), target)
    logins = place.control.registries()
    if said.as_json:
        print(json.dumps([{"id": each.id, "name": each.name} for each in logins], indent=2))  # noqa: T201
        return
    empty = f"no registry logins on {place.name}"
    console.table([(each.name, each.id) for each in logins], header=("login", "id"), empty=empty)
