"""What a request body may be: the runtime and RunPod's OpenAPI document agree on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import openapi

from vidctl.local.control_plane import rest_schema

BODIES = {
    ("POST", "/v2/serverless"): rest_schema.CREATE_ENDPOINT,
    ("PATCH", "/v2/serverless/x"): rest_schema.UPDATE_ENDPOINT,
    ("POST", "/v2/templates"): rest_schema.CREATE_TEMPLATE,
    ("PATCH", "/v2/templates/x"): rest_schema.UPDATE_TEMPLATE,
    ("POST", "/v2/registries"): rest_schema.CREATE_REGISTRY,
    ("POST", "/v2/network-volumes"): rest_schema.CREATE_VOLUME,
    ("PATCH", "/v2/network-volumes/x"): rest_schema.UPDATE_VOLUME,
}

_text = st.sampled_from(["", "a", " ", "-a", " -a", "12.8", "12", "12.8\n", "OFF", "QUEUE", "CPU", "STANDARD"])
_number = st.sampled_from([-1, 0, 0.4, 0.5, 1, 2, 9, 10, 10.5, 3600, 3601, 4096, 4097])
_leaf = st.one_of(st.none(), st.booleans(), _number, _text)
_junk = st.recursive(_leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=2))


def _objects(**fields):
    """Objects with some of these fields, mostly of the right kind, and now and then with another."""
    known = {name: st.one_of(kind, kind, kind, _junk) for name, kind in fields.items()}
    rest = st.dictionaries(st.sampled_from(["bogus", "gpuIds"]), _junk, max_size=1)
    return st.builds(lambda one, other: {**one, **other}, st.fixed_dictionaries({}, optional=known), rest)


_texts = st.lists(_text, max_size=3)
_container = {
    "args": _text,
    "disk": _number,
    "env": st.dictionaries(_text, _text, max_size=2),
    "image": _text,
    "ports": _texts,
    "registry": st.none() | _text,
}
_endpoint = _objects(
    **_container,
    name=_text,
    type=st.sampled_from(["QUEUE", "LOAD_BALANCER"]),
    templateId=_text,
    gpu=_objects(pools=_texts, excludedTypes=_texts, count=_number, allowedCudaVersions=_texts, minCudaVersion=_text),
    cpu=st.lists(_objects(id=_text, vcpuCount=_number), max_size=2),
    workers=_objects(min=_number, max=_number, idleTimeout=_number),
    scaling=_objects(type=st.sampled_from(["QUEUE_DELAY", "REQUEST_COUNT"]), queueDelay=_number, requestCount=_number),
    dataCenterIds=_texts,
    networkVolumes=_texts,
    timeout=_number,
    flashboot=_text,
)
_template = _objects(
    **_container,
    name=_text,
    allowedCudaVersions=_texts,
    category=_text,
    mounts=_objects(persistent=_objects(size=_number, path=_text)),
    public=st.booleans(),
    serverless=st.booleans(),
    startJupyter=st.booleans(),
    startSsh=st.booleans(),
)
_login = _objects(name=_text, username=_text, password=_text)
_volume = _objects(name=_text, size=_number, dataCenter=_text, type=_text)
GIVEN = {"serverless": _endpoint, "templates": _template, "registries": _login, "network-volumes": _volume}


@pytest.mark.parametrize(("method", "path"), BODIES)
@given(data=st.data())
def test_a_body_is_taken_exactly_when_the_document_allows_it(method, path, data):
    if not openapi.is_at_hand():
        pytest.skip(openapi.MISSING)
    body = data.draw(GIVEN[path.split("/")[2]] | _junk)
    found = list(rest_schema.violations(BODIES[method, path], body))

    # That a load balancer must scale on requests is said by the runtime when it refuses load balancers.
    if not found and isinstance(body, dict) and body.get("type") == "LOAD_BALANCER":
        return
    assert openapi.allows_body(method, path, body) == (not found), found
