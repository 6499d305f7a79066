"""What to build, where it goes, and who pushes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vidctl.errors import ImageError


@dataclass(frozen=True)
class Login:
    """A user of a registry."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class BuildSource:
    """What to build.

    `key` is the spec's, for labels and names of log files.  `target` is the stage to stop at.
    Without a `repository` the image stays on this engine.  Without a `login` the Docker config and its credential
    helpers are asked.
    """

    key: str
    folder: Path
    repository: str | None = None
    dockerfile: str = "Dockerfile"
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: Login | None = None

    @property
    def dockerfile_path(self) -> Path:
        return self.folder / self.dockerfile

    @property
    def name(self) -> str:
        """The image's name without its tag."""
        folder = re.sub(r"[^a-z0-9]+", "-", self.folder.resolve().name.lower()).strip("-")
        return self.repository or f"vidctl/{folder or 'worker'}"

    def read_dockerfile(self) -> str:
        """The Dockerfile's text; raise ImageError for one that is not there, or not in the folder that is sent."""
        path = self.dockerfile_path
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ImageError(f"{path}: outside of the build folder {self.folder}", hint="move it inside")
        try:
            return path.read_text(encoding="utf-8-sig")
        except FileNotFoundError as error:
            raise ImageError(
                f"{path}: not found", hint="write a Dockerfile there, or set image.dockerfile in the spec"
            ) from error
        except (OSError, ValueError) as error:
            raise ImageError(f"{path}: cannot be read: {error}", hint="save it as UTF-8 text") from error


def familiar(repository: str) -> str:
    """`python` for docker.io/library/python, as the engine spells it."""
    return re.sub(r"^(?:index\.)?docker\.io/", "", repository).removeprefix("library/")
