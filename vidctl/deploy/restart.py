"""Replace an endpoint's workers by new ones of the same version.

RunPod has no call for it.  Workers are made of an endpoint's container, so a variable that no worker reads gets another
value: RunPod then starts new workers, and takes away each old one when it has finished its jobs (docs,
serverless/workers/overview, outdated workers).
"""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime, timezone

from vidctl.deploy import by_hand
from vidctl.deploy.target import Target
from vidctl.errors import ApiError
from vidctl.progress import Notify, Progress, silent
from vidctl.runpod.types import RESTARTED, Endpoint
from vidctl.runpod.waiting import settled


def restart(key: str, live: Endpoint, target: Target, *, notify: Notify = silent) -> Endpoint:
    """Set the variable; return the endpoint as it reads back.  The journal has it before RunPod does."""
    at = datetime.fromtimestamp(time.time(), timezone.utc).isoformat()
    wanted = dataclasses.replace(
        live, template=dataclasses.replace(live.template, env={**live.template.env, RESTARTED: at})
    )
    if last := target.journal.last_applied(live.id or ""):
        target.journal.applied(
            spec=last.spec,
            target=target.name,
            endpoint_id=last.endpoint_id,
            document={**last.document, by_hand.RESTARTED_AT: by_hand.now()},
            fingerprint=last.fingerprint,
            is_proven=last.is_proven,
        )
    notify(Progress("apply", f"update endpoint {live.name}"))
    target.control.save(wanted, before=live)
    again = settled(
        lambda: next((each for each in target.control.account().endpoints if each.id == live.id), None),
        lambda again: again is not None and again.template.env.get(RESTARTED) == at,
    )
    if again is None or again.template.env.get(RESTARTED) != at:
        raise ApiError(
            f"{key}: the change was accepted but reads back differently: {RESTARTED}",
            hint="run the same command again",
            endpoint=live.id,
        )
    notify(Progress("apply", f"endpoint {live.id} read back"))
    return again
