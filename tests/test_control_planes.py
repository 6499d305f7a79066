"""Both control planes keep one promise: the same suite on the same local runtime, and on a network that fails.

Every request and answer of REST v2 goes through a server that holds it against RunPod's OpenAPI document.
"""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support import openapi
from support.failing import failing
from support.runtime import API_KEY, LocalRuntime
from support.scripted import RESET, Reply, forward, serving

from vidctl.errors import VidctlError
from vidctl.runpod import gpus
from vidctl.runpod.control import FailOver, control
from vidctl.runpod.graphql import GraphQL
from vidctl.runpod.http import Http
from vidctl.runpod.rest import Rest
from vidctl.runpod.types import STAMP, Account, Endpoint, Template

PLANES: list[Literal["graphql", "rest"]] = ["graphql", "rest"]
ENDPOINT = Endpoint(
    name="yolo",
    template=Template(image="me/yolo@sha256:1", env={STAMP: "yolo"}, name="vidctl-yolo"),
    gpu_ids="ADA_24",
)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    runtime = LocalRuntime(tmp_path_factory.mktemp("planes") / "runtime")
    runtime.start()
    yield runtime
    runtime.close()


@pytest.fixture(scope="module")
def volume(runtime):
    """A network volume in EU-RO-1; its id."""
    return runtime.post("/v2/network-volumes", {"name": "weights", "size": 10, "dataCenter": "EU-RO-1"})["id"]


@pytest.fixture(scope="module")
def login(runtime):
    return runtime.login(name="hub", username="me", password="hunter22")


@pytest.fixture(scope="module")
def checked(runtime):
    """The runtime behind a server that checks REST v2's requests and answers."""
    broken = []

    def answer(request):
        reply = forward(request, runtime.url)
        if request.path.startswith("/v2/"):
            try:
                openapi.check(request.method, request.path, _json(request.body), reply.status, _json(reply.body))
            except AssertionError as error:
                broken.append(str(error))
        return reply

    with serving(answer) as server:
        yield server
    assert broken == []


@pytest.fixture(params=PLANES)
def plane(request, checked, runtime):
    """A control plane of an empty account."""
    _empty(runtime)
    return _plane(request.param, checked.url)


def _plane(name, url):
    return {"graphql": GraphQL, "rest": Rest}[name](Http(API_KEY), url, sleep=lambda _: None)


def _empty(runtime):
    control = _plane("graphql", runtime.url)
    for endpoint in control.account().endpoints:
        control.delete(endpoint)
    for template in control.templates():
        control.delete_template(template)


def _json(body):
    return json.loads(body) if body else None


def _seen(endpoint, plane):
    """The endpoint as this plane can show it: REST v2 keeps no template's name, no idle timeout of some, nothing of the
    model cache, and promises nothing of the order of GPUs, so that another order alone is not written.
    """
    if plane.plane == "graphql":
        models = endpoint.model_references or ()
        return replace(endpoint, id=None, template=replace(endpoint.template, id=None), model_references=models)
    idle = 0 if endpoint.scaler_type == "REQUEST_COUNT" else endpoint.idle_timeout_s
    pools = ",".join(sorted(endpoint.gpu_ids.split(",")))
    template = replace(endpoint.template, id=None, name="")
    return replace(endpoint, id=None, idle_timeout_s=idle, gpu_ids=pools, template=template, model_references=None)


def _only_order_differs(one, other):
    """What REST v2 is not asked to write, see `_seen`; with a change beside it a new order is written."""
    turned = replace(
        one,
        locations=other.locations if set(one.locations) == set(other.locations) else one.locations,
        cuda_versions=other.cuda_versions if set(one.cuda_versions) == set(other.cuda_versions) else one.cuda_versions,
    )
    return one != other and turned == other


def _only(plane):
    (endpoint,) = plane.account().endpoints
    return endpoint


_words = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


MODELS = [f"https://huggingface.co/{name}" for name in ("Qwen/Qwen3-VL-8B-Instruct:main", "me/mine:v2")]


