"""Deploy several planned specs: provide the images, carry out the plans, with independent parts side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock
from typing import TypeVar

from vidctl.deploy.apply import Choices, Deployed, deploy
from vidctl.deploy.planning import Planned, plan_one
from vidctl.deploy.survey import Survey
from vidctl.deploy.target import Target
from vidctl.errors import InterruptionError, VidctlError
from vidctl.progress import Notify, Progress

_AT_ONCE = 4  # builds and pushes share one engine and one line
_FAREWELL_S = 10.0  # for jobs to be cancelled; a build may be silent for longer
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What became of one spec."""

    planned: Planned
    result: Deployed | VidctlError


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
        return plan_one(each.spec, target, known, image=image, secrets=secrets)

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
