"""Ask a vision-language model about images, and read the answer.  Pure: no network, no files.

The fields are those of the worker in workers/qwen-vl, or, with the protocol `worker-vllm`, those of OpenAI's chat
completions in the envelope that RunPod's own worker of that name takes.  What a model writes is given as it is: whoever
shows it on a terminal takes out what would steer that.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

from vidctl.errors import ApiError, MediaError, SchemaMismatchError, UsageError
from vidctl.tasks.describe import schema, thinking
from vidctl.tasks.describe.budget import LONGEST_RATIO
from vidctl.tasks.describe.model import (
    DEFAULTS,
    OFFICIAL,
    DescribeOptions,
    Description,
    Protocol,
    Seen,
    Sent,
    is_number,
)
from vidctl.tasks.describe.stream import OpenAIStream, fit, raise_error
from vidctl.tasks.results import AnswerReader
from vidctl.text import one_line

_Value = TypeVar("_Value")

_READ = AnswerReader("a vision-language worker", largest=1e9)

# vLLM's parameters of sampling, which vidctl's own worker takes together (docs.vllm.ai, SamplingParams).
_SAMPLING = frozenset({
    "allowed_token_ids", "bad_words", "chat_template_kwargs", "frequency_penalty", "ignore_eos",
    "include_stop_str_in_output", "length_penalty", "logit_bias", "min_p", "min_tokens", "presence_penalty",
    "repetition_detection", "repetition_penalty", "skip_special_tokens", "spaces_between_special_tokens",
    "stop_token_ids", "top_k",
})  # fmt: skip
_REPEATED_CHARACTERS = 2000  # of a wrong answer, when it is requested again


def encode(
    images: Sequence[Sent],
    options: DescribeOptions,
    protocol: Protocol,
    *,
    model: str | None = None,
    stream: bool = False,
) -> dict[str, Any]:
    """The job's input: a question about all the images together, answered at once or, with `stream`, as it comes.

    `model` is the name that RunPod's worker serves its model by; vidctl's own has one model.  The requested form is
    enforced by the engine, and named in the prompt too: a model that knows it answers better.
    Raises UsageError for an unknown protocol or a missing name, and MediaError for an image that no model takes.
    """
    for image in images:
        _check_shape(image)
    if protocol is None:
        return _own(images, options, stream)
    if protocol != OFFICIAL:
        raise UsageError(f"invalid protocol {protocol!r}: expected {OFFICIAL}, or none for vidctl's own worker")
    if not model:
        raise UsageError(
            f"model missing: {OFFICIAL} needs the name of its model",
            hint="pass --model, or set MODEL_NAME or OPENAI_SERVED_MODEL_NAME_OVERRIDE in the spec's env",
        )
    return {"openai_route": "/v1/chat/completions", "openai_input": _openai(images, options, model, stream)}


def _own(images: Sequence[Sent], options: DescribeOptions, stream: bool) -> dict[str, Any]:
    """What the guide's handler takes, and further fields only where an option sets them."""
    payload: dict[str, Any] = {"prompt": _prompt(options), "max_tokens": options.max_tokens}
    payload["temperature"] = options.temperature
    if len(images) == 1 and images[0].at_s is None:
        payload["image"] = _base64(images[0].jpeg)
    elif images:
        payload["images"] = [_own_image(image) for image in images]
    for name in ("system", "seed", "stop", "schema", "choices", "regex"):
        value = getattr(options, name)
        if value != DEFAULTS[name]:
            payload[name] = list(value) if isinstance(value, tuple) else value
    if stream:
        payload["stream"] = True
    return payload | _own_extra(options.extra)


def _own_image(image: Sent) -> str | dict[str, Any]:
    jpeg = _base64(image.jpeg)
    return jpeg if image.at_s is None else {"image": jpeg, "timestamp": image.at_s}


def _own_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as they are, but vLLM's parameters of sampling where the worker takes them."""
    sampling = {name: value for name, value in extra.items() if name in _SAMPLING}
    own = {name: value for name, value in extra.items() if name not in _SAMPLING}
    if not sampling:
        return own
    given = own.get("sampling_params", {})
    return own | {"sampling_params": {**given, **sampling} if isinstance(given, dict) else given}