@st.composite
def endpoints(draw, login="", volume="", *, plane):
    """Anything that a spec can ask of a control plane; no worker is started."""
    pools = draw(st.lists(st.sampled_from(gpus.POOLS), min_size=1, max_size=3, unique=True))
    cards = [card.id for pool in pools for card in pool.gpu_types[1:]]
    excluded = draw(st.lists(st.sampled_from(cards), max_size=2, unique=True)) if cards else []
    network_volume_id = draw(st.sampled_from(["", volume]))
    cuda = tuple(draw(st.lists(st.sampled_from(["12.8", "12.9", "13.0"]), max_size=3, unique=True)))
    locations = draw(st.lists(st.sampled_from(["EU-RO-1", "EU-CZ-1", "US-KS-2"]), max_size=3, unique=True))
    return replace(
        ENDPOINT,
        template=replace(
            ENDPOINT.template,
            image=draw(st.sampled_from(["a", "me/yolo:1", "me/yolo@sha256:2"])),
            env={**draw(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), _words)), STAMP: "yolo"},
            docker_args=draw(_words),
            container_disk_gb=draw(st.integers(1, 2000)),
            registry_auth_id=draw(st.sampled_from(["", login])),
        ),
        gpu_ids=",".join([pool.id for pool in pools] + [f"-{card}" for card in excluded]),
        gpu_count=draw(st.integers(1, 8)),
        workers_max=draw(st.integers(0, 5)),
        idle_timeout_s=draw(st.integers(1, 3600)),
        execution_timeout_ms=draw(st.sampled_from([0, 5_000, 600_000])),
        scaler_type=draw(st.sampled_from(["QUEUE_DELAY", "REQUEST_COUNT"])),
        scaler_value=draw(st.integers(1, 100)),
        locations=tuple(["EU-RO-1"] if network_volume_id and locations else locations),
        network_volume_id=network_volume_id,
        cuda_versions=cuda,
        min_cuda="" if cuda else draw(st.sampled_from(["", "12.8", "13.0"])),
        flashboot=draw(st.booleans()),
        model_references=draw(st.sampled_from([(), MODELS[:1], MODELS[1:]]).map(tuple)) if plane == "graphql" else None,
    )


@pytest.mark.parametrize("name", PLANES)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
def test_what_was_saved_reads_back(runtime, checked, login, volume, name, drawn):
    """Created, changed to anything else, saved again: it always reads back as it was asked for, and nothing is left."""
    _empty(runtime)
    plane = _plane(name, checked.url)
    first, second = (drawn.draw(endpoints(login, volume, plane=name)) for _ in range(2))
    assume(name == "graphql" or not _only_order_differs(_seen(first, plane), _seen(second, plane)))
    created = plane.save(first, before=None)
    assert (_seen(first, plane), created) == (_seen(created, plane), _only(plane))

    changed = plane.save(second, before=created)
    assert (_seen(second, plane), changed) == (_seen(changed, plane), _only(plane))
    before = len(checked.requests)
    assert changed == plane.save(second, before=changed)
    assert len(checked.requests) == before + 1

    plane.delete(changed)
    assert (Account(()), ()) == (plane.account(), plane.templates())


@pytest.mark.parametrize(("writer", "reader"), [PLANES, PLANES[::-1]])
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
def test_what_one_plane_wrote_the_other_reads(runtime, checked, login, volume, writer, reader, drawn):
    """The switch from GraphQL to REST v2 makes no difference that is not there, and either deletes the other's."""
    _empty(runtime)
    write, read = _plane(writer, checked.url), _plane(reader, checked.url)
    rest = _plane("rest", checked.url)
    saved = write.save(drawn.draw(endpoints(login, volume, plane=writer)), before=None)
    seen = _only(read)

    assert (saved.id, _seen(saved, rest)) == (seen.id, _seen(seen, rest))
    read.delete(seen)
    assert write.account() == Account(())


