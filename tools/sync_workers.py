"""Copy what workers, and the client, must do alike from workers/_shared to where it runs.

A worker's folder is a whole build context that anybody can copy, so nothing there can be imported from outside it; and
the command never imports a worker.  What is said here once is the same file everywhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT / "workers/_shared"

# Each file of workers/_shared, and the folders that have a copy.  What the package `vidctl` has imports no sibling.
COPIES: dict[str, tuple[str, ...]] = {
    "audioclock.py": ("workers/whisper", "vidctl/media"),
    "audiolength.py": ("workers/whisper", "vidctl/media"),
    "audiomix.py": ("workers/whisper", "vidctl/media"),
    "audiotrack.py": ("workers/whisper", "vidctl/media"),
    "badinput.py": ("workers/yolo", "workers/whisper", "workers/qwen-vl"),
    "base64text.py": ("workers/yolo", "workers/whisper", "workers/qwen-vl"),
    "displaymatrix.py": ("vidctl/media", "workers/qwen-vl"),
    "download.py": ("workers/yolo", "workers/whisper", "workers/qwen-vl"),
    "fields.py": ("workers/yolo", "workers/whisper", "workers/qwen-vl"),
    "languages.py": ("vidctl/tasks/transcribe", "workers/whisper"),
    "modelfiles.py": ("workers/yolo", "workers/whisper"),
    "prepare.py": ("workers/yolo", "workers/whisper"),
    "thinking.py": ("vidctl/tasks/describe", "workers/qwen-vl"),
    "pixels.py": ("vidctl/media", "workers/yolo", "workers/qwen-vl"),
    "variables.py": ("workers/yolo", "workers/whisper", "workers/qwen-vl"),
}


def copies() -> dict[Path, str]:
    """What each copy must be: the source under a line that says where to edit it."""
    return {
        ROOT / folder / name: f"# Copied from workers/_shared/{name} by `make sync-workers`: edit it there.\n{text}"
        for name, folders in COPIES.items()
        for text in [(SHARED / name).read_text()]
        for folder in folders
    }


def main() -> None:
    for path, text in copies().items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
