"""Answers as a vision-language worker does, without a model: in the words of workers/qwen-vl, and of worker-vllm.

What it says is "I see 64x48 and 32x32.", the images' sizes.  A prompt that begins with a JSON object says instead
what is to be answered: `say` a text (`again`, if the prompt tells that it was said before),
`pieces` of a text to be streamed, `finish_reason`, `warnings`, `error`, `waits` for FOLDER/gate after so many pieces,
or `dies` after the first piece, the first time.

FOLDER/asked gets a line for each job: its input, with its images' sizes in their place; FOLDER/most how many jobs
were in its hands at once, at the most.
"""

import asyncio
import base64
import json
import os
import signal
from pathlib import Path

import runpod
from runpod import http_client
from runpod.serverless.modules import rp_http

FOLDER = Path(os.environ["FOLDER"])
IMAGES = ("image", "image_url")
sessions = []
in_hand = set()


def size_of(picture):
    """Width and height of a JPEG in base64, or in a data: URL: its frame header says so."""
    data = base64.b64decode(picture.rpartition(",")[2])
    at = 2
    while not 0xC0 <= data[at + 1] <= 0xC2:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return [int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")]


def own_question(given):
    """The prompt, the sizes of the images, and the input with these in the images' place."""
    shown, sizes = dict(given), []
    for name in IMAGES:
        if name in given:
            sizes.append(size_of(given[name]))
            shown[name] = sizes[-1]
    if "images" in given:
        shown["images"] = []
        for each in given["images"]:
            size = size_of(each["image"] if isinstance(each, dict) else each)
            sizes.append(size)
            shown["images"].append({**each, "image": size} if isinstance(each, dict) else size)
    return given["prompt"], sizes, shown


def openai_question(given):
    """The same of a request in OpenAI's words."""
    texts, sizes, messages = [], [], []
    for message in given["messages"]:
        parts = []
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part["type"] == "image_url":
                sizes.append(size_of(part["image_url"]["url"]))
                parts.append(sizes[-1])
            else:
                texts.append(part["text"])
                parts.append(part["text"])
        messages.append({**message, "content": parts or message["content"]})
    return " ".join(texts), sizes, {**given, "messages": messages}


def script(prompt):
    """What the prompt wants to hear, and whether it was asked before."""
    try:
        wanted, end = json.JSONDecoder().raw_decode(prompt.lstrip())
    except ValueError:
        return {}, False
    if not isinstance(wanted, dict):
        return {}, False
    return wanted, "again" in wanted and wanted["say"] in prompt.lstrip()[end:]


async def post(job, output):
    if not sessions:
        sessions.append(http_client.AsyncClientSession())
    await rp_http.stream_result(sessions[0], {"output": output}, job)


async def answered(prompt, sizes, shown, tell):
    """The text, and how it ended; `tell` gets its pieces as they are made."""
    with (FOLDER / "asked").open("a") as asked:
        asked.write(json.dumps(shown) + "\n")
    wanted, is_again = script(prompt)
    if "error" in wanted:
        raise RuntimeError(wanted["error"])
    text = wanted.get("say", "I see " + " and ".join(f"{width}x{height}" for width, height in sizes) + ".")
    text = wanted.get("again", text) if is_again else text
    pieces = wanted.get("pieces") or [piece for piece in text.replace(" ", "\0 ").split("\0") if piece]
    for number, piece in enumerate(pieces):
        while number == wanted.get("waits") and not (FOLDER / "gate").exists():
            await asyncio.sleep(0.02)
        await tell(piece, number)
        if wanted.get("dies") and not (FOLDER / "died").exists():
            (FOLDER / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return "".join(pieces), wanted


def own_output(text, wanted, prompt, sizes):
    images = [{"width": width, "height": height, "tokens": max(1, width * height // 1024)} for width, height in sizes]
    image_tokens = sum(image["tokens"] for image in images)
    return {
        "response": text,
        "prompt_tokens": image_tokens + len(prompt.split()),
        "completion_tokens": len(text.split()),
        "image_tokens": image_tokens,
        "finish_reason": wanted.get("finish_reason", "stop"),
        "images": images,
        "timings": {"prepare": 0.01, "first_token": 0.5, "total": 2.5},
        "model": {"name": "test/captioner", "engine": "none", "max_model_len": 8192},
        **({"warnings": wanted["warnings"]} if "warnings" in wanted else {}),
    }


async def own(job):
    given = job["input"]
    prompt, sizes, shown = own_question(given)
    told = 0

    async def tell(piece, number):
        nonlocal told
        told = number + 1
        if given.get("stream"):
            await post(job, {"text": piece, "index": number})

    text, wanted = await answered(prompt, sizes, shown, tell)
    output = own_output(text, wanted, prompt, sizes)
    if given.get("stream"):
        await post(
            job, {"text": "", "index": told, "done": True, **{k: v for k, v in output.items() if k != "response"}}
        )
    return output


async def openai(job):
    """One chat.completion in a list; streamed, the text of the events, cut anywhere."""
    given = job["input"]["openai_input"]
    prompt, sizes, shown = openai_question(given)
    waiting, posted = [], []

    async def send(text, *, is_last=False):
        waiting.append(text)
        everything = "".join(waiting)
        while len(everything) > 50 or (is_last and everything):
            posted.append(everything[:50])
            await post(job, posted[-1])
            everything = everything[50:]
        waiting[:] = [everything]

    def event(delta, **more):
        choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish_reason", None)}
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": given["model"], "choices": [choice]}
        return "data: " + json.dumps({**chunk, **more}) + "\n\n"

    async def tell(piece, number):
        if given.get("stream"):
            await send(event({"content": piece}))

    text, wanted = await answered(prompt, sizes, shown, tell)
    own_words = own_output(text, wanted, prompt, sizes)
    usage = {name: own_words[name] for name in ("prompt_tokens", "completion_tokens")}
    usage["total_tokens"] = sum(usage.values())
    if given.get("stream"):
        await send(event({}, finish_reason=own_words["finish_reason"]))
        last = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": given["model"], "choices": []}
        await send("data: " + json.dumps({**last, "usage": usage}) + "\n\ndata: [DONE]\n\n", is_last=True)
        return posted
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": own_words["finish_reason"]}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "model": given["model"]}
    return [{**head, "choices": [choice], "usage": usage}]


async def handler(job):
    in_hand.add(job["id"])
    most = FOLDER / "most"
    most.write_text(str(max(len(in_hand), int(most.read_text()) if most.exists() else 0)))
    try:
        return await (openai(job) if "openai_route" in job["input"] else own(job))
    except RuntimeError as error:
        return {"error": str(error)}
    finally:
        in_hand.discard(job["id"])


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _: 30})
