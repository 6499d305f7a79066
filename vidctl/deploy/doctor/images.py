"""What a doctor sees of Docker: the engine, buildx, and what registries let the logins do."""

from __future__ import annotations

from vidctl.deploy import worker_images
from vidctl.deploy.doctor.finding import Finding
from vidctl.deploy.doctor.scope import DoctorScope
from vidctl.docker import docker_config
from vidctl.errors import ImageError
from vidctl.images import buildx
from vidctl.images.engine import DockerLogins, Engine, registry_of
from vidctl.runpod.image_registry import PushRight, RegistryUser, push_right
from vidctl.spec import EndpointSpec

_ROOM = 10_000_000_000  # an image with CUDA and PyTorch, unpacked


def engine(scope: DoctorScope) -> Finding:
    """The engine that `docker` would use."""
    try:
        found = Engine(scope.environ)
        return Finding("ok", f"Docker {found.version()} at {found}")
    except ImageError as error:
        needed = "" if scope.needs_engine else "; only build, push and containers need it"
        return Finding("fail" if scope.needs_engine else "warn", f"{error.message}{needed}", error.hint)


def builder(scope: DoctorScope) -> Finding:
    version = buildx.version(scope.environ)
    if version is None:
        fix = "install docker-buildx (docs.docker.com/build)"
        return Finding("warn", "docker buildx not found: Dockerfiles that need BuildKit cannot be built", fix)
    return Finding("ok", version)


def disk(scope: DoctorScope) -> Finding:
    """Room where the engine keeps images."""
    try:
        free = Engine(scope.environ).room()
    except ImageError:
        return Finding("skipped", "no engine")
    if free is None:
        return Finding("skipped", "the engine's disk cannot be seen from here")
    if free < _ROOM:
        fix = "vidctl images prune, docker system prune"
        return Finding("warn", f"{free / 1e9:.1f} GB free; an image may need {_ROOM / 1e9:.0f} GB", fix)
    return Finding("ok", f"{free / 1e9:.1f} GB free")


def registry(scope: DoctorScope, spec: EndpointSpec) -> Finding:
    """Whether the login that a push would use may push."""
    repository = spec.image.repository or ""
    if scope.is_local:
        return Finding("skipped", "the local runtime pulls nothing")
    if placeholder := worker_images.placeholder(spec):
        return Finding("fail", placeholder.message, placeholder.hint)
    logins = DockerLogins(scope.environ, docker_config.read(scope.environ))
    user = _user(logins.of(repository, worker_images.image_source(spec, scope.environ).login))
    right = push_right(repository, user, begins_upload=scope.begins_upload)
    return _said(repository, right, logins, user)


def _user(login: dict[str, str]) -> RegistryUser | None:
    known = {name.lower(): value for name, value in login.items()}
    if not known:
        return None
    return RegistryUser(known.get("username", ""), known.get("password", ""), known.get("identitytoken", ""))


def _said(repository: str, right: PushRight, logins: DockerLogins, user: RegistryUser | None) -> Finding:
    login = f"docker login {registry_of(repository)}"
    helper = logins.missing_helper(repository)
    fix = f"install {helper}, where the Docker config keeps the login; or {login}" if helper else login
    who = f"the login of {user.name}" if user and user.name else "the login" if user else "nobody's login"
    match right.state:
        case "granted":
            return Finding("ok", f"{repository}: the registry's token grants {who} the right to push")
        case "uploaded" if right.left:
            return Finding("warn", f"{repository}: {who} may push; an upload was left at {right.left}")
        case "uploaded":
            return Finding("ok", f"{repository}: {who} may push: an upload was begun and cancelled")
        case "unsaid":
            seen = f"{repository}: the registry takes {who}, and does not say whether it may push"
            return Finding("warn", seen, "vidctl doctor --push")
        case "denied":
            return Finding("fail", f"{repository}: {who} may not push", f"{fix}; check image.repository in the spec")
        case "refused":
            return Finding("fail", f"{repository}: registry rejected {who}", fix)
        case "unreachable":
            return Finding("fail", f"{repository}: registry does not answer", "check image.repository and the network")
