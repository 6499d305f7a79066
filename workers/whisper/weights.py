"""Find the folder of a model's files, or download them: pinned, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from environment import Settings
from faster_whisper.utils import _MODELS as REPOSITORIES  # the names it knows; nothing public gives where they lie
from httpx2 import HTTPError
from huggingface_hub import snapshot_download
from modelfiles import digest, locked
from variables import StartError

HERE = Path(__file__).resolve().parent
FILES = ("model.bin", "config.json", "tokenizer.json", "preprocessor_config.json", "vocabulary.*")
NEEDED = ("model.bin", "config.json", "tokenizer.json", "vocabulary.*")
# The pinned revisions of repositories on huggingface.co; of another one the newest is taken.
REVISIONS = {
    "Systran/faster-whisper-tiny": "d90ca5fe260221311c53c58e660288d3deb8d356",
    "Systran/faster-whisper-base": "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
    "Systran/faster-whisper-small": "536b0662742c02347bc0e980a01041f333bce120",
    "Systran/faster-whisper-medium": "08e178d48790749d25932bbc082711ddcfdfbc4f",
    "Systran/faster-whisper-large-v2": "f0fe81560cb8b68660e564f55dd99207059c092e",
    "Systran/faster-whisper-large-v3": "edaa852ec7e145841d8ffdb056a99866b5f0a478",
    "mobiuslabsgmbh/faster-whisper-large-v3-turbo": "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
}


def find(settings: Settings) -> Path:
    """Give the folder of `settings.model`, downloaded if it is no folder here; raise StartError with one sentence.

    A path may be relative to the working folder, to this one, or to MODEL_DIR.
    """
    model = Path(settings.model).expanduser()
    for folder in (Path.cwd() / model, HERE / model, settings.folder / model):
        if folder.is_dir():
            _check(folder, settings)
            return folder
    repository = REPOSITORIES.get(settings.model, settings.model)
    if model.is_absolute() or repository.count("/") != 1:
        raise StartError(
            f"MODEL={settings.model} not found: expected a folder, an owner/name or one of {', '.join(REPOSITORIES)}"
        )
    return _downloaded(repository, settings)


def _check(folder: Path, settings: Settings) -> None:
    missing = [name for name in NEEDED if not any(folder.glob(name))]
    if missing:
        raise StartError(f"{folder} is not a faster-whisper model: {missing[0]} is missing")
    if settings.sha256 and digest(folder / "model.bin") != settings.sha256:
        raise StartError(f"invalid model.bin in {folder}: expected sha256 {settings.sha256}")


def _downloaded(repository: str, settings: Settings) -> Path:
    revision = settings.revision or REVISIONS.get(repository, "main")
    folder = settings.folder / f"{repository.replace('/', '--')}@{revision}"
    if folder.is_dir():  # it may lie where nothing can be written
        return folder
    with locked(folder), TemporaryDirectory(dir=settings.folder) as scratch:
        if not folder.is_dir():
            fetched = Path(scratch) / "model"
            _download(repository, revision, fetched)
            _check(fetched, settings)
            fetched.rename(folder)  # only what is complete gets the name that is looked for
    return folder


def _download(repository: str, revision: str, folder: Path) -> None:
    try:
        snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=list(FILES))
    except (OSError, ValueError, HTTPError) as error:
        raise StartError(
            f"cannot download {repository} from huggingface.co ({type(error).__name__}); "
            "build the image with the model in it, or set MODEL to a folder that holds it (on the local runtime: "
            "VIDCTL_WHISPER_MODEL)"
        ) from error
