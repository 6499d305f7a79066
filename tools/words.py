"""The words that no user should read, each with what to write instead; `tools/measure.py` counts them.

The words are matched as whole phrases, whatever their case, as a plural too where one is given.  What the field says
itself (a video's scene, the command `ask` and its question) is not here.
"""

from __future__ import annotations

import re

LEFT_OUT: dict[str, str] = {
    r"pictures?": "image",
    r"films?": "video, clip, frame",
    r"sounds?": "audio, speech",
    r"what is said": "speech, transcript",
    r"asked": "requested, request",
    r"told": "request, prompt",
    r"travels?": "upload, send",
    r"(?:shrink|shrinks|shrunk) to what the model sees": "resized before upload",
    r"li(?:fe|ves)": "endpoint, worker, job",
    r"wish(?:es)?": "request, setting",
    r"slips?": "job",
    r"desks?": "queue",
    r"bells?": "event",
    r"sights?": "snapshot",
    r"proofs?": "smoke test",
    r"there is no such(?: key as)?": "not found, missing; unknown key",
    r"(?:is|are) not there": "not found, missing",
    r"cannot be had": "not found, missing",
    r"is no \w+ that can be": "invalid X: expected Y",
    r"no time in a video": "invalid X: expected Y",
    r"this key is here already": 'duplicate key "name" (first on line 1)',
    r"asks? to slow down": "rate limited (429); retrying in 3 s",
    r"wants a login": "registry requires authentication",
    r"mend(?:s|ed)?": "fix",
    r"you said no": "aborted; nothing was changed",
    r"things? stands? in the way": "N problems found",
    r"say more|say nothing but": "--verbose: more output; --quiet: only results and errors",
    r"what was out is cancelled": "cancelled 2 jobs",
    r"goes before": "takes precedence over",
    r"as it is made": "streamed",
}
_ANY = re.compile(rf"\b(?:{'|'.join(LEFT_OUT)})\b", re.IGNORECASE)


def left_out(text: str) -> list[str]:
    """Return every left-out word or phrase of a text, as it stands there; line breaks count as spaces."""
    return _ANY.findall(" ".join(text.split()))
