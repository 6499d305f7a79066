"""Write the Git revision into what is built, for `vidctl --version`; hatchling runs this."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RevisionHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds a file to a wheel and to an sdist; an sdist that is built has it already."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # it runs from the checkout
            return
        module = runpy.run_path(str(Path(self.root, "vidctl", "revision.py")))
        found = module["of_checkout"](Path(self.root))
        if found is None:
            return
        self._folder = tempfile.TemporaryDirectory()
        written = Path(self._folder.name, "revision")
        written.write_text(f"{found}\n", encoding="ascii")
        build_data["force_include"][str(written)] = str(module["FILE"])

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002  hatchling's signature
        if hasattr(self, "_folder"):
            self._folder.cleanup()