def test_the_other_plane_leaves_the_model_cache_as_it_is(runtime, checked):
    """REST v2 changes what it knows; what GraphQL put into the cache is there afterwards, and can be taken out."""
    _empty(runtime)
    graphql, rest = (_plane(name, checked.url) for name in PLANES)
    graphql.save(replace(ENDPOINT, model_references=tuple(MODELS[:1])), before=None)
    seen = _only(rest)
    rest.save(replace(seen, workers_max=1, template=replace(seen.template, image="me/yolo@sha256:2")), before=seen)

    kept = _only(graphql)
    assert (1, tuple(MODELS[:1])) == (kept.workers_max, kept.model_references)
    graphql.save(replace(kept, model_references=()), before=kept)
    assert () == _only(graphql).model_references


def test_a_change_touches_one_side(plane, checked):
    """The image replaces workers and no scaling; scaling replaces no worker."""
    saved = plane.save(ENDPOINT, before=None)
    checked.requests.clear()
    image = replace(ENDPOINT, template=replace(ENDPOINT.template, image="me/yolo@sha256:2"))
    saved = plane.save(image, before=saved)
    plane.save(replace(image, workers_max=1), before=saved)

    written = [_json(request.body) for request in checked.requests if request.body]
    if plane.plane == "graphql":
        operations = [body["query"].split()[1].partition("(")[0] for body in written]
        assert operations == ["Account", "SaveTemplate", "Account", "SaveEndpoint"]
    else:
        assert written == [{"image": "me/yolo@sha256:2"}, {"workers": {"min": 0, "max": 1, "idleTimeout": 5}}]


def test_what_is_gone_can_be_deleted(plane):
    saved = plane.save(ENDPOINT, before=None)
    plane.delete(saved)
    plane.delete(saved)

    assert plane.account() == Account(())


def test_there_is_one_endpoint_of_a_name(plane):
    plane.save(ENDPOINT, before=None)

    with failing("api_error", "endpoint yolo already exists", varies=True):
        plane.save(ENDPOINT, before=None)
    assert len(plane.account().endpoints) == 1


def test_logins_are_kept(plane):
    """Created once under a name, listed without a password, deleted for good."""
    saved = plane.save_registry("mine", "me", "hunter22")
    assert saved in plane.registries()
    with failing("api_error", "'mine'"):
        plane.save_registry("mine", "me", "other")

    plane.delete_registry(saved)
    plane.delete_registry(saved)
    assert saved not in plane.registries()


def test_a_login_is_changed_over_graphql(runtime):
    plane = _plane("graphql", runtime.url)
    saved = plane.save_registry("changing", "me", "hunter22")

    assert saved == plane.save_registry("changing", "you", "hunter23", id=saved.id)
    plane.delete_registry(saved)


def test_a_template_alone_can_be_deleted(plane, runtime):
    """As one is that an interrupted deploy leaves behind."""
    graphql = _plane("graphql", runtime.url)
    graphql.save(ENDPOINT, before=None)
    runtime.session.delete(f"{runtime.url}/v2/serverless/{_only(graphql).id}", timeout=60)
    graphql.save(replace(ENDPOINT, name="other", template=replace(ENDPOINT.template, name="left")), before=None)
    _move_off(graphql)
    left = [template for template in plane.templates() if template.name == "left"]

    assert [replace(ENDPOINT.template, name="left", id=left[0].id)] == left
    plane.delete_template(left[0])
    plane.delete_template(left[0])
    assert "left" not in [template.name for template in plane.templates()]


def _move_off(graphql):
    """Give the endpoint another template, so that nobody uses the one it has."""
    endpoint = _only(graphql)
    graphql.save(replace(endpoint, template=replace(endpoint.template, name="vidctl-other")), before=endpoint)


def test_both_know_the_same_places(runtime, checked):
    graphql, rest = (_plane(name, checked.url) for name in PLANES)

    assert set(graphql.data_centers()) == set(rest.data_centers())
    assert graphql.volumes() == rest.volumes()


