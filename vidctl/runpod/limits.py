"""RunPod's limits: how large and how frequent requests may be, how long things take, wait and are kept.

Imports nothing of vidctl.

The pages named are those of docs.runpod.io; a pair is the least and the most.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS

# serverless/endpoints/send-requests: of a body, of a job's result, and of one chunk of a stream
RUN_BYTES: Final = 10 << 20
RUNSYNC_BYTES: Final = 20 << 20
STREAM_CHUNK_BYTES: Final = 1 << 20


class RateLimit(NamedTuple):
    """How many requests of an operation are taken in 10 s, and how many at once, where that is limited."""

    operation: str
    rate: int
    at_once: int | None = None


# serverless/endpoints/send-requests: per endpoint.  Running workers raise them, by a number that is not given there.
RATE_WINDOW_S: Final = 10.0
RUN_RATE: Final = RateLimit("/run", 1000, 200)
RUNSYNC_RATE: Final = RateLimit("/runsync", 2000, 400)
STATUS_RATE: Final = RateLimit("/status", 2000, 400)
STREAM_RATE: Final = RateLimit("/stream", 2000, 400)
CANCEL_RATE: Final = RateLimit("/cancel", 100, 20)
PURGE_RATE: Final = RateLimit("/purge-queue", 2)
OPENAI_RATE: Final = RateLimit("/openai", 2000, 400)

# serverless/endpoints/send-requests: of a job's `policy`
EXECUTION_TIMEOUT_MS: Final = (5_000, 7 * _DAY_MS)
TTL_MS: Final = (10_000, 7 * _DAY_MS)
DEFAULT_TTL_MS: Final = _DAY_MS

# serverless/endpoints/operation-reference: `?wait=` of /runsync and /stream, and how long a result is kept
WAIT_MS: Final = (1_000, 300_000)
RUN_RETENTION_MS: Final = 30 * _MINUTE_MS
RUNSYNC_RETENTION_MS: Final = (_MINUTE_MS, 5 * _MINUTE_MS)  # the most for one who waited that long

# api-reference-v2, PATCH /serverless/{id}
IDLE_TIMEOUT_S: Final = (1, 3600)
# serverless/endpoints/endpoint-configurations: pools of GPUs, in order of priority
MOST_POOLS: Final = 3

# serverless/development/optimization: of a worker's start, where RUNPOD_INIT_TIMEOUT does not say
INIT_TIMEOUT_S: Final = 7 * 60

# api-reference-v2, /serverless/{id}/workers/{workerId}/logs
DEFAULT_LOG_LINES: Final = 100
MOST_LOG_LINES: Final = 5_000

# sdks/graphql/manage-endpoints: that an endpoint's locations may name, besides its data centers
COUNTRIES: Final = frozenset({"CZ", "FR", "GB", "NO", "RO", "US"})


def country(data_center: str) -> str:
    """The country in a data center's name: US of US-KS-2, RO of EU-RO-1."""
    area, _, rest = data_center.partition("-")
    return area if area in ("US", "CA") else rest.partition("-")[0]
