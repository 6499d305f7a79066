"""Answers with its number, many at a time; FILE gets a line for each job that was begun."""

import os

import runpod


async def handler(job):
    number = job["input"]["n"]
    with open(os.environ["FILE"], "a") as begun:
        begun.write(f"{number}\n")
    return {"n": number}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _: 50})
