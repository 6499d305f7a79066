"""How the whisper worker's handler treats its jobs, whatever is said in them; with the real whisper-base."""

from __future__ import annotations

import base64
import io
import wave
from queue import Queue

import pytest
from support.servers import dripping

pytestmark = pytest.mark.model

SECOND = 16_000


def silence(seconds):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SECOND)
        writer.writeframes(bytes(2 * seconds * SECOND))
    return base64.b64encode(file.getvalue()).decode()


def test_cancelled_downloads_make_room(drive_whisper):
    """However long a server drips: a cancelled job's download ends, and the next job is answered."""
    worker = drive_whisper(RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS="true", MAX_CONCURRENCY="1")
    clients = Queue()
    with dripping(b"HTTP/1.0 200 OK\r\n\r\n", clients.put) as base:
        jobs = worker.send(*[{"audio_url": f"{base}/a.mp3"}] * 2)
        came = [clients.get(timeout=60) for _ in jobs]
        for job_id in jobs:
            worker.cancel(job_id)
        cancelled = [worker.receive()[1] for _ in jobs]
        gone = [clients.get(timeout=60) for _ in jobs]
        (answer,) = worker.ask({"audio": silence(1)})

    assert (["came"] * 2, ["gone"] * 2) == (came, gone)
    assert [True, True] == [one["cancelled"] for one in cancelled]
    assert 1.0 == answer["duration"]


def test_nobody_is_told_of_progress_by_hand(drive_whisper, capfd):
    """Without RunPod there is nowhere to send it, and the log would hold an error for each update."""
    worker = drive_whisper(BATCH_SIZE="1")  # one of its own, which starts while its log is caught
    job = {"audio": silence(30), "vad_filter": False, "language": "en", "temperature": 0, "chunk_length": 5}
    (answer,) = worker.ask(job | {"beam_size": 1, "max_new_tokens": 4})

    assert 30.0 == answer["duration"]
    assert "Progress Update" not in capfd.readouterr().err  # what the SDK writes before each
