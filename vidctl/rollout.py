"""Deploy several specs: everything is checked first and asked once, then independent parts go on side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeVar

from vidctl import lock
from vidctl.deploy import Choices, Deployed, Survey, Target, check, deploy, is_proven, prepare
from vidctl.errors import Interrupted, VidctlError
from vidctl.plan import Plan
from vidctl.progress import Notify, Progress
from vidctl.spec import EndpointSpec

_AT_ONCE = 4  # builds and pushes share one engine and one line
T = TypeVar("T")


@dataclass(frozen=True)
class Planned:
    """One spec with what is to be done for it."""

    spec: EndpointSpec
    plan: Plan
    is_proven: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one spec."""

    planned: Planned
    result: Deployed | VidctlError


def plan_all(
    specs: Sequence[EndpointSpec], target: Target, known: Survey, *, secrets: Mapping[str, str]
) -> list[Planned]:
    """Plan each spec with its image as it is: nothing is built, and the account is not asked again."""
    planned = []
    for spec in specs:
        plan = prepare(spec, target, known, image=target.images.look(spec), secrets=secrets)
        planned.append(Planned(spec, plan, is_proven(spec, target, plan)))
    return planned


def roll_out(
    specs: Sequence[EndpointSpec],
    target: Target,
    *,
    secrets: Mapping[str, str],
    choices: Choices,
    review: Callable[[Sequence[Planned], Survey], None],
    confirm: Callable[[Sequence[Planned], Survey], None],
    notify: Notify,
    locks: Path,
) -> list[Outcome]:
    """Deploy the specs: check, build and push, plan, apply, prove.

    `review` sees the plans before anything is built, `confirm` with the images' digests before anything is changed;
    either raises to stop.  One spec's failure stops no other.
    """
    with ExitStack() as stack:
        for key in sorted(spec.key for spec in specs):
            stack.enter_context(lock.held(locks, f"{target.name}-{key}", timeout_s=choices.timeout_s, notify=notify))
        known = check(specs, target, secrets=secrets, adopts=choices.adopts)
        planned = plan_all(specs, target, known, secrets=secrets)
        review(planned, known)
        stop = Event()
        _side_by_side(
            lambda each: _provide(each, target, notify), [each for each in planned if not each.is_proven], stop
        )
        planned = plan_all(specs, target, known, secrets=secrets)
        confirm(planned, known)

        def carry_out(each: Planned) -> Outcome:
            try:
                done = deploy(
                    each.spec,
                    target,
                    each.plan,
                    secrets=secrets,
                    choices=choices,
                    notify=notify,
                    is_stopped=stop.is_set,
                )
            except Interrupted:
                raise
            except VidctlError as error:
                return Outcome(each, error)
            return Outcome(each, done)

        return _side_by_side(carry_out, planned, stop)


def _provide(each: Planned, target: Target, notify: Notify) -> None:
    def tell(progress: Progress) -> None:
        notify(dataclasses.replace(progress, subject=each.spec.key))

    target.images.provide(each.spec, each.plan.endpoint.template.env, tell)


def _side_by_side(work: Callable[[Planned], T], items: Sequence[Planned], stop: Event) -> list[T]:
    """Do the work for each, in threads where there are several; Ctrl-C sets `stop` and waits for them to let go."""
    if len(items) < 2:
        return [work(each) for each in items]
    with ThreadPoolExecutor(min(_AT_ONCE, len(items)), thread_name_prefix="vidctl-deploy") as pool:
        futures: list[Future[T]] = [pool.submit(work, each) for each in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
