"""Answers as a whisper worker does, without a model: an audio file's one segment tells its number, " word3." for 9.2 s.

FOLDER/attempts gets a line for each audio file that was begun.  At the number DIES the worker kills itself, once; the
number FAILS is always refused; at SILENT nothing is said; from the number HOLDS on it waits for FOLDER/gate.
"""

import base64
import os
import signal
import time
from pathlib import Path

import runpod

FOLDER = Path(os.environ["FOLDER"])


def number_of(audio):
    """1 for 9.0 s, 2 for 9.1 s, …; 0 for what is no Ogg Opus.  The last page of one counts its samples at 48 kHz."""
    page = audio.rfind(b"OggS")
    return round((int.from_bytes(audio[page + 6 : page + 14], "little") / 48_000 - 9) * 10) + 1 if page >= 0 else 0


def is_number(name, number):
    return os.environ.get(name) == str(number)


def handler(job):
    number = number_of(base64.b64decode(job["input"]["audio"]))
    with (FOLDER / "attempts").open("a") as attempts:
        attempts.write(f"{number}\n")
    if is_number("DIES", number) and not (FOLDER / "died").exists():
        (FOLDER / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if is_number("FAILS", number):
        return {"error": "this audio cannot be understood"}
    while number >= int(os.environ.get("HOLDS", "1000")) and not (FOLDER / "gate").exists():
        time.sleep(0.05)
    if is_number("SILENT", number):
        return {"transcription": [], "language": None}
    segment = {"id": 0, "start": 0.5, "end": 1.0, "text": f" word{number}.", "confidence": 0.9}
    if job["input"].get("word_timestamps"):
        segment["words"] = [{"word": segment["text"], "start": 0.6, "end": 0.8, "probability": 0.9}]
    return {"transcription": [segment], "language": "en", "language_probability": 0.9}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
