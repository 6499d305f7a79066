"""Workers' folders as people lay them out, RunPod's own among them: the names of their files, and how they start."""

from __future__ import annotations

from pathlib import Path

# Each: its files (a Dockerfile's text without FROM), and the handler.
LAYOUTS = {
    # github.com/runpod-workers/worker-basic
    "worker-basic": (
        {
            "Dockerfile": 'WORKDIR /\nCOPY rp_handler.py /\nCMD ["python3", "-u", "rp_handler.py"]\n',
            "rp_handler.py": "",
            "test_input.json": "{}",
        },
        "rp_handler.py",
    ),
    # github.com/runpod-workers/worker-faster_whisper
    "worker-faster_whisper": (
        {
            "Dockerfile": (
                "WORKDIR /\nCOPY builder/requirements.txt /requirements.txt\n"
                "COPY builder/fetch_models.py /fetch_models.py\nRUN rm /fetch_models.py\n"
                "COPY src .\nCOPY test_input.json .\nCMD python -u /rp_handler.py\n"
            ),
            "builder/requirements.txt": "",
            "builder/fetch_models.py": "",
            "src/rp_handler.py": "",
            "src/predict.py": "",
            "test_input.json": "{}",
            ".runpod/hub.json": "{}",
        },
        "src/rp_handler.py",
    ),
    # github.com/runpod-workers/worker-vllm
    "worker-vllm": (
        {
            "Dockerfile": (
                'ARG BASE_PATH="/runpod-volume"\nENV BASE_PATH=$BASE_PATH\n'
                "COPY builder/requirements.txt /requirements.txt\n"
                'COPY src /src\nRUN chmod +x /src/start.sh\nCMD ["/bin/sh", "/src/start.sh"]\n'
            ),
            "builder/requirements.txt": "",
            "src/start.sh": "#!/bin/sh\nset -e\nexec python3 -u /src/handler.py\n",
            "src/handler.py": "",
            "src/engine.py": "",
        },
        "src/handler.py",
    ),
}


def lay_out(folder: Path, name: str, *, base: str) -> Path:
    """Write one of them; the folder."""
    for path, text in LAYOUTS[name][0].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"FROM {base}\n{text}" if path == "Dockerfile" else text)
    return folder