def _openai(images: Sequence[Sent], options: DescribeOptions, model: str, stream: bool) -> dict[str, Any]:
    system = [{"role": "system", "content": options.system}] if options.system else []
    user = {"role": "user", "content": [*_parts(images), {"type": "text", "text": _prompt(options)}]}
    request: dict[str, Any] = {"model": model, "messages": [*system, user], "max_tokens": options.max_tokens}
    request["temperature"] = options.temperature
    if options.seed is not None:
        request["seed"] = options.seed
    if options.stop:
        request["stop"] = list(options.stop)
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    request |= _openai_form(options)
    for name in request.keys() & options.extra.keys():
        raise UsageError(f"{name} is not a field for the worker: it has an option of its own")
    # The images were shrunk to max_pixels, for which OpenAI's API has no word.
    return request | {name: value for name, value in options.extra.items() if name != "max_pixels"}


def _parts(images: Sequence[Sent]) -> Iterator[dict[str, Any]]:
    """Each image, after its time if it has one, as Qwen3-VL's own processor tells it of a video's frames."""
    for image in images:
        if image.at_s is not None:
            yield {"type": "text", "text": f"<{image.at_s:.1f} seconds>"}
        yield {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_base64(image.jpeg)}"}}


def _openai_form(options: DescribeOptions) -> dict[str, Any]:
    if options.schema is not None:
        named = {"name": "answer", "schema": dict(options.schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if options.choices:
        return {"structured_outputs": {"choice": list(options.choices)}}
    return {"structured_outputs": {"regex": options.regex}} if options.regex else {}


def _prompt(options: DescribeOptions) -> str:
    """The question, and the form of its answer if there is one: its descriptions reach the model in no other way."""
    if options.schema is not None:
        return f"{options.prompt}\n\nAnswer with JSON only, by this JSON Schema:\n{_json(options.schema)}"
    if options.choices:
        return f"{options.prompt}\n\nAnswer with one of these and nothing else: {_listed(options.choices)}"
    if options.regex:
        return f"{options.prompt}\n\nAnswer with what this regular expression matches and nothing else: {options.regex}"
    return options.prompt


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"))


def _listed(choices: Sequence[str]) -> str:
    return ", ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _check_shape(image: Sent) -> None:
    width, height = image.width, image.height
    if max(width, height) > LONGEST_RATIO * min(width, height):
        raise MediaError(
            f"{image.source}: {width} x {height} pixels; one side may be at most {LONGEST_RATIO} times the other",
            hint="split it into several images",
        )


def repair(options: DescribeOptions, text: str, problem: str) -> DescribeOptions:
    """The question once more, with the answer that was given and what was wrong with it."""
    given = text if len(text) <= _REPEATED_CHARACTERS else f"{text[:_REPEATED_CHARACTERS]}…"
    correction = f"To this you answered before:\n{given}\n\nThat was wrong: {problem}. Answer again, and put it right."
    return replace(options, prompt=f"{options.prompt}\n\n{correction}")


def decode(output: object, source: str, options: DescribeOptions, protocol: Protocol) -> Description:
    """Read the answer to `encode(…)`, streamed or not.

    Raises ApiError that names the field for what is no answer, JobFailedError for an error in an answer's place, and
    SchemaMismatchError for an answer that is not of the requested form.
    """
    read = _own_answer if protocol is None else _openai_answer
    try:
        return _formed(_thought(read(output, source)), options)
    except RecursionError as error:
        raise ApiError("not an answer of a vision-language worker: it is nested too deeply") from error


def _thought(description: Description) -> Description:
    """The description without what is no answer in its text, a thinking model's thoughts."""
    text, thought = thinking.split(description.text)
    if thought is None:
        return replace(description, text=text)
    return replace(description, text=text, reasoning="\n\n".join(filter(None, (description.reasoning, thought))))


def _own_answer(output: object, source: str) -> Description:
    answer = _READ.mapping(_only(output), "output")
    raise_error(answer)
    if "response" not in answer:
        hint = f"RunPod's own worker for vLLM is `protocol: {OFFICIAL}` in the spec" if "choices" in answer else None
        _refuse("output.response", "is missing", hint)
    return Description(
        source,
        _text(answer["response"], "output.response"),
        _optional(_count, answer, "prompt_tokens", "output"),
        _optional(_count, answer, "completion_tokens", "output"),
        _optional(_count, answer, "image_tokens", "output"),
        _optional(_line, answer, "finish_reason", "output"),
        reasoning=_optional(_text, answer, "reasoning", "output") or None,
        images=_optional(_images, answer, "images", "output") or (),
        timings=_optional(_timings, answer, "timings", "output") or {},
        model=_optional(_model, answer, "model", "output"),
        warnings=_optional(_lines, answer, "warnings", "output") or (),
    )


def _openai_answer(output: object, source: str) -> Description:
    """A completion, alone or in a list; or all the events of a stream, which RunPod gathers into a list of pieces."""
    if _is_stream(output):
        output = _gathered(output)
    answer = _READ.mapping(_only(output), "output")
    raise_error(answer)
    if "choices" not in answer:
        hint = "vidctl's own worker has no protocol in its spec" if "response" in answer else None
        _refuse("output.choices", "is missing", hint)
    choices = _READ.items(answer["choices"], "output.choices")
    if not choices:
        _READ.refuse("output.choices", "is empty")
    choice = _READ.mapping(choices[0], "output.choices[0]")
    usage = _optional(_READ.mapping, answer, "usage", "output") or {}
    return Description(
        source,
        _message_text(choice, "output.choices[0]"),
        _either(usage, "prompt_tokens", "input"),
        _either(usage, "completion_tokens", "output"),
        finish_reason=_optional(_line, choice, "finish_reason", "output.choices[0]"),
        reasoning=_reasoning(choice),
        model=_optional(_model, answer, "model", "output"),
        warnings=_optional(_lines, answer, "warnings", "output") or (),
    )


def _gathered(output: object) -> object:
    stream = OpenAIStream()
    stream.feed(output)
    answer = stream.answer(is_over=True)
    return output if answer is None else answer


def _is_stream(output: object) -> bool:
    """Whether it is text of events, or pieces of an answer: a list of more than one thing, or of what is no answer."""
    if isinstance(output, str):
        return True
    if not isinstance(output, list) or not output:
        return False
    first = output[0]
    return len(output) > 1 or isinstance(first, (str, list)) or _is_piece(first)


def _is_piece(value: object) -> bool:
    return isinstance(value, dict) and value.get("object") == "chat.completion.chunk"


def _only(output: object) -> object:
    """What RunPod gathers of a handler that yields once is a list of one."""
    return output[0] if isinstance(output, list) and len(output) == 1 else output


def _message_text(choice: Mapping[str, Any], where: str) -> str:
    """The text of a chat's message, of a plain completion, or of worker-vllm up to v2.23."""
    if "message" in choice:
        message = _READ.mapping(choice["message"], f"{where}.message")
        return _content(message.get("content"), f"{where}.message.content")
    if "tokens" in choice:
        return "".join(_text(each, f"{where}.tokens") for each in _READ.items(choice["tokens"], f"{where}.tokens"))
    if "text" in choice:
        return _text(choice["text"], f"{where}.text")
    return _refuse(f"{where}.message", "is missing")


def _reasoning(choice: Mapping[str, Any]) -> str | None:
    """A thinking model's thoughts, where its server tells them from the answer: vLLM's name for them has changed."""
    message = choice.get("message")
    fields = message if isinstance(message, dict) else {}
    names = ("reasoning_content", "reasoning")
    return next((fit(fields[name]) for name in names if isinstance(fields.get(name), str) and fields[name]), None)


def _content(value: object, where: str) -> str:
    """Text, parts of text, or none at all, as of a model that was cut off while it still reasoned."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return _text(value, where)
    parts = [_READ.mapping(part, f"{where}[{n}]") for n, part in enumerate(value)]
    return "".join(_text(part["text"], f"{where}.text") for part in parts if "text" in part)


def _either(usage: Mapping[str, Any], name: str, old_name: str) -> int | None:
    """A count, by its name in OpenAI's usage or in that of worker-vllm up to v2.23."""
    return _optional(_count, usage, name if name in usage else old_name, "output.usage")


def _formed(description: Description, options: DescribeOptions) -> Description:
    """The description, with its data, if it has the requested form."""
    if options.schema is not None:
        value, problem = _parsed(description.text)
        problem = problem or schema.check(options.schema, value)
        if problem is not None:
            raise _mismatch(description, options, problem, "does not meet the schema")
        return replace(description, data=value)
    if options.choices:
        choice = description.text.strip()
        if choice not in options.choices:
            shown = _READ.short(choice)
            problem = f"{shown} is not one of {_listed(options.choices)}"
            raise _mismatch(description, options, problem, "is not one of the choices")
        return replace(description, text=choice)
    return description


def _mismatch(description: Description, options: DescribeOptions, problem: str, verdict: str) -> SchemaMismatchError:
    problem = one_line(problem)  # it quotes the answer
    reasons = {
        "length": f"it was cut off after {options.max_tokens} tokens",
        "repetition": "it repeated itself and was stopped",
        "time": "it was cut off at the worker's time limit",
    }
    is_cut = description.finish_reason == "length"
    if reason := reasons.get(description.finish_reason or ""):
        problem = f"{reason} ({problem})"
    return SchemaMismatchError(
        f"{description.source}: the answer {verdict}: {problem}",
        text=description.text,
        problem=problem,
        hint="raise max_tokens" if is_cut else f"the answer was: {one_line(description.text, 300)}",
    )


def _parsed(text: str) -> tuple[Any, str | None]:
    """The value that the text is in JSON, and what is wrong if it is none."""
    try:
        value = json.loads(_unfenced(text.strip()), parse_constant=_refuse_constant, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        return None, f"it is not JSON: {error.msg}, line {error.lineno} column {error.colno}"
    except UnicodeEncodeError:
        return None, "it holds half of a surrogate pair"
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or a tower of brackets
        return None, f"it is not valid JSON ({str(error)[:80]})"
    return value, None


def _unfenced(text: str) -> str:
    """What is within ```json and ```, where a model writes for people."""
    first, _, rest = text.partition("\n")
    return rest[:-3] if first.startswith("```") and rest.endswith("```") else text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    """A number that can be written down again: Python reads 1e999 as infinity."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _images(value: object, where: str) -> tuple[Seen, ...]:
    images = (_READ.mapping(each, f"{where}[{n}]") for n, each in enumerate(_READ.items(value, where)))
    return tuple(
        Seen(*(_required(_count, image, name, f"{where}[{n}]") for name in ("width", "height", "tokens")))
        for n, image in enumerate(images)
    )


def _timings(value: object, where: str) -> dict[str, float]:
    timings = _READ.mapping(value, where)
    return {name: _READ.number(each, f"{where}.{name}") for name, each in timings.items() if each is not None}


def _model(value: object, where: str) -> dict[str, Any]:
    """What the worker says of its model: a name alone, or a few facts."""
    given = {"name": value} if isinstance(value, str) else _READ.mapping(value, where)
    facts = {name: _line(fact, where) if isinstance(fact, str) else fact for name, fact in given.items()}
    for name, fact in facts.items():
        if is_number(fact):
            _READ.number(fact, f"{where}.{name}")
    return {name: fact for name, fact in facts.items() if isinstance(fact, str) or is_number(fact)}


def _count(value: object, where: str) -> int:
    number = _READ.number(value, where)
    if number < 0 or number != int(number):
        _READ.refuse(where, f"is {number:g}, not a count")
    return int(number)


def _text(value: object, where: str) -> str:
    """Text as it is, but for halves of surrogate pairs, which no file and no terminal takes."""
    return fit(_READ.text(value, where))


def _line(value: object, where: str) -> str:
    """Words of the worker's own, in one line."""
    return one_line(_READ.text(value, where))


def _lines(value: object, where: str) -> tuple[str, ...]:
    return tuple(_line(each, f"{where}[{n}]") for n, each in enumerate(_READ.items(value, where)))


def _required(read: Callable[[object, str], _Value], item: Mapping[str, Any], name: str, where: str) -> _Value:
    if name not in item:
        _READ.refuse(f"{where}.{name}", "is missing")
    return read(item[name], f"{where}.{name}")


def _optional(read: Callable[[object, str], _Value], item: Mapping[str, Any], name: str, where: str) -> _Value | None:
    return None if item.get(name) is None else read(item[name], f"{where}.{name}")


def _refuse(where: str, problem: str, hint: str | None = None) -> NoReturn:
    try:
        _READ.refuse(where, problem)
    except ApiError as error:
        raise ApiError(error.message, hint=hint) from None
