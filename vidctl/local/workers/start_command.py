"""A template's start command as words: GraphQL keeps it in `dockerArgs` as `{"cmd": [...], "entrypoint": [...]}`.

The form is RunPod's own (runpodctl, internal/api/template_port_labels.go).  Pure.
"""

from __future__ import annotations

import json

Words = dict[str, list[str]]


def read(docker_args: str) -> Words | None:
    """The words of `cmd` and `entrypoint`, those that there are; None for a command that is a line of text."""
    if not docker_args.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(docker_args)
    except ValueError:
        return None
    lists = [value[name] for name in value]
    is_ours = value.keys() <= {"cmd", "entrypoint"} and all(isinstance(words, list) for words in lists)
    return value if is_ours and all(isinstance(word, str) for words in lists for word in words) else None


def written(words: Words) -> str:
    """The text that GraphQL keeps; empty when there are none."""
    given = {name: value for name, value in words.items() if value}
    return json.dumps(given, separators=(",", ":")) if given else ""
