"""vLLM inside the asking process: `python engine_in_process.py MODEL TOKENS JOBS`, in the engine's environment.

Prints one JSON object: seconds to start, tokens a second of one job after the other and of all at once, and the seconds
to the first token of an image.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time

STARTED = time.time()
os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1", VLLM_CPU_KVCACHE_SPACE="1")


async def main(model: str, tokens: int, jobs: int) -> None:
    from PIL import Image
    from vllm import AsyncEngineArgs, SamplingParams  # type: ignore[import-not-found]
    from vllm.sampling_params import RequestOutputKind  # type: ignore[import-not-found]
    from vllm.v1.engine.async_llm import AsyncLLM  # type: ignore[import-not-found]

    engine = AsyncLLM.from_engine_args(
        AsyncEngineArgs(
            model=model, dtype="bfloat16", max_model_len=4096, enforce_eager=True, limit_mm_per_prompt={"image": 16}
        )
    )
    tokenizer = engine.get_tokenizer()
    tokenizer = await tokenizer if asyncio.iscoroutine(tokenizer) else tokenizer
    image = Image.new("RGB", (256, 192), (200, 40, 90))

    async def ask(number: int, count: int, *, with_image: bool = False) -> float:
        """Seconds to the first token."""
        content = [{"type": "image"}] * with_image + [{"type": "text", "text": f"Tell me {number}."}]
        messages = [{"role": "user", "content": content}]
        prompt = {"prompt": tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)}
        if with_image:
            prompt["multi_modal_data"] = {"image": [image]}
        params = SamplingParams(
            max_tokens=count, temperature=1.0, seed=number, ignore_eos=True, output_kind=RequestOutputKind.DELTA
        )
        began, first = time.perf_counter(), 0.0
        async for _ in engine.generate(prompt, params, request_id=f"{time.monotonic_ns()}-{number}"):
            first = first or time.perf_counter() - began
        return first

    await ask(0, 2, with_image=True)
    start_s = time.time() - STARTED
    await asyncio.gather(*(ask(number, 20) for number in range(jobs)))
    began = time.perf_counter()
    for number in range(4):
        await ask(number, tokens)
    alone = 4 * tokens / (time.perf_counter() - began)
    began = time.perf_counter()
    await asyncio.gather(*(ask(number, tokens) for number in range(jobs)))
    together = jobs * tokens / (time.perf_counter() - began)
    firsts = sorted([await ask(number, 4, with_image=True) for number in range(9)])
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    numbers = {"start_s": start_s, "alone": alone, "together": together, "first_s": firsts[4], "memory_mb": memory_mb}
    print(json.dumps(numbers), flush=True)
    engine.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
