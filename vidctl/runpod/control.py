"""Choose a control plane; GraphQL gives way to REST v2 on the day that RunPod switches it off (early 2027)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, TypeVar

from vidctl.errors import RetiredError
from vidctl.progress import Notify, Progress, silent
from vidctl.runpod.graphql import GraphQL
from vidctl.runpod.http import Http
from vidctl.runpod.rest import Rest
from vidctl.runpod.types import Account, Catalogue, Endpoint, NetworkVolume, RegistryLogin, Template

_Result = TypeVar("_Result")


def control(
    plane: Literal["graphql", "rest"], http: Http, api_base_url: str, notify: Notify = silent
) -> FailOver | Rest:
    """The control plane asked for; `graphql` goes on with REST v2 when it turns out to be retired."""
    rest = Rest(http, api_base_url, notify=notify)
    return rest if plane == "rest" else FailOver(GraphQL(http, api_base_url, notify=notify), rest, notify)


class FailOver:
    """GraphQL until it answers 410, then REST v2 for good; the call that found out is made again there.

    Safe to use in threads.
    """

    def __init__(self, graphql: GraphQL, rest: Rest, notify: Notify = silent) -> None:
        self._now: GraphQL | Rest = graphql
        self._rest = rest
        self._notify = notify
        self._switching = threading.Lock()

    @property
    def plane(self) -> Literal["graphql", "rest"]:
        return self._now.plane

    @property
    def has_graphql(self) -> bool:
        """Whether RunPod still has GraphQL, as far as is known."""
        return self._now is not self._rest

    def account(self) -> Account:
        return self._call(lambda plane: plane.account())

    def save(self, endpoint: Endpoint, *, before: Endpoint | None) -> Endpoint:
        return self._call(lambda plane: plane.save(endpoint, before=before))

    def delete(self, endpoint: Endpoint) -> None:
        self._call(lambda plane: plane.delete(endpoint))

    def templates(self) -> tuple[Template, ...]:
        return self._call(lambda plane: plane.templates())

    def delete_template(self, template: Template) -> None:
        self._call(lambda plane: plane.delete_template(template))

    def registries(self) -> tuple[RegistryLogin, ...]:
        return self._call(lambda plane: plane.registries())

    def save_registry(self, name: str, username: str, password: str, *, id: str | None = None) -> RegistryLogin:  # noqa: A002  the protocol's name
        return self._call(lambda plane: plane.save_registry(name, username, password, id=id))

    def delete_registry(self, login: RegistryLogin) -> None:
        self._call(lambda plane: plane.delete_registry(login))

    def volumes(self) -> tuple[NetworkVolume, ...]:
        return self._call(lambda plane: plane.volumes())

    def data_centers(self) -> tuple[str, ...]:
        return self._call(lambda plane: plane.data_centers())

    def catalogue(self) -> Catalogue:
        return self._call(lambda plane: plane.catalogue())

    def _call(self, call: Callable[[GraphQL | Rest], _Result]) -> _Result:
        plane = self._now
        try:
            return call(plane)
        except RetiredError:
            if plane is self._rest:
                raise
            self._switch()
            return call(self._rest)

    def _switch(self) -> None:
        with self._switching:
            if self._now is self._rest:
                return
            self._now = self._rest
        message = "RunPod has switched its GraphQL API off: using REST v2 (set VIDCTL_CONTROL=rest to skip the attempt)"
        self._notify(Progress("control", message))
