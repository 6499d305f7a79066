"""What RunPod has billed for endpoints: REST v2's `/billing/serverless`, which tells of no single job.

Source: RunPod's OpenAPI document 2.0.0, listServerlessBilling.  A window that does not begin and end with a bucket is
made wider there, so whoever compares gives one that does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal
from urllib.parse import urlencode

from vidctl.errors import ApiError
from vidctl.runpod.http import Http
from vidctl.runpod.reading import Node, node_of, nodes, read

Bucket = Literal["hour", "day"]


@dataclass(frozen=True)
class BillingRecord:
    """An endpoint's bill of one hour or day: US dollars, with GPUs, CPUs, disks and fees."""

    at_s: float
    endpoint_id: str
    total_usd: float


class BillingApi:
    """One account's bills, at REST v2's base URL, e.g. `https://api.runpod.io/v2`."""

    def __init__(self, http: Http, api_base_url: str) -> None:
        self._http = http
        self._url = f"{api_base_url.rstrip('/')}/billing/serverless"

    def serverless(self, *, start_s: float, end_s: float, bucket: Bucket) -> tuple[BillingRecord, ...]:
        """The bills of all endpoints in these seconds since 1970; raise AuthError for a key that may not read them."""
        query = urlencode({"startTime": _rfc3339(start_s), "endTime": _rfc3339(end_s), "bucketSize": bucket})
        response = node_of(self._http.read("GET", f"{self._url}?{query}"), "/billing/serverless")
        if "records" not in response:
            raise ApiError("invalid response from /billing/serverless: missing list 'records'")
        return tuple(map(_record, nodes(response, "records")))


def _record(node: Node) -> BillingRecord:
    text = read(node, "startTime", str, "")
    try:
        at_s = datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError as error:
        raise ApiError("invalid response from /billing/serverless: startTime is no time") from error
    return BillingRecord(at_s, read(node, "serverlessId", str, ""), float(read(node, "totalAmount", (int, float), 0.0)))


def _rfc3339(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
