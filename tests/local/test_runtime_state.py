"""How a job's state changes, in plain values, and what the store keeps of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidctl.local.queue import transitions
from vidctl.local.queue.job import FINAL, is_expired
from vidctl.local.queue.store import BATCH_BYTES, Demand, JobStore
from vidctl.local.queue.transitions import WrongStateError
from vidctl.runpod.limits import DEFAULT_TTL_MS

NOW = 1_700_000_000_000


@pytest.fixture
def store(tmp_path):
    store = JobStore(tmp_path / "runtime.db")
    yield store
    store.close()


def job(**changes):
    return replace(transitions.submitted("a-u1", "ep", NOW), **changes)


def running(**changes):
    return replace(transitions.taken(job(), NOW + 100, worker_id="w", execution_timeout_ms=30_000), **changes)


def add(store, job_id, **changes):
    new = replace(transitions.submitted(job_id, "ep", NOW), **changes)
    store.add(new, b'{"input":{"n":1}}')
    return new


def take(store, limit=1, *, now_ms=NOW, worker_id="w"):
    return store.take("ep", now_ms, worker_id=worker_id, limit=limit, execution_timeout_ms=30_000)


def test_a_finished_job_knows_how_long_it_waited_and_ran():
    done = transitions.finished(running(), NOW + 350)

    assert (done.status, done.delay_ms, done.execution_ms) == ("COMPLETED", 100, 250)


@pytest.mark.parametrize(
    ("policy_ms", "endpoint_ms", "deadline"),
    [(None, 30_000, 30_000), (None, 0, None), (5_000, 30_000, 5_000), (5_000, 0, 5_000)],
)
def test_the_jobs_own_time_out_wins_over_the_endpoints(policy_ms, endpoint_ms, deadline):
    taken = transitions.taken(job(execution_timeout_ms=policy_ms), NOW, worker_id="w", execution_timeout_ms=endpoint_ms)

    assert taken.deadline_at_ms == (None if deadline is None else NOW + deadline)


@pytest.mark.parametrize(
    ("job_id", "wait_ms", "kept_ms"),
    [("a-u1", 0, 30 * 60_000), ("sync-a-u1", 0, 60_000), ("sync-a-u1", 200_000, 200_000), ("sync-a-u1", 9**9, 300_000)],
)
def test_results_are_kept_as_long_as_runpod_keeps_them(job_id, wait_ms, kept_ms):
    new = transitions.submitted(job_id, "ep", NOW, wait_ms=wait_ms)
    done = transitions.finished(transitions.taken(new, NOW, worker_id="w", execution_timeout_ms=0), NOW)

    assert (is_expired(done, NOW + kept_ms - 1), is_expired(done, NOW + kept_ms)) == (False, True)


def test_an_open_job_lives_as_long_as_its_ttl():
    waiting = transitions.submitted("a-u1", "ep", NOW, ttl_ms=10_000)

    assert (is_expired(waiting, NOW + 9_999), is_expired(waiting, NOW + 10_000)) == (False, True)


def test_a_lost_job_gets_one_more_worker():
    first = transitions.lost(running(), NOW + 500)
    second = transitions.lost(replace(running(), retries=1), NOW + 500)

    assert (first.status, first.retries, first.queued_at_ms, first.worker_id) == ("IN_QUEUE", 1, NOW + 500, None)
    assert (second.status, second.retries) == ("FAILED", 1)


def test_a_restart_of_the_runtime_is_no_retry():
    assert transitions.requeued(running(), NOW).retries == 0


def test_a_retried_job_starts_anew():
    again = transitions.retried(transitions.timed_out(running(retries=1), NOW + 30_000), NOW + 40_000)

    assert again == job(queued_at_ms=NOW + 40_000, expires_at_ms=NOW + 40_000 + DEFAULT_TTL_MS)


@pytest.mark.parametrize("status", ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "CANCELLED"])
def test_only_a_failed_or_timed_out_job_can_be_retried(status):
    with pytest.raises(WrongStateError, match=status):
        transitions.retried(job(status=status), NOW)


@pytest.mark.parametrize(
    ("end", "due"),
    [
        (transitions.finished, NOW),
        (transitions.failed, NOW),
        (transitions.timed_out, NOW),
        (transitions.cancelled, None),
    ],
)
def test_a_webhook_is_due_at_every_end_but_the_callers_own(end, due):
    assert end(running(webhook="http://here"), NOW).webhook_due_at_ms == due


CHANGES = {
    "taken": lambda job, now: transitions.taken(job, now, worker_id="w", execution_timeout_ms=30_000),
    "finished": transitions.finished,
    "failed": transitions.failed,
    "timed_out": transitions.timed_out,
    "cancelled": transitions.cancelled,
    "lost": transitions.lost,
    "requeued": transitions.requeued,
    "retried": transitions.retried,
}


@given(st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 10_000))))
def test_no_history_breaks_a_job(steps):
    """Whatever comes in whatever order: a change is refused or leaves a job that makes sense."""
    current, now = job(webhook="http://here"), NOW
    for name, later_ms in steps:
        before, now = current, now + later_ms
        try:
            current = CHANGES[name](current, now)
        except WrongStateError:
            continue
        assert before.status not in FINAL or name == "retried"
        assert (current.deadline_at_ms is not None) == (current.status == "IN_PROGRESS")
        assert (current.finished_at_ms is not None) == current.is_final
        assert current.status != "IN_QUEUE" or current.worker_id is None
        assert current.retries < transitions.MAX_DISPATCHES
        if current.is_final:
            assert current.expires_at_ms == current.finished_at_ms + current.retention_ms


def test_jobs_are_taken_oldest_first_and_low_priority_last(store):
    for job_id, low_priority in (("low", True), ("first", False), ("second", False)):
        add(store, job_id, low_priority=low_priority)

    assert [taken.id for taken, _ in take(store, 2) + take(store, 2)] == ["first", "second", "low"]


def test_a_job_is_taken_once(store):
    add(store, "a")

    assert [len(take(store)), len(take(store))] == [1, 0]


def test_an_expired_job_is_not_taken_and_not_found(store):
    add(store, "a", expires_at_ms=NOW + 10)

    assert (take(store, now_ms=NOW + 10), store.get("a", NOW + 10)) == ([], None)
    assert [job.id for job in store.expired(NOW + 10)] == ["a"]


def test_what_is_stored_comes_back_as_it_was(store):
    new = add(store, "a", webhook="http://here", execution_timeout_ms=5_000)
    [(taken, body)] = take(store)
    store.save(transitions.finished(taken, NOW + 1), output=b'{"deep":[1,2]}')

    assert body == b'{"input":{"n":1}}'
    assert taken == transitions.taken(new, NOW, worker_id="w", execution_timeout_ms=30_000)
    assert (store.get("a", NOW + 1), store.result("a")) == (
        transitions.finished(taken, NOW + 1),
        (b'{"deep":[1,2]}', None),
    )


def test_a_job_that_ends_without_output_does_not_show_its_last_progress(store):
    add(store, "a")
    [(taken, _)] = take(store)
    store.save(taken, output=b"50")
    store.save(transitions.finished(taken, NOW))

    assert store.result("a") == (None, None)


@pytest.mark.parametrize(
    "end", [transitions.finished, transitions.failed, transitions.timed_out, transitions.cancelled]
)
def test_no_end_shows_the_last_progress(store, end):
    add(store, "a")
    [(taken, _)] = take(store)
    store.save(taken, output=b"50")
    store.save(end(taken, NOW))

    assert store.result("a") == (None, None)


def test_a_restart_of_the_runtime_counts_no_retry(store):
    """Also of a job that was retried before."""
    add(store, "a")
    [(first, _)] = take(store)
    store.save(transitions.lost(first, NOW), is_retry=True)
    [(second, _)] = take(store)
    store.save(transitions.requeued(second, NOW))

    assert store.counts("ep").retried == 1


def inputs(store):
    return [job_id for (job_id,) in store._db.execute("SELECT job_id FROM job_inputs ORDER BY job_id")]


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        (transitions.finished, []),
        (transitions.cancelled, []),
        (transitions.failed, ["a"]),
        (transitions.timed_out, ["a"]),
    ],
)
def test_what_was_handed_in_is_kept_while_it_may_be_needed(store, end, kept):
    add(store, "a")
    [(taken, _)] = take(store)
    store.save(end(taken, NOW))

    assert inputs(store) == kept


def test_what_was_handed_in_is_kept_for_the_webhook(store):
    add(store, "a", webhook="http://here")
    [(taken, _)] = take(store)
    done = transitions.finished(taken, NOW)
    store.save(done)
    before = inputs(store)
    store.note_webhook(replace(done, webhook_tries=1, webhook_due_at_ms=None))

    assert (before, inputs(store)) == (["a"], [])


def test_a_batch_is_no_larger_than_a_request_may_be(store):
    """What a worker asks for would otherwise be in memory all at once."""
    for job_id in "abc":
        store.add(transitions.submitted(job_id, "ep", NOW), b"x" * (9 << 20))

    assert [[job.id for job, _ in take(store, 9)] for _ in range(3)] == [["a", "b"], ["c"], []]


def test_a_job_larger_than_a_batch_still_gets_through(store):
    store.add(transitions.submitted("a", "ep", NOW), b"x" * (BATCH_BYTES + 1))

    assert len(take(store, 9)) == 1


def test_an_expired_job_does_not_wait(store):
    add(store, "a", expires_at_ms=NOW + 10)

    assert (store.demand("ep", NOW).queued, store.demand("ep", NOW + 10)) == (1, Demand())


def test_a_job_back_in_the_queue_has_nothing_of_its_last_attempt(store):
    add(store, "a")
    [(taken, _)] = take(store)
    store.append("a", [b"1", b"2"])
    store.save(taken, output=b"50")
    store.save(transitions.lost(taken, NOW))

    assert (store.result("a"), store.drain("a", max_bytes=100)) == ((None, None), [])


def test_chunks_are_drained_once_and_in_portions(store):
    add(store, "a")
    store.append("a", [b"11", b"22", b"33"])

    assert [store.drain("a", max_bytes=4) for _ in range(3)] == [[b"11", b"22"], [b"33"], []]


def test_a_chunk_larger_than_a_portion_still_gets_through(store):
    add(store, "a")
    store.append("a", [b"x" * 100])

    assert store.drain("a", max_bytes=10) == [b"x" * 100]


def test_everything_survives_a_new_store_on_the_same_file(store, tmp_path):
    add(store, "waiting")
    add(store, "done")
    [(taken, _)] = take(store)
    store.save(transitions.finished(taken, NOW), output=b"1")
    other = JobStore(tmp_path / "runtime.db")

    assert (other.result("waiting"), other.get("done", NOW).status, other.counts("ep").completed) == (
        (b"1", None),
        "IN_QUEUE",
        1,
    )
    other.close()


def test_demand_counts_what_waits_and_leaves_out_low_priority_where_it_scales(store):
    for job_id, low_priority in (("a", False), ("b", True), ("c", False)):
        add(store, job_id, low_priority=low_priority)
    take(store)

    assert store.demand("ep", NOW + 700) == Demand(queued=2, in_progress=1, urgent=1, oldest_wait_ms=700)


def test_overdue_jobs_are_those_past_their_deadline(store):
    add(store, "a")
    take(store)

    assert (store.overdue(NOW + 29_999), [job.id for job in store.overdue(NOW + 30_000)]) == ([], ["a"])


def test_a_deleted_endpoint_leaves_nothing(store):
    add(store, "a")
    take(store)
    store.delete_endpoint("ep")

    assert (store.get("a", NOW), store.demand("ep", NOW), store.result("a")) == (None, Demand(), (None, None))
