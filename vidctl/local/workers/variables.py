"""The environment variables of a worker: what it is told, and what it may know of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vidctl.errors import LocalRuntimeError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vidctl.local.control_plane.records import EndpointRecord

# How to find programs, certificates and the network.
_INHERITABLE = frozenset({
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
})  # fmt: skip
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"})


def inheritable(environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker's code may know of its caller's environment: nothing that is a secret, above all no keys."""
    return {**{name: value for name, value in environ.items() if name in _INHERITABLE}, **proxies(environ)}


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Its caller's proxies, which are bypassed for this machine."""
    env = {name: value for name, value in environ.items() if name in _PROXIES}
    if "HTTP_PROXY" in env or "http_proxy" in env:
        direct = (env.get("NO_PROXY") or env.get("no_proxy"), "127.0.0.1,localhost")
        env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, direct))
    return env


def process_environment(
    variables: Mapping[str, str], *, inherited: Mapping[str, str], home: Path, cache_home: Path
) -> dict[str, str]:
    """A worker's variables on top of what its process needs to know of this machine.

    HOME is a scratch folder because RunPod's SDK (http_client.py) prefers a key in ~/.runpod over the one it is given.
    """
    return {**inheritable(inherited), "HOME": str(home), "XDG_CACHE_HOME": str(cache_home), **variables}


def worker_variables(
    endpoint: EndpointRecord, worker_id: str, *, template_env: Mapping[str, str], url: str, api_key: str
) -> dict[str, str]:
    """The variables that RunPod's SDK reads in a worker, pointed at this runtime, on top of the template's own.

    The names are those of runpod-python 1.12: serverless/modules/rp_job.py, rp_http.py, rp_ping.py, worker_state.py and
    http_client.py.
    """
    base = f"{url}/v2/{endpoint.id}"
    return {
        "RUNPOD_LOG_LEVEL": "INFO",
        **template_env,
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=local",
        "RUNPOD_PING_INTERVAL": "10000",
        "RUNPOD_AI_API_KEY": api_key,
        "RUNPOD_POD_ID": worker_id,
        "RUNPOD_POD_HOSTNAME": worker_id,
        "RUNPOD_ENDPOINT_ID": endpoint.id,
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
    }


def activated(python: Path) -> dict[str, str]:
    """The variables by which the programs of an interpreter's environment are found, before any other's."""
    bin_dir = python.parent
    is_virtual = (bin_dir.parent / "pyvenv.cfg").is_file()
    path = os.pathsep.join((str(bin_dir), os.environ.get("PATH") or os.defpath))
    return {"PATH": path, **({"VIRTUAL_ENV": str(bin_dir.parent)} if is_virtual else {})}


def require_possible(env: Mapping[str, str]) -> None:
    """Raise LocalRuntimeError for a variable that no process can have: some event loops pass on half of it."""
    wrong = [name for name, value in env.items() if not name or "=" in name or "\0" in name + value]
    if wrong:
        raise LocalRuntimeError(f"invalid environment variable {wrong[0]!r}: expected no NUL, and a name without =")
