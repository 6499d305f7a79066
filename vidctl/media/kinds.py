"""The kinds of files that are looked for, by their endings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MediaKind:
    """What to look for: the name of one and of several, and the endings of its files."""

    name: str
    plural: str
    suffixes: frozenset[str]

    @property
    def one(self) -> str:
        """One of them in a sentence: `an image`, `a video`."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


IMAGES = MediaKind(
    "image",
    "images",
    frozenset(
        {
            *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif"),
            *(".tiff", ".gif", ".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpf", ".jpx", ".jpc"),
        }
    ),
)

VIDEOS = MediaKind(
    "video",
    "videos",
    frozenset(
        {
            *(".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
            *(".mts", ".mxf", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv"),
        }
    ),
)

IMAGES_AND_VIDEOS = MediaKind("image or video", "images and videos", IMAGES.suffixes | VIDEOS.suffixes)

# A video has audio too.
AUDIO = MediaKind(
    "audio file",
    "audio files",
    VIDEOS.suffixes
    | {
        *(".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".eac3", ".flac", ".gsm"),
        *(".m4a", ".m4b", ".mka", ".mp2", ".mp3", ".mpga", ".oga", ".ogg", ".opus", ".ra", ".snd", ".spx"),
        *(".tta", ".w64", ".wav", ".wma", ".wv"),
    },
)