def test_both_know_the_same_pools(runtime, checked):
    graphql, rest = (_plane(name, checked.url) for name in PLANES)

    assert {offer.pool for offer in graphql.catalogue().offers} == {offer.pool for offer in rest.catalogue().offers}
    assert (graphql.catalogue().as_of, rest.catalogue().as_of) == (gpus.PRICED_ON, "live")


@contextmanager
def troubled(url, at, trouble):
    """The runtime behind a network on which the request number `at` meets with `trouble`, from request to reply."""
    numbers = itertools.count()

    def answer(request):
        return trouble(request) if next(numbers) == at else forward(request, url)

    with serving(answer) as server:
        yield server


def _lost_answer(url):
    def trouble(request):
        forward(request, url)
        return RESET

    return trouble


def _lost_request(_url):
    return lambda _: RESET


def _broken(_url):
    return lambda _: Reply(500)


def _deploy(plane, wanted):
    """What a deploy does: look by name, then create or update."""
    before = next((endpoint for endpoint in plane.account().endpoints if endpoint.name == wanted.name), None)
    return plane.save(wanted, before=before)


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("trouble", [_lost_answer, _lost_request, _broken])
@pytest.mark.parametrize("at", range(6))
def test_a_failure_at_any_request_is_made_good(runtime, name, trouble, at):
    """A create, a change and a delete that fail anywhere end as they should when they are run again, and only once."""
    _empty(runtime)
    sound = _plane(name, runtime.url)
    changed = replace(ENDPOINT, workers_max=1, template=replace(ENDPOINT.template, image="me/yolo@sha256:2"))
    for wanted in (ENDPOINT, changed):
        with troubled(runtime.url, at, trouble(runtime.url)) as server, suppress(VidctlError):
            _deploy(_plane(name, server.url), wanted)
        _deploy(sound, wanted)
        assert _seen(wanted, sound) == _seen(_only(sound), sound)
        assert len(sound.templates()) == 1
    live = _only(sound)
    with troubled(runtime.url, at, trouble(runtime.url)) as server, suppress(VidctlError):
        _plane(name, server.url).delete(live)
    sound.delete(live)

    assert (Account(()), ()) == (sound.account(), sound.templates())


@pytest.mark.parametrize("name", PLANES)
def test_a_create_whose_answer_is_lost_is_done(runtime, name):
    """The connection is cut after RunPod took it: the endpoint is found, and there is one."""
    _empty(runtime)
    at = 2 if name == "graphql" else 1  # GraphQL saves the template before
    with troubled(runtime.url, at, _lost_answer(runtime.url)) as server:
        saved = _plane(name, server.url).save(ENDPOINT, before=None)

    plane = _plane(name, runtime.url)
    assert saved == _only(plane)


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_question_survives_a_bad_moment(runtime, name, status):
    """A read is asked again; Retry-After says when."""
    with troubled(runtime.url, 0, lambda _: Reply(status, b"no", (("Retry-After", "0"),))) as server:
        _plane(name, server.url).account()

    assert len(server.requests) == 2


def test_the_sdk_and_vidctl_see_the_same(runtime, monkeypatch):
    """What RunPod's own client made is there, and becomes ours by a save; what vidctl made, the client finds."""
    _empty(runtime)
    monkeypatch.setenv("RUNPOD_API_BASE_URL", runtime.url)
    runpod = pytest.importorskip("runpod", reason="RunPod's SDK is not installed: pip install 'vidctl[local]'")
    monkeypatch.setattr(runpod, "api_key", API_KEY)
    template = runpod.create_template("sdk", "me/sdk:1", env={"A": "1"}, is_serverless=True)
    endpoint = runpod.create_endpoint("sdk-made", template["id"], "ADA_24", workers_max=1)

    plane = _plane("graphql", runtime.url)
    seen = _only(plane)
    assert (endpoint["id"], "sdk-made", "me/sdk:1", {"A": "1"}) == (
        seen.id,
        seen.name,
        seen.template.image,
        seen.template.env,
    )
    ours = plane.save(replace(ENDPOINT, name="sdk-made"), before=seen)
    assert [(ours.id, ours.template.id)] == [(found["id"], found["templateId"]) for found in runpod.get_endpoints()]
    assert ["sdk", "vidctl-yolo"] == sorted(template.name for template in plane.templates())


