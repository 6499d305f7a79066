"""What was saved through the control planes, kept in SQLite: templates, endpoints and their releases, logins, volumes.

The rows are JSON documents, so that a newer vidctl reads what an older one wrote: a field it does not find has its
default.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import string
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from vidctl.local.control_plane.records import (
    EndpointRecord,
    NetworkVolumeRecord,
    RegistryAuthRecord,
    ReleaseRecord,
    TemplateRecord,
)
from vidctl.local.control_plane.releases import changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS templates (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS endpoints (id TEXT PRIMARY KEY, template_id TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS registry_auths (id TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS network_volumes (id TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS releases (id TEXT PRIMARY KEY, endpoint_id TEXT NOT NULL, record TEXT NOT NULL);
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

_Record = TypeVar("_Record", TemplateRecord, EndpointRecord, RegistryAuthRecord, NetworkVolumeRecord, ReleaseRecord)


class RecordError(ValueError):
    """The change would break what the store promises: unique template names, no endpoint without its template."""


class RecordStore:
    """The templates, endpoints, registry logins and network volumes of one runtime.

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

    def releases(self, endpoint_id: str) -> tuple[ReleaseRecord, ...]:
        """The versions of an endpoint, newest first."""
        query = "SELECT record FROM releases WHERE endpoint_id = ? ORDER BY rowid DESC"
        return self._many(ReleaseRecord, query, endpoint_id)

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

    def network_volume(self, volume_id: str) -> NetworkVolumeRecord | None:
        return self._one(NetworkVolumeRecord, "SELECT record FROM network_volumes WHERE id = ?", volume_id)

    def network_volumes(self) -> tuple[NetworkVolumeRecord, ...]:
        """All network volumes, oldest first."""
        return self._many(NetworkVolumeRecord, "SELECT record FROM network_volumes ORDER BY rowid")

    def save_template(self, record: TemplateRecord) -> TemplateRecord:
        """Create it when its id is empty, else replace it; return it as kept.

        Endpoints that use it get a new version when their workers must be replaced.  Raise RegistryError when another
        template has the name.
        """
        with self._transaction():
            before = self.template(record.id) if record.id else None
            after = record if record.id else replace(record, id=new_id(10))
            if before == after:
                return after
            self._store_template(after)
            users = self._users(after.id)
            if before is not None and _content(before) != _content(after):
                for user in users:
                    self._keep(user, replace(user, version=user.version + 1), before, after)
        self._notify(user.id for user in users)
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
            template = self.template(after.template_id)
            if template is None:
                raise RecordError("Template not found.")
            self._keep(before, after, self.template(before.template_id) if before else None, template)
        self._notify([after.id])
        return after

    def save_with_container(self, record: EndpointRecord, container: TemplateRecord) -> EndpointRecord:
        """Save an endpoint whose workers are made of `container`, as one change and at most one new version.

        The template that it has stays when it says the same, and is changed when nobody else uses it and it was made
        for this endpoint.  Otherwise the endpoint gets a template of its own.
        """
        with self._transaction():
            record = replace(record, id=record.id or new_id(14))
            before = self.endpoint(record.id)
            had = self.template(before.template_id) if before else None
            has = self._own_template(record, had, container)
            after = _successor(before, replace(record, template_id=has.id), is_new_content=has != had)
            if before == after and had == has:
                return after
            if had != has:
                self._store_template(has)
            self._keep(before, after, had, has)
        self._notify([after.id])
        return after

    def delete_template(self, name: str) -> None:
        """Forget the template of that name, if there is one; raise RegistryError while an endpoint uses it."""
        with self._transaction():
            template = self.template_named(name)
            if template is not None and self._users(template.id):
                raise RecordError("Template is in use by an endpoint.")
            self._connection.execute("DELETE FROM templates WHERE name = ?", (name,))

    def delete_endpoint(self, endpoint_id: str, *, with_template: bool = False) -> None:
        """Forget the endpoint, if there is one, and if asked to, the template that was made for it."""
        with self._transaction():
            deleted = self._connection.execute("DELETE FROM endpoints WHERE id = ?", (endpoint_id,)).rowcount
            self._connection.execute("DELETE FROM releases WHERE endpoint_id = ?", (endpoint_id,))
            for template in self.templates() if with_template else ():
                if template.bound_endpoint_id == endpoint_id and not self._users(template.id):
                    self._connection.execute("DELETE FROM templates WHERE id = ?", (template.id,))
        self._notify([endpoint_id] if deleted else [])

    def save_registry_auth(self, record: RegistryAuthRecord) -> RegistryAuthRecord:
        """Create it when its id is empty, else replace it; return it as kept.

        Raise RegistryError when another login has the name.
        """
        after = record if record.id else replace(record, id=new_id(25))
        with self._transaction():
            if any(other.name == after.name and other.id != after.id for other in self.registry_auths()):
                raise RecordError("Registry auth name must be unique.")
            self._connection.execute(
                "INSERT INTO registry_auths VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                (after.id, _dump(after)),
            )
        return after

    def delete_registry_auth(self, auth_id: str) -> None:
        """Forget the login, if there is one; templates that name it lose it (runpod.md §2.5, deleteRegistry)."""
        with self._transaction():
            self._connection.execute("DELETE FROM registry_auths WHERE id = ?", (auth_id,))
            for template in self.templates():
                if template.container_registry_auth_id == auth_id:
                    self._store_template(replace(template, container_registry_auth_id=""))

    def save_network_volume(self, record: NetworkVolumeRecord) -> NetworkVolumeRecord:
        """Create it when its id is empty, else replace it; return it as kept."""
        after = record if record.id else replace(record, id=new_id(10))
        with self._transaction():
            self._connection.execute(
                "INSERT INTO network_volumes VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                (after.id, _dump(after)),
            )
        return after

    def delete_network_volume(self, volume_id: str) -> None:
        """Forget the volume, if there is one."""
        with self._transaction():
            self._connection.execute("DELETE FROM network_volumes WHERE id = ?", (volume_id,))

    def _own_template(
        self, endpoint: EndpointRecord, had: TemplateRecord | None, container: TemplateRecord
    ) -> TemplateRecord:
        if had is not None and _content(had) == _content(container):
            return had
        if had is not None and had.bound_endpoint_id == endpoint.id and len(self._users(had.id)) == 1:
            return replace(container, id=had.id, name=had.name, bound_endpoint_id=endpoint.id)
        template_id = new_id(10)
        name = f"{endpoint.name}__template__{template_id}"
        return replace(container, id=template_id, name=name, is_serverless=True, bound_endpoint_id=endpoint.id)

    def _users(self, template_id: str) -> tuple[EndpointRecord, ...]:
        return self._many(
            EndpointRecord, "SELECT record FROM endpoints WHERE template_id = ? ORDER BY rowid", template_id
        )

    def _store_template(self, record: TemplateRecord) -> None:
        """Raise RegistryError when another template has the name."""
        namesake = self.template_named(record.name)
        if namesake is not None and namesake.id != record.id:
            raise RecordError("Template name must be unique.")
        self._connection.execute(
            "INSERT INTO templates VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, record = excluded.record",
            (record.id, record.name, _dump(record)),
        )

    def _keep(
        self,
        before: EndpointRecord | None,
        after: EndpointRecord,
        had: TemplateRecord | None,
        has: TemplateRecord | None,
    ) -> None:
        """Keep the endpoint as it now is, and what is new in it when that is a version."""
        self._connection.execute(
            "INSERT INTO endpoints VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET template_id = excluded.template_id, record = excluded.record",
            (after.id, after.template_id, _dump(after)),
        )
        if before is not None and before.version == after.version:
            return
        diff = changes(before, after, had, has) if before else ()
        release = ReleaseRecord(new_id(10), after.id, after.version, _now() if before else after.created_at, diff)
        self._connection.execute("INSERT INTO releases VALUES (?, ?, ?)", (release.id, after.id, _dump(release)))

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

    def _notify(self, endpoint_ids: Iterable[str]) -> None:
        for endpoint_id in endpoint_ids:
            self.on_change(endpoint_id)


