"""Answers OpenAI's envelope as worker-vllm does: one chunk without `stream`, ready-made events with it."""

import json

import runpod


async def handler(job):
    route, given = job["input"]["openai_route"], job["input"]["openai_input"]
    if "bad" in given:
        yield {"error": {"message": "bad request", "code": 400}}
    elif given.get("stream"):
        for text in given["texts"]:
            yield f"data: {json.dumps({'text': text}, separators=(',', ':'))}\n\n"
        yield "data: [DONE]\n\n"
    else:
        yield {"route": route, "input": given}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
