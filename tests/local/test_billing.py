"""REST v2's billing on the local runtime, which bills nothing: which window it answers for, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from support import openapi
from support.runtime import LocalRuntime

PATH = "/v2/billing/serverless"
NOTHING = {"totalAmount": 0, "gpuAmount": 0, "cpuAmount": 0, "diskAmount": 0, "feeAmount": 0}


def _ask(runtime: LocalRuntime, query: str, status: int) -> Any:
    response = runtime.session.get(f"{runtime.url}{PATH}?{query}", timeout=30)
    answer = response.json()
    openapi.check("GET", PATH, None, response.status_code, answer)
    assert status == response.status_code, answer
    return answer


@pytest.mark.parametrize(
    ("bucket", "window"),
    [
        ("hour", ("2026-05-06T10:00:00Z", "2026-05-07T00:00:00Z")),
        ("day", ("2026-05-06T00:00:00Z", "2026-05-07T00:00:00Z")),
        ("week", ("2026-05-04T00:00:00Z", "2026-05-11T00:00:00Z")),
        ("month", ("2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z")),
        ("year", ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")),
    ],
)
def test_nothing_is_billed_in_a_window_of_whole_buckets(
    runtime: LocalRuntime, bucket: str, window: tuple[str, str]
) -> None:
    query = f"startTime=2026-05-06T10:20:30Z&endTime=2026-05-07T00:00:00Z&bucketSize={bucket}&serverlessId=ep"

    answer = _ask(runtime, query, 200)

    asked = {"startTime": window[0], "endTime": window[1], "bucketSize": bucket, "serverlessId": "ep"}
    assert ([], asked, NOTHING) == (answer["records"], answer["metadata"]["query"], answer["metadata"]["totals"])


def test_the_last_buckets_end_with_the_current_one(runtime: LocalRuntime) -> None:
    query = _ask(runtime, "lastN=3&bucketSize=month", 200)["metadata"]["query"]

    assert ("01T00:00:00Z",) * 2 == (query["startTime"][8:], query["endTime"][8:])


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("bucketSize=minute", 422),
        ("startTime=yesterday", 422),
        ("startTime=2026-05-06T10:20:30", 422),
        ("lastN=0", 422),
        ("lastN=3&startTime=2026-05-06T10:20:30Z", 400),
        ("startTime=2026-05-06T10:20:30Z&endTime=2026-05-05T10:20:30Z", 400),
    ],
)
def test_a_window_that_cannot_be_is_refused(runtime: LocalRuntime, query: str, status: int) -> None:
    _ask(runtime, query, status)
