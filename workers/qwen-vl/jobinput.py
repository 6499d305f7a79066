"""What a job may ask, in our words, in OpenAI's or in worker-vllm's.  Pure: JSON in, `Request` or one sentence out.

Images and clips stay as they came, as `Media` in the place of their content part; nothing is opened here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import fields
from badinput import BadInputError

MAX_TOKENS = 512
TEMPERATURE = 0.7
CHAT = "/v1/chat/completions"
# Of vLLM's server; the others would load, sleep or profile, or take images in forms that nobody here has looked at.
ROUTES = {CHAT: "POST", "/v1/completions": "POST", "/v1/models": "GET"}

OWN_FIELDS = frozenset({
    "prompt", "system", "image", "image_url", "images", "video", "video_url", "fps", "max_frames", "max_pixels",
    "messages", "max_tokens", "temperature", "top_p", "seed", "stop", "sampling_params", "schema", "choices", "regex",
    "stream", "chat_template_kwargs",
})  # fmt: skip
# A job of nothing but these, with one of the second, is in worker-vllm's words (its src/handler.py).
NATIVE_FIELDS = frozenset({
    "prompt", "messages", "sampling_params", "stream", "apply_chat_template", "use_openai_format", "max_batch_size",
    "min_batch_size", "batch_size_growth_factor",
})  # fmt: skip
NATIVE_SIGNS = NATIVE_FIELDS - {"prompt", "stream"}
# What a request to the engine is made of; a job cannot set it among its sampling parameters.
RESERVED = frozenset({"model", "messages", "prompt", "stream", "stream_options", "n", "best_of"})
# Of vLLM's requests (vllm/entrypoints/openai/*/protocol.py, 0.32): what gets round the limits of images, of tokens or
# of memory, or is for whoever runs the server.
INTERNAL = frozenset({
    "mm_processor_kwargs", "media_io_kwargs", "mm_payload", "return_mm_kwargs", "prompt_embeds", "use_beam_search",
    "prompt_logprobs", "request_id", "session_id", "priority", "kv_transfer_params", "ec_transfer_params", "vllm_xargs",
    "chat_template", "stream_interval",
})  # fmt: skip
FRAMES = "data:video/jpeg;base64,"  # a clip as a list of images (vllm/multimodal/media/video.py)
MOST_STOPS = 4  # of OpenAI's API, and of vLLM
MOST_ANSWERS = 16  # to one request in OpenAI's words: its `n` for each of its prompts
# An answer that says the same thing over and over is stopped when at least 512 tokens in a row repeat one pattern of at
# most 64; no list of zeros, table of contents or rule of dashes is so long.  vLLM (0.32, v1/core/sched/utils.py) counts
# how often a pattern stands at the end, whatever its size: one token 16 times does.  What a shorter pattern repeats,
# one of 33 to 64 tokens repeats too, for a multiple of every number up to 32 is among these: so only they are looked
# for, which are 528 tokens and more.
REPETITION = {"min_pattern_size": 33, "max_pattern_size": 64, "min_count": 16}
# What holds an answer to a form that may well be the same thing over and over, and has an end.
FORMS = ("structured_outputs", "tools", "guided_json", "guided_regex", "guided_choice", "guided_grammar")

Kind = Literal["own", "openai", "native"]


@dataclass(frozen=True)
class Media:
    """An image or a clip as it came: base64, a data: URL or an https:// URL; `name` is where in the job it stands.

    A clip is sampled at `fps` images a second, at most `max_frames` of them (None: as many as there may be).
    """

    name: str
    value: Any
    is_clip: bool = False
    fps: float = 1.0
    max_frames: int | None = None


@dataclass(frozen=True)
class Request:
    """A request to the engine: `body` is its JSON but for `Media` among the content parts of its messages.

    `choices` is what an answer must be one of, `max_pixels` what an image may have of them.
    """

    kind: Kind
    route: str
    body: dict[str, Any]
    is_stream: bool = False
    choices: tuple[str, ...] = ()
    regex: str | None = None
    max_pixels: int | None = None
    warnings: tuple[str, ...] = ()


def parse(job_input: Any) -> Request:
    """Read a job's `input`; raise BadInputError."""
    if not isinstance(job_input, dict):
        raise BadInputError(f"input must be an object with a prompt, not {fields.kind(job_input)}")
    if "openai_route" in job_input:
        return _openai(job_input.get("openai_route"), job_input.get("openai_input"))
    if "route" in job_input and OWN_FIELDS.isdisjoint(job_input):
        return _openai(job_input["route"], job_input.get("body"))
    if job_input.keys() <= NATIVE_FIELDS and not NATIVE_SIGNS.isdisjoint(job_input):
        return _native(job_input)
    return _own(job_input)