def test_whatever_is_asked_of_one_plane_is_asked_of_both():
    """The plane that fails over offers what both offer, and hands each call to the one of that name.

    Only GraphQL knows the account's balance: `doctor` and `why` ask that plane itself.
    """
    public = [{name for name in vars(kind) if not name.startswith("_")} for kind in (GraphQL, Rest, FailOver)]

    assert public[0] - {"balance"} == public[1] == public[2]


@pytest.mark.parametrize("ask", ["account", "templates", "registries", "volumes", "data_centers", "catalogue"])
def test_a_plane_that_can_fail_over_answers_like_graphql(runtime, volume, login, ask):
    chosen, graphql = control("graphql", Http(API_KEY), runtime.url), _plane("graphql", runtime.url)

    assert getattr(graphql, ask)() == getattr(chosen, ask)()


def test_the_planes_say_what_they_are(runtime):
    """GraphQL gives GPUs back in their order, REST v2 does not promise it."""
    planes = [control(name, Http(API_KEY), runtime.url) for name in PLANES]

    assert ["graphql", "rest"] == [plane.plane for plane in planes]
    assert all(plane.has_graphql for plane in planes)


def test_retired_graphql_gives_way(runtime):
    """410 once: every call, the first one too, is answered by REST v2 from then on, and it is said once."""
    _empty(runtime)
    said, asked = [], threading.Barrier(4)

    def retired(request):
        return Reply(410, b"{}") if request.path == "/graphql" else forward(request, runtime.url)

    with serving(retired) as server:
        plane = control("graphql", Http(API_KEY), server.url, said.append)
        assert plane.plane == "graphql"
        saved = plane.save(ENDPOINT, before=None)
        tries = server.paths().count("POST /graphql")
        calls = [threading.Thread(target=lambda: (asked.wait(), plane.account())) for _ in range(4)]
        for call in calls:
            call.start()
        for call in calls:
            call.join()

    assert saved == _only(_plane("rest", runtime.url))
    assert (plane.plane, plane.has_graphql, tries) == ("rest", False, 1)
    assert server.paths().count("POST /graphql") == 1
    assert [progress.message for progress in said] == [
        "RunPod has switched its GraphQL API off: using REST v2 (set VIDCTL_CONTROL=rest to skip the attempt)"
    ]


@pytest.mark.parametrize("count", [8])
def test_many_that_find_out_together_say_it_once(runtime, count):
    """A deploy of many specs asks in threads."""
    said, ready, outcomes = [], threading.Barrier(count), []

    def retired(request):
        return Reply(410, b"{}") if request.path == "/graphql" else Reply(200, b'{"endpoints": []}')

    with serving(retired) as server:
        plane = control("graphql", Http(API_KEY), server.url, said.append)

        def ask():
            ready.wait()
            outcomes.append(plane.account())

        threads = [threading.Thread(target=ask) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert ([Account(())] * count, 1) == (outcomes, len(said))


def test_retired_rest_is_an_error(runtime):
    """There is nothing left to go on with."""
    with (
        serving(lambda _: Reply(410, b"{}")) as server,
        failing("api_retired", "upgrade vidctl"),
    ):
        control("graphql", Http(API_KEY), server.url).account()


def test_a_network_that_is_down_is_one_line():
    """No look for what was never sent."""
    with failing("network_error", "connection refused"):
        Rest(Http(API_KEY), "http://127.0.0.1:9").save(ENDPOINT, before=None)
