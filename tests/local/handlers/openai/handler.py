"""Answers OpenAI's envelope as worker-vllm does: one chunk without `stream`, ready-made events with it."""

import json

import runpod


async def handler(job):
    route, given = job["input"]["openai_route"], job["input"]["openai_input"]
    if "bad" in given:
        yield {"error": {"message": "bad request", "code": 400}}
    elif "cut" in given:  # as worker-vllm from 2.24: where its HTTP client cuts
        whole = "".join(map(event, given["texts"])) + ("" if "fails" in given else "data: [DONE]\n\n")
        for start in range(0, len(whole), given["cut"]):
            yield whole[start : start + given["cut"]]
        if "fails" in given:
            yield event(given["fails"]).rstrip("\n")
            yield {"error": "the engine is gone"}
    elif given.get("stream"):
        for text in given["texts"]:
            yield f"data: {json.dumps({'text': text}, separators=(',', ':'))}\n\n"
        yield "data: [DONE]\n\n"
    else:
        yield {"route": route, "input": given}


def event(text):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    told = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(told)}\n\n"


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