def _own(job_input: dict[str, Any]) -> Request:
    structured = [name for name in ("schema", "choices", "regex") if job_input.get(name) not in (None, [], "")]
    if len(structured) > 1:
        raise BadInputError(f"{' and '.join(structured)} cannot be combined: an answer has one form")
    sampling = _object(job_input, "sampling_params")
    if wrong := sorted((RESERVED | INTERNAL) & sampling.keys()):
        raise BadInputError(f"sampling_params cannot have {wrong[0]}: {_instead(wrong[0])}")
    body = {
        "messages": _messages_of(job_input),
        "max_tokens": MAX_TOKENS,
        "temperature": TEMPERATURE,
        **{name: value for name, value in sampling.items() if value is not None},
        **_named(job_input),
    }
    if schema := _schema(job_input):
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    # A null says that an answer may go round in circles.
    is_free = not structured and not _has_form(body)
    body["repetition_detection"] = sampling.get("repetition_detection", REPETITION if is_free else None)
    unknown = sorted(job_input.keys() - OWN_FIELDS)
    return Request(
        "own",
        CHAT,
        {name: value for name, value in body.items() if value is not None},
        is_stream=_boolean(job_input, "stream"),
        choices=_choices(job_input),
        regex=_text(job_input, "regex"),
        max_pixels=_whole(job_input, "max_pixels", least=1024),
        warnings=(f"unknown fields ignored: {', '.join(unknown)}"[:300],) if unknown else (),
    )


def _instead(name: str) -> str:
    if name in ("n", "best_of"):
        return "a job has one answer"
    if name in ("messages", "prompt", "stream"):
        return "it is a field of the job"
    if name == "mm_processor_kwargs":
        return "use max_pixels to resize images"
    return "the worker sets it"


