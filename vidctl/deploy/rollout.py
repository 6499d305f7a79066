"""Deploy several specs: check all, provide the images, carry out the plans, with independent parts side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import TypeVar

from vidctl.deploy import lock
from vidctl.deploy.apply import Choices, Deployed, deploy, is_proven, prepare
from vidctl.deploy.checks import Survey
from vidctl.deploy.plan import Plan
from vidctl.deploy.target import Target
from vidctl.errors import InterruptionError, VidctlError
from vidctl.progress import Notify, Progress
from vidctl.spec import EndpointSpec

_AT_ONCE = 4  # builds and pushes share one engine and one line
_FAREWELL_S = 10.0  # for jobs to be cancelled; a build may be silent for longer
T = TypeVar("T")


@dataclass(frozen=True)
class Planned:
    """One spec with what is to be done for it; `is_proven` says that just this has answered before."""

    spec: EndpointSpec
    plan: Plan
    is_proven: bool

    @property
    def has_work(self) -> bool:
        return not (self.plan.is_empty and self.is_proven)


@dataclass(frozen=True)
class Outcome:
    """What became of one spec."""

    planned: Planned
    result: Deployed | VidctlError


@contextmanager
def locked(keys: Sequence[str], target: str, folder: Path, *, timeout_s: float, notify: Notify) -> Iterator[None]:
    """Keep other vidctls of this project from the same endpoints; raise BusyError, naming who has one, after
    `timeout_s`.
    """
    with ExitStack() as stack:
        for key in sorted(set(keys)):  # always in the same order: two that want several cannot wait for each other
            stack.enter_context(lock.held(folder, f"{target}-{key}", timeout_s=timeout_s, notify=notify))
        yield


def plan_all(
    specs: Sequence[EndpointSpec], target: Target, known: Survey, *, secrets: Mapping[str, str]
) -> list[Planned]:
    """Plan each spec with its image as it is: nothing is built, and the account is not asked again."""
    planned = []
    for spec in specs:
        plan = prepare(spec, target, known, image=target.images.look(spec), secrets=secrets)
        planned.append(Planned(spec, plan, is_proven(spec, target, plan)))
    return planned


def provide(
    planned: Sequence[Planned], target: Target, known: Survey, *, secrets: Mapping[str, str], notify: Notify
) -> list[Planned]:
    """Build and push what is new, then plan once more, with the digests that registries report.

    What goes wrong with one image, and Ctrl-C, ends the work on the others.
    """
    turns = {each.plan.image.tag: Lock() for each in planned}

    def work(each: Planned, report: Notify, stop: Event) -> Planned:
        def notify_or_stop(progress: Progress) -> None:
            if stop.is_set():
                raise InterruptionError("interrupted")
            report(progress)

        if not each.has_work:
            return each
        # A spec and its overlay share an image: built by both at once, one's push would take the other's tag away.
        with turns[each.plan.image.tag]:
            image = target.images.provide(each.spec, each.plan.endpoint.template.env, notify_or_stop)
        plan = prepare(each.spec, target, known, image=image, secrets=secrets)
        return Planned(each.spec, plan, is_proven(each.spec, target, plan))

    return _side_by_side(work, planned, notify)


def carry_out(
    planned: Sequence[Planned],
    target: Target,
    *,
    secrets: Mapping[str, str],
    choices: Choices,
    notify: Notify,
    keep: Callable[[str, str], None] = lambda _key, _id: None,
) -> list[Outcome]:
    """Apply and prove each plan.  One spec's failure stops no other; Ctrl-C stops all.

    `keep` gets a spec's key and its endpoint's id as soon as there is one.
    """

    def work(each: Planned, report: Notify, stop: Event) -> Outcome:
        try:
            done = deploy(
                each.spec,
                target,
                each.plan,
                secrets=secrets,
                choices=choices,
                notify=report,
                is_stopped=stop.is_set,
                keep=partial(keep, each.spec.key),
            )
        except InterruptionError:
            raise
        except VidctlError as error:
            return Outcome(each, error)
        return Outcome(each, done)

    return _side_by_side(work, planned, notify)


def _side_by_side(work: Callable[[Planned, Notify, Event], T], items: Sequence[Planned], notify: Notify) -> list[T]:
    """Do the work for each, in threads where there are several; what goes wrong in one, and Ctrl-C, stops the rest."""
    stop = Event()
    if len(items) < 2:
        return [work(each, notify, stop) for each in items]
    pool = ThreadPoolExecutor(min(_AT_ONCE, len(items)), thread_name_prefix="vidctl-deploy")
    futures: list[Future[T]] = [pool.submit(work, each, _about(each, notify), stop) for each in items]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
        failed = [future for future in futures if future.done() and future.exception()]
        return [future.result() for future in failed or futures]
    except BaseException as error:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        ended, _ = wait([future for future in futures if not future.cancelled()], timeout=_FAREWELL_S)
        if isinstance(error, KeyboardInterrupt):
            raise _all_interrupted([future.exception() for future in ended]) from None
        raise
    finally:
        pool.shutdown(wait=False)


def _all_interrupted(ends: Sequence[BaseException | None]) -> InterruptionError:
    """One error that says what each part has cancelled, and what it leaves running."""
    interrupted = [each for each in ends if isinstance(each, InterruptionError)]
    what = "; ".join(each.message.removeprefix("interrupted; ") for each in interrupted if each.job_id)
    return InterruptionError(
        f"interrupted; {what or 'no job was running'}",
        hint="; ".join(each.hint for each in interrupted if each.hint) or None,
    )


def _about(each: Planned, notify: Notify) -> Notify:
    """Say of each thing which spec it is about."""

    def notify_subject(progress: Progress) -> None:
        notify(dataclasses.replace(progress, subject=each.spec.key))

    return notify_subject
