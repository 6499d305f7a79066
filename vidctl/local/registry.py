"""What was saved through the control plane: templates, endpoints and registry logins, kept in SQLite.

The rows are JSON documents, so that a newer vidctl reads what an older one wrote: a field it does not find has its
default.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import string
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from vidctl.local.records import EndpointRecord, TemplateRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS templates (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS endpoints (id TEXT PRIMARY KEY, template_id TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS registry_auths (id TEXT PRIMARY KEY, record TEXT NOT NULL);
"""
# A change in one of these makes new workers.  The others say how many there are, for how long, or what they are called.
_WORKERS_ARE_MADE_OF = (
    "template_id",
    "gpu_ids",
    "gpu_count",
    "locations",
    "network_volume_id",
    "network_volume_ids",
    "instance_ids",
    "allowed_cuda_versions",
    "min_cuda_version",
    "model_references",
    "compliance",
    "flash_boot_type",
    "type",
)

_Record = TypeVar("_Record", bound="TemplateRecord | EndpointRecord | RegistryAuthRecord")


class RegistryError(ValueError):
    """The change would break what the registry promises: unique template names, no endpoint without its template."""


@dataclass(frozen=True)
class RegistryAuthRecord:
    """A login to a private container registry."""

    id: str
    name: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


class Registry:
    """The templates, endpoints and registry logins of one runtime.

    `on_change` is called with an endpoint's id after the endpoint or its template
    changed or the endpoint was deleted.  Saving what is already there changes nothing and calls nobody.
    """

    def __init__(self, database: Path) -> None:
        self.on_change: Callable[[str], None] = lambda _endpoint_id: None
        self._connection = sqlite3.connect(database, timeout=30, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def endpoint(self, endpoint_id: str) -> EndpointRecord | None:
        return self._one(EndpointRecord, "SELECT record FROM endpoints WHERE id = ?", endpoint_id)

    def endpoints(self) -> tuple[EndpointRecord, ...]:
        """All endpoints, oldest first."""
        return self._many(EndpointRecord, "SELECT record FROM endpoints ORDER BY rowid")

    def template(self, template_id: str) -> TemplateRecord | None:
        return self._one(TemplateRecord, "SELECT record FROM templates WHERE id = ?", template_id)

    def template_named(self, name: str) -> TemplateRecord | None:
        return self._one(TemplateRecord, "SELECT record FROM templates WHERE name = ?", name)

    def templates(self) -> tuple[TemplateRecord, ...]:
        """All templates, oldest first."""
        return self._many(TemplateRecord, "SELECT record FROM templates ORDER BY rowid")

    def registry_auth(self, auth_id: str) -> RegistryAuthRecord | None:
        return self._one(RegistryAuthRecord, "SELECT record FROM registry_auths WHERE id = ?", auth_id)

    def registry_auths(self) -> tuple[RegistryAuthRecord, ...]:
        """All registry logins, oldest first."""
        return self._many(RegistryAuthRecord, "SELECT record FROM registry_auths ORDER BY rowid")

    def save_template(self, record: TemplateRecord) -> TemplateRecord:
        """Create it when its id is empty, else replace it; return it as kept.

        Endpoints that use it get a new version when their workers must be replaced.  Raise RegistryError when another
        template has the name.
        """
        with self._transaction():
            before = self.template(record.id) if record.id else None
            after = record if record.id else replace(record, id=_new_id(10))
            if before == after:
                return after
            namesake = self.template_named(after.name)
            if namesake is not None and namesake.id != after.id:
                raise RegistryError("Template name must be unique.")
            self._connection.execute(
                "INSERT INTO templates VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET name = excluded.name, record = excluded.record",
                (after.id, after.name, _dump(after)),
            )
            users = self._users(after.id)
            if before is not None and _content(before) != _content(after):
                for user in users:
                    self._store_endpoint(replace(user, version=user.version + 1))
        self._tell(user.id for user in users)
        return after

    def save_endpoint(self, record: EndpointRecord) -> EndpointRecord:
        """Create it when its id is empty, else replace it; return it as kept, with the version that it now has.

        Raise RegistryError when its template does not exist.
        """
        with self._transaction():
            before = self.endpoint(record.id) if record.id else None
            after = _successor(before, record)
            if before == after:
                return after
            if self.template(after.template_id) is None:
                raise RegistryError("Template not found.")
            self._store_endpoint(after)
        self._tell([after.id])
        return after

    def delete_template(self, name: str) -> None:
        """Forget the template of that name, if there is one; raise RegistryError while an endpoint uses it."""
        with self._transaction():
            template = self.template_named(name)
            if template is not None and self._users(template.id):
                raise RegistryError("Template is in use by an endpoint.")
            self._connection.execute("DELETE FROM templates WHERE name = ?", (name,))

    def delete_endpoint(self, endpoint_id: str) -> None:
        """Forget the endpoint, if there is one."""
        with self._transaction():
            deleted = self._connection.execute("DELETE FROM endpoints WHERE id = ?", (endpoint_id,)).rowcount
        self._tell([endpoint_id] if deleted else [])

    def save_registry_auth(self, record: RegistryAuthRecord) -> RegistryAuthRecord:
        """Create it when its id is empty, else replace it; return it as kept."""
        after = record if record.id else replace(record, id=_new_id(25))
        with self._transaction():
            self._connection.execute(
                "INSERT INTO registry_auths VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                (after.id, _dump(after)),
            )
        return after

    def delete_registry_auth(self, auth_id: str) -> None:
        """Forget the login, if there is one."""
        with self._transaction():
            self._connection.execute("DELETE FROM registry_auths WHERE id = ?", (auth_id,))

    def _users(self, template_id: str) -> tuple[EndpointRecord, ...]:
        return self._many(
            EndpointRecord, "SELECT record FROM endpoints WHERE template_id = ? ORDER BY rowid", template_id
        )

    def _store_endpoint(self, record: EndpointRecord) -> None:
        self._connection.execute(
            "INSERT INTO endpoints VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET template_id = excluded.template_id, record = excluded.record",
            (record.id, record.template_id, _dump(record)),
        )

    def _one(self, kind: type[_Record], query: str, *values: str) -> _Record | None:
        return next(iter(self._many(kind, query, *values)), None)

    def _many(self, kind: type[_Record], query: str, *values: str) -> tuple[_Record, ...]:
        rows = self._connection.execute(query, values).fetchall()
        return tuple(_load(kind, row[0]) for row in rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE takes the write lock before the first read: nobody changes what a decision was based on.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _tell(self, endpoint_ids: Iterable[str]) -> None:
        for endpoint_id in endpoint_ids:
            self.on_change(endpoint_id)


def _successor(before: EndpointRecord | None, record: EndpointRecord) -> EndpointRecord:
    """What to keep of `record`: the id, the time of creation and the version are the registry's to say."""
    if before is None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return replace(record, id=record.id or _new_id(14), created_at=record.created_at or now, version=0)
    new_workers = any(getattr(before, name) != getattr(record, name) for name in _WORKERS_ARE_MADE_OF)
    return replace(record, created_at=before.created_at, version=before.version + new_workers)


def _content(template: TemplateRecord) -> TemplateRecord:
    """The template without what no worker sees."""
    return replace(template, name="", readme="", is_serverless=True)


def _new_id(length: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def _dump(record: TemplateRecord | EndpointRecord | RegistryAuthRecord) -> str:
    return json.dumps(asdict(record))


def _load(kind: type[_Record], document: str) -> _Record:
    values: dict[str, Any] = json.loads(document)
    known: dict[str, Any] = {item.name: values[item.name] for item in fields(kind) if item.name in values}
    for name, value in known.items():
        known[name] = tuple(value) if isinstance(value, list) else value
    return kind(**known)