def _named(job_input: dict[str, Any]) -> dict[str, Any]:
    """The parameters of generation that are fields of the job, those that it has."""
    found: dict[str, Any] = {
        "max_tokens": _whole(job_input, "max_tokens", least=1),
        "temperature": _number(job_input, "temperature", 0, 2),
        "top_p": _number(job_input, "top_p", 0, 1),
        "seed": _whole(job_input, "seed", least=-(2**63)),
        "stop": _stop(job_input.get("stop")),
        "chat_template_kwargs": _object(job_input, "chat_template_kwargs") or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _messages_of(job_input: dict[str, Any]) -> list[dict[str, Any]]:
    system = _text(job_input, "system")
    first = [{"role": "system", "content": system}] if system else []
    own = [name for name in ("prompt", "image", "image_url", "images", "video", "video_url") if job_input.get(name)]
    if job_input.get("messages") is not None:
        if own:
            raise BadInputError(f"input has both messages and {own[0]}; send one of them")
        return [*first, *_messages(job_input["messages"], "messages")]
    media = _media(job_input)
    prompt = _text(job_input, "prompt") or ""
    if not prompt and not media:
        raise BadInputError(
            "prompt missing: input needs a prompt, an image (image, images), a clip (video) or messages"
        )
    content: Any = [*media, {"type": "text", "text": prompt}] if media and prompt else media or prompt
    return [*first, {"role": "user", "content": content}]


def _media(job_input: dict[str, Any]) -> list[Any]:
    """The images of a job, with the times of those that have one, as Qwen3-VL is told the times of frames."""
    given = [name for name in ("image", "image_url", "images", "video", "video_url") if job_input.get(name) is not None]
    if len(given) > 1:
        raise BadInputError(f"input has both {given[0]} and {given[1]}; send one of them")
    if not given:
        return []
    name, value = given[0], job_input[given[0]]
    if name == "images":
        return _several(value)
    if value == "":
        raise BadInputError(f"{name} is empty")
    return _shown_by(name, value, job_input) if name.startswith("video") else [Media(name, value)]


def _shown_by(name: str, value: Any, part: dict[str, Any]) -> list[Any]:
    """A clip; or, of a list of its frames, these with their times: as Qwen's own tools take one, or as vLLM's client
    writes it, `data:video/jpeg;base64,` and the frames' base64 with commas between.
    """
    fps, most = _sampling(part)
    frames: Any = value
    if isinstance(value, str) and value[:64].lower().startswith(FRAMES):
        frames = value[len(FRAMES) :].split(",")
    if not isinstance(frames, list):
        return [Media(name, value, True, fps, most)]
    if not frames:
        raise BadInputError(f"{name} is an empty list")
    kept = range(len(frames)) if most is None else _spread(len(frames), most)
    content: list[Any] = []
    for index in kept:
        frame = frames[index]
        frame = frame.get("url", frame.get("image")) if isinstance(frame, dict) else frame
        content += [{"type": "text", "text": stamp(index / fps)}, Media(f"{name}[{index}]", frame)]
    return content


def _spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, evenly."""
    return list(range(count)) if count <= most else [at * count // most for at in range(most)]


def _sampling(part: dict[str, Any]) -> tuple[float, int | None]:
    fps = _number(part, "fps", 0, 60)
    if fps == 0:
        raise BadInputError("fps must be above 0")
    return (1.0 if fps is None else fps), _whole(part, "max_frames", least=1)


def _several(images: Any) -> list[Any]:
    if not isinstance(images, list):
        raise BadInputError(f"images must be a list, not {fields.kind(images)}")
    if not images:
        raise BadInputError("images is an empty list")
    content: list[Any] = []
    for index, one in enumerate(images):
        name = f"images[{index}]"
        if isinstance(one, dict):
            at_s = _number(one, "timestamp", 0, 1e6)
            if at_s is not None:
                content.append({"type": "text", "text": stamp(at_s)})
        content.append(Media(name, one.get("image") if isinstance(one, dict) else one))
    return content


def stamp(at_s: float) -> str:
    """How Qwen3-VL is told when a frame is shown (transformers, models/qwen3_vl/processing_qwen3_vl.py)."""
    return f"<{at_s:.1f} seconds>"


def _messages(messages: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise BadInputError(
            f"{where} must be a list of messages, not {fields.kind(messages) if messages else 'an empty one'}"
        )
    return [_message(one, f"{where}[{index}]") for index, one in enumerate(messages)]


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadInputError(f"{where} must be an object with a role and a content")
    content = message.get("content")
    if isinstance(content, list):
        parts = [_parts(one, f"{where}.content[{index}]") for index, one in enumerate(content)]
        return {**message, "content": [each for several in parts for each in several]}
    return message


def _parts(part: Any, where: str) -> list[Any]:
    """A content part; an image or clip, in OpenAI's form or in Qwen's own, becomes Media, a list of frames several."""
    if not isinstance(part, dict):
        return [part]
    for kind in ("image_url", "image", "video_url", "video"):
        if part.get("type", kind) == kind and kind in part:
            value = part[kind]
            value = value.get("url") if isinstance(value, dict) else value
            return _shown_by(where, value, part) if kind.startswith("video") else [Media(where, value)]
    if part.get("type") != "text":
        raise BadInputError(
            f"{where}: this worker takes text, image_url and video_url, not {fields.shown(part.get('type'))}"
        )
    return [part]


def _schema(job_input: dict[str, Any]) -> dict[str, Any] | None:
    schema = job_input.get("schema")
    if schema is not None and not isinstance(schema, dict):
        raise BadInputError(f"schema must be a JSON Schema, which is an object, not {fields.kind(schema)}")
    return schema


def _choices(job_input: dict[str, Any]) -> tuple[str, ...]:
    choices = job_input.get("choices")
    if choices is None:
        return ()
    if not isinstance(choices, list) or not choices or not all(isinstance(one, str) and one for one in choices):
        raise BadInputError("choices must be a list of texts, none of them empty")
    return tuple(choices)


def _stop(stop: Any) -> list[str] | None:
    if stop is None:
        return None
    texts = [stop] if isinstance(stop, str) else stop
    if not isinstance(texts, list) or not all(isinstance(one, str) and one for one in texts):
        raise BadInputError("stop must be a text, or a list of texts, none of them empty")
    if len(texts) > MOST_STOPS:
        raise BadInputError(f"stop has {len(texts)} texts; at most {MOST_STOPS} are allowed")
    return texts


def _openai(route: Any, given: Any) -> Request:
    """The envelope that RunPod makes of a call to …/openai/v1/…."""
    path = f"/{route.strip('/')}" if isinstance(route, str) else ""
    path = path if path.startswith("/v1/") else f"/v1{path}"
    if path not in ROUTES:
        raise BadInputError(f"this worker has {', '.join(ROUTES)}, not {fields.shown(route)}")
    if ROUTES[path] == "GET":
        return Request("openai", path, {})
    if not isinstance(given, dict):
        raise BadInputError(f"openai_input must be an object, not {fields.kind(given)}")
    most, given = _whole(given, "max_pixels", least=1024), {k: v for k, v in given.items() if k != "max_pixels"}
    return Request("openai", path, _checked(given, path), is_stream=given.get("stream") is True, max_pixels=most)


def _native(job_input: dict[str, Any]) -> Request:
    """worker-vllm's own input: a prompt is completed as it stands, messages are a chat."""
    sampling = _object(job_input, "sampling_params")
    given = {name: job_input[name] for name in ("messages", "prompt") if job_input.get(name) is not None}
    if len(given) != 1:
        raise BadInputError("input needs messages or a prompt, one of them")
    if "prompt" in given and job_input.get("apply_chat_template"):
        given = {"messages": [{"role": "user", "content": given["prompt"]}]}
    path = CHAT if "messages" in given else "/v1/completions"
    return Request("native", path, _checked({**sampling, **given}, path), is_stream=job_input.get("stream") is True)


def _checked(given: dict[str, Any], path: str) -> dict[str, Any]:
    """A body in OpenAI's words, with a limit to its tokens in any case."""
    body = {name: value for name, value in given.items() if name not in ("stream", "model")}
    if wrong := sorted(INTERNAL & body.keys()):
        raise BadInputError(f"{wrong[0]} is not allowed: {_instead(wrong[0])}")
    if path == CHAT:
        body["messages"] = _messages(given.get("messages"), "messages")
        prompts = 1
    elif "messages" in given:
        raise BadInputError(f"messages are for {CHAT}; {path} completes a prompt")
    else:
        prompts = _prompts(given.get("prompt"))
    answers = prompts * (_whole(body, "n", least=1) or 1)
    if answers > MOST_ANSWERS:
        raise BadInputError(f"the request has {answers} answers (n, prompts); at most {MOST_ANSWERS} are allowed")
    if body.get("max_tokens") is None and (path != CHAT or body.get("max_completion_tokens") is None):
        body["max_tokens"] = MAX_TOKENS
    if not _has_form(body):
        body.setdefault("repetition_detection", dict(REPETITION))
    return body


def _has_form(body: dict[str, Any]) -> bool:
    """Whether a request holds its answer to a schema, choices, a regex, a grammar or the arguments of a tool."""
    form = body.get("response_format")
    is_text = form is None or (isinstance(form, dict) and form.get("type") == "text")
    return not is_text or any(body.get(name) is not None for name in FORMS)


def _prompts(prompt: Any) -> int:
    """How many there are: a text, a list of tokens, or a list of these."""
    if not isinstance(prompt, list) or (prompt and isinstance(prompt[0], int)):
        return 1
    return len(prompt)


def _object(job_input: dict[str, Any], name: str) -> dict[str, Any]:
    value = job_input.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadInputError(f"{name} must be an object, not {fields.kind(value)}")
    return value or {}


def _text(job_input: dict[str, Any], name: str) -> str | None:
    value = job_input.get(name)
    return None if value is None else fields.text(name, value)


def _boolean(job_input: dict[str, Any], name: str) -> bool:
    value = job_input.get(name)
    return value is not None and fields.flag(name, value)


def _whole(job_input: dict[str, Any], name: str, *, least: int) -> int | None:
    value = job_input.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInputError(f"{name} must be a whole number, not {fields.shown(value)}")
    if value < least:
        raise BadInputError(f"{name} must be at least {least}, not {fields.shown(value)}")
    if value >= 2**63:
        raise BadInputError(f"{name} is too large")
    return value


def _number(job_input: dict[str, Any], name: str, low: float, high: float) -> float | None:
    value = job_input.get(name)
    return None if value is None else fields.number(name, value, low, high)


def take_default(body: dict[str, Any]) -> None:
    """Take out vLLM's own field that the worker sets by itself; one that the job has is the server's to judge."""
    if body.get("repetition_detection") == REPETITION:
        del body["repetition_detection"]
