"""What the help of each command ends with: command lines to copy, with files of `samples/`."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "detect": (
        "vidctl detect sample.jpg --conf 0.5",
        "vidctl detect frames/ --classes person,car --save out/",
        "vidctl detect 'frames/*.jpg' -f coco -o boxes.json",
    ),
    "transcribe": (
        "vidctl transcribe speech.wav",
        "vidctl transcribe clip.mp4 --language en -o clip.srt",
        "vidctl transcribe speech.wav clip.mp4 -f srt,json -o out/",
    ),
    "describe": (
        'vidctl describe sample.jpg "What is the person on the left doing?"',
        'vidctl describe clip.mp4 --from 0:01 --to 0:04 "What happens?"',
        'vidctl describe frames/1.jpg frames/3.jpg --together "What has changed?"',
        "vidctl describe frames/ --preset ocr -f jsonl > texts.jsonl",
        'vidctl describe sample.jpg --schema "people int, weather, is_busy bool"',
    ),
    "help": ("vidctl help deploy", "vidctl help local up", "vidctl help --json"),
    "run": (
        """vidctl run mine --input '{"name": "world"}'""",
        "vidctl run mine -i name=world -i text=@notes.txt",
        "vidctl run mine --jsonl inputs.jsonl -o outputs.jsonl --in-flight 64",
        "vidctl run mine --jsonl inputs.jsonl -o outputs.jsonl --resume",
    ),
    "init": ("vidctl init", "vidctl init yolo", "vidctl init --plain mine"),
    "doctor": ("vidctl doctor", "vidctl doctor --target runpod --push", "vidctl doctor --json"),
    "config": ("vidctl config show",),
    "config show": ("vidctl config show --origin", "vidctl config show --json"),
    "validate": ("vidctl validate", "vidctl validate yolo -e prod"),
    "plan": ("vidctl plan yolo", "vidctl plan --all --detailed-exitcode", "vidctl plan yolo -o plan.json"),
    "deploy": (
        "vidctl deploy yolo",
        "vidctl deploy plan.json",
        "vidctl deploy --all -e prod -y",
    ),
    "list": ("vidctl list --target local", "vidctl list --json"),
    "scale": ("vidctl scale yolo --max 5", "vidctl scale yolo --min 1 --idle 2m --write -y"),
    "rollback": ("vidctl rollback yolo", "vidctl rollback yolo --to 3 --dry-run"),
    "destroy": ("vidctl destroy yolo -y", "vidctl destroy --all --dry-run"),
    "gc": ("vidctl gc --dry-run", "vidctl gc -y"),
    "build": ("vidctl build yolo", "vidctl build --all"),
    "push": ("vidctl push yolo whisper",),
    "jobs": ("vidctl jobs --limit 5", "vidctl jobs result 3f2a"),
    "jobs list": ("vidctl jobs list --json",),
    "jobs show": ("vidctl jobs show 3f2a",),
    "jobs wait": ("vidctl jobs wait 3f2a --timeout 10m",),
    "jobs result": ("vidctl jobs result 3f2a > answer.json", "vidctl jobs result sync-81c4 --endpoint yolo"),
    "jobs cancel": ("vidctl jobs cancel 3f2a -y",),
    "jobs retry": ("vidctl jobs retry 3f2a",),
    "jobs forget": ("vidctl jobs forget --older-than 7d", "vidctl jobs forget --all -y"),
    "health": ("vidctl health yolo",),
    "purge": ("vidctl purge yolo -n", "vidctl purge yolo -y"),
    "restart": ("vidctl restart yolo", "vidctl restart yolo -n"),
    "history": ("vidctl history yolo", "vidctl history yolo --json"),
    "why": ("vidctl why yolo", "vidctl why yolo --json"),
    "status": ("vidctl status", "vidctl status yolo whisper --watch", "vidctl status --json"),
    "logs": (
        "vidctl logs yolo --since 10m",
        "vidctl logs yolo -f --source container",
        "vidctl logs yolo --grep 'Error|Traceback' --tail 1000",
    ),
    "cost": ("vidctl cost estimate yolo whisper --fps 10", "vidctl cost simulate trace.csv yolo"),
    "cost estimate": (
        "vidctl cost estimate yolo whisper qwen-vl",
        "vidctl cost estimate yolo --fps 10 --execution 0.03s",
        "vidctl cost estimate whisper --jobs-per-day 200 --json",
    ),
    "cost report": ("vidctl cost report", "vidctl cost report --since 30d --by day --json"),
    "cost simulate": (
        "vidctl cost simulate trace.csv yolo",
        "vidctl cost simulate trace.csv yolo --p95 20s",
        "vidctl cost simulate trace.csv whisper --execution 3s --cold-start 12s --json",
    ),
    "schema": ("vidctl schema > spec.schema.json", "vidctl schema --settings > settings.schema.json"),
    "images": ("vidctl images --json",),
    "images prune": ("vidctl images prune --keep 1",),
    "registry": ("vidctl registry list",),
    "registry login": ("vidctl registry login hub -u you --password-stdin < token.txt",),
    "registry remove": ("vidctl registry remove hub -y",),
    "registry list": ("vidctl registry list --json",),
    "local": ("vidctl local up", 'eval "$(vidctl local env)"'),
    "local up": ("vidctl local up --isolation container",),
    "local down": ("vidctl local down",),
    "local status": ("vidctl local status --json",),
    "local logs": ("vidctl local logs yolo --tail 20",),
    "local env": ('eval "$(vidctl local env)"',),
}


def block(name: str) -> str:
    """The examples of a command, as Typer prints them line by line; "" where it has none."""
    lines = EXAMPLES.get(name, ())
    title = "Example" if len(lines) == 1 else "Examples"
    return "\b\n" + "\n".join([f"{title}:", *(f"  {line}" for line in lines)]) if lines else ""