def _successor(
    before: EndpointRecord | None, record: EndpointRecord, *, is_new_content: bool = False
) -> EndpointRecord:
    """What to keep of `record`: the id, the time of creation and the version are the store's to say."""
    if before is None:
        return replace(record, id=record.id or new_id(14), created_at=record.created_at or _now(), version=0)
    new_workers = is_new_content or any(getattr(before, name) != getattr(record, name) for name in _WORKERS_ARE_MADE_OF)
    return replace(record, created_at=before.created_at, version=before.version + new_workers)


def _content(template: TemplateRecord) -> TemplateRecord:
    """The template without what no worker sees."""
    return replace(
        template,
        id="",
        name="",
        readme="",
        is_serverless=True,
        is_public=False,
        category="",
        start_ssh=False,
        start_jupyter=False,
        allowed_cuda_versions=(),
        bound_endpoint_id="",
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id(length: int) -> str:
    """A name as RunPod makes them: small letters and digits."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def _dump(
    record: TemplateRecord | EndpointRecord | RegistryAuthRecord | NetworkVolumeRecord | ReleaseRecord,
) -> str:
    return json.dumps(asdict(record))


def _load(kind: type[_Record], document: str) -> _Record:
    values: dict[str, Any] = json.loads(document)
    known: dict[str, Any] = {item.name: values[item.name] for item in fields(kind) if item.name in values}
    for name, value in known.items():
        known[name] = tuple(value) if isinstance(value, list) else value
    return kind(**known)
