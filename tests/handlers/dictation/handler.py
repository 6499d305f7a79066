"""Answers as a whisper worker does, without a model: a sound's one segment tells its turn, " word3." for the third.

FOLDER remembers the turns, and each attempt at one as a line of FOLDER/attempts.  At the turn DIES the worker kills
itself, once; at the turn FAILS it always refuses; from the turn HOLDS on it waits for FOLDER/gate.
"""

import base64
import hashlib
import os
import signal
import time
from pathlib import Path

import runpod

FOLDER = Path(os.environ["FOLDER"])


def turn(audio):
    """The number of a sound, from 1, in the order in which they were first heard."""
    known = FOLDER / "sounds"
    digests = known.read_text().split() if known.exists() else []
    digest = hashlib.sha256(base64.b64decode(audio)).hexdigest()
    if digest not in digests:
        digests.append(digest)
        known.write_text("\n".join(digests))
    return digests.index(digest) + 1


def is_turn(name, number):
    return os.environ.get(name) == str(number)


def handler(job):
    number = turn(job["input"]["audio"])
    with (FOLDER / "attempts").open("a") as attempts:
        attempts.write(f"{number}\n")
    if is_turn("DIES", number) and not (FOLDER / "died").exists():
        (FOLDER / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if is_turn("FAILS", number):
        return {"error": "this sound cannot be understood"}
    while number >= int(os.environ.get("HOLDS", "1000")) and not (FOLDER / "gate").exists():
        time.sleep(0.05)
    segment = {"id": 0, "start": 0.5, "end": 1.0, "text": f" word{number}.", "confidence": 0.9}
    return {"transcription": [segment], "language": "en", "language_probability": 0.9, "duration": 10.0}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
