"""Whether what workers download before their first job can be had."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from vidctl.deploy.doctor.finding import Finding
from vidctl.deploy.doctor.scope import DoctorScope
from vidctl.kinds import KINDS
from vidctl.runpod.http import probe
from vidctl.spec import EndpointSpec
from vidctl.spec.weights import BASE_URL, MODEL
from vidctl.tasks.downloads import ModelDownload


def weights(scope: DoctorScope, spec: EndpointSpec) -> Finding:
    """Whether the model is here, or answers where its worker asks for it."""
    kind = KINDS.get(spec.task or "")
    if kind is None or kind.weights is None:
        return Finding("skipped", "a plain worker: what it downloads is not known")
    if scope.is_local and spec.image.build is None and spec.isolation != "container":
        return Finding("skipped", f"{spec.image.reference} runs at RunPod only")
    if spec.env.get(BASE_URL):
        return Finding("skipped", f"the model is a running server's: {BASE_URL}")
    if spec.image.build is None and MODEL not in spec.env:
        return Finding("skipped", f"what {spec.image.reference} brings is not known")
    named = spec.env.get(MODEL) or spec.env.get("MODEL") or ""
    if found := _here(spec, scope.project.root, named):
        return Finding("ok", f"{named}: {found}")
    download: ModelDownload | None = import_module(kind.weights).download(spec.env)
    if download is None:
        return _path(named, spec, is_local=scope.is_local)
    return _asked(download, scope, spec)


def _here(spec: EndpointSpec, root: Path, named: str) -> Path | None:
    """Where the project has it: as a path of its own, or among the worker's weights."""
    folder = spec.image.build or root
    places = (root / Path(named).expanduser(), folder / named, folder / "weights" / named)
    is_path = "/" in named or named.endswith(".pt")  # `base` is a name, whatever else the project has of that name
    return next((each for each in places if each.exists()), None) if is_path else None


def _path(named: str, spec: EndpointSpec, *, is_local: bool) -> Finding:
    if is_local:
        return Finding("fail", f"{named}: not found", _own_weights(spec))
    return Finding("skipped", f"{named}: a path in the worker")


def _own_weights(spec: EndpointSpec) -> str:
    """How the local runtime gets weights from a folder of this machine."""
    text = "".join(file.read_text(encoding="utf-8", errors="replace") for file in spec.files)
    variable = re.search(r'MODEL(?:_NAME)?"?: *"?\$\{(\w+)', text)
    if variable:
        return f"export {variable[1]}=/path/to/weights"
    return f"write local: {{env: {{{MODEL if MODEL in spec.env else 'MODEL'}: /path/to/weights}}}} in {spec.path}"


def _asked(download: ModelDownload, scope: DoctorScope, spec: EndpointSpec) -> Finding:
    """Ask for it as the worker does."""
    has_token = download.is_hub and "HF_TOKEN" in spec.secrets and scope.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {scope.environ['HF_TOKEN']}"} if has_token else {}
    response = probe(download.url, headers, method="GET" if download.is_hub else "HEAD")
    host = download.url.split("/")[2]
    if response is None or response.status in (407, 429) or response.status >= 500:
        said = "does not answer" if response is None else f"answers {response.status}"
        if scope.is_local:
            return Finding("fail", f"{download.model}: {host} {said}", _own_weights(spec))
        seen = f"{download.model}: {host} {said} from here; RunPod's workers may reach it"
        return Finding("warn", seen, "check the network and HTTPS_PROXY")
    if response.status == 200:
        return Finding("ok", f"{download.model}: {host} has it")
    if response.status in (401, 403) and download.is_hub:
        fix = (
            f"accept its licence at {host}/{download.model}; put HF_TOKEN in .env, and secrets: [HF_TOKEN] in the spec"
        )
        return Finding("fail", f"{download.model}: {host} refuses: gated, private or missing", fix)
    return Finding(
        "fail", f"{download.model}: {host} does not have it ({response.status})", f"edit env: in {spec.path}"
    )
