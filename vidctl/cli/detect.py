"""`vidctl detect`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidctl.cli import options
from vidctl.cli.tally import Tally
from vidctl.errors import UsageError

if TYPE_CHECKING:
    from vidctl.cli.outputs import Inputs
    from vidctl.cli.report import Report
    from vidctl.errors import VidctlError
    from vidctl.tasks.detect.model import Detections, Result
    from vidctl.tasks.detect.run import Found

Format = Literal["table", "json", "jsonl", "csv", "coco", "txt"]


def detect(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE…", help="Images: files, folders, globs, URLs, - or @list.txt.")
    ],
    conf: Annotated[float, typer.Option(help="Minimum confidence, 0 to 1.")] = 0.25,
    iou: Annotated[float, typer.Option(help="IoU threshold of non-maximum suppression, 0 to 1.")] = 0.7,
    imgsz: Annotated[int, typer.Option(help="Input size of the model: longer side, in pixels.")] = 640,
    max_det: Annotated[int, typer.Option(help="Maximum number of detections per image.")] = 300,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="person,car", help='Detect only these: names or ids; a name in double quotes, as "1"; repeatable.'
        ),
    ] = None,
    agnostic_nms: Annotated[
        bool, typer.Option("--agnostic-nms", help="Suppress overlapping boxes of different classes.")
    ] = False,
    recursive: options.Recursive = False,
    output_format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Output format [default: by FILE's ending, else table]."),
    ] = None,
    as_json: options.JsonResult = False,
    output: Annotated[
        str | None, options.output("FILE|-", "Write results to FILE, or with -f txt one file per image to DIR/.")
    ] = None,
    save_conf: Annotated[
        bool, typer.Option("--save-conf", help="With -f txt: add the confidence as column 6 (not for training).")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(parser=options.folder_of_output, metavar="DIR", help="Save annotated images to DIR."),
    ] = None,
    save_crop: Annotated[
        Path | None,
        typer.Option(parser=options.folder_of_output, metavar="DIR", help="Save a crop of each object to DIR."),
    ] = None,
    overwrite: options.Overwrite = False,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Deployed spec to use [default: the one for detect].", autocompletion=options.specs
        ),
    ] = None,
    env: options.Environment = None,
    endpoint_id: options.EndpointId = None,
    target: options.Target = None,
    timeout: options.Timeout = 600,
    no_progress: options.NoProgress = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Find objects in images.

    Images are resized before upload; boxes are in pixels of the original images. Results are in the order of the
    sources. A failed image is reported and does not stop the others (exit code 9).
    """
    from vidctl.cli.outputs import Inputs, stems
    from vidctl.cli.report import Report
    from vidctl.cli.waiting import telling
    from vidctl.client import Client
    from vidctl.media.search import expand
    from vidctl.tasks.detect.codec import parse_classes
    from vidctl.tasks.detect.model import DetectOptions

    class_names = tuple(chain.from_iterable(map(parse_classes, classes or ())))
    detect_options = DetectOptions(conf, iou, imgsz, max_det, class_names, agnostic_nms)
    chosen = _format(output_format, output, is_json=as_json)
    if save_conf and chosen != "txt":
        raise UsageError("--save-conf: only supported with -f txt")
    report = Report(quiet=quiet, verbose=verbose, as_json=as_json or chosen in ("json", "jsonl"))
    images = expand(sources, recursive=recursive, stdin=sys.stdin.buffer, warn=report.skipped)
    inputs = Inputs(images, sources)
    names = stems(images, sources, keeps_folders=recursive)
    delivery = _Delivery(chosen, output, names, report, save, save_crop, overwrite)
    delivery.save_conf = save_conf
    delivery.spare(inputs)
    client = Client(
        target=target, endpoint=endpoint, overlay=env, endpoint_id=endpoint_id, timeout_s=timeout, notify=report.step
    )
    if client.is_target_by_default:
        report.detail(options.LOCAL_BY_DEFAULT)
    try:
        with report.counting("detect", len(images), shown=not no_progress) as counter:
            found = client.detect_many(images, waiting=telling(counter.wait), **vars(detect_options))
            report.detail(client.asking)
            delivery.endpoint = client.asked
            try:
                for each in found:
                    delivery.add(each)
                    counter.count()
            except KeyboardInterrupt:
                raise client.interrupt() from None
            finally:
                found.close()
    finally:
        delivery.close()
    delivery.tally.settle()


def _format(requested: Format | None, output: str | None, *, is_json: bool) -> str:
    from vidctl.cli.outputs import form

    endings = {"json": "json", "jsonl": "jsonl", "csv": "csv", "txt": "txt"}
    return form(requested, output, endings, is_json=is_json, otherwise="table")


def _is_special(path: Path | None) -> bool:
    """Whether it is a pipe, a terminal or the like, which people look at."""
    return path is None or (path.exists() and not path.is_file())


class _Delivery:
    """Takes results as they come: prints or collects them, saves images, and remembers what failed."""

    def __init__(
        self,
        form: str,
        output: str | None,
        names: list[str],
        report: Report,
        save: Path | None,
        save_crop: Path | None,
        overwrite: bool,
    ) -> None:
        from vidctl.cli.outputs import Lines
        from vidctl.errors import UsageError

        self._format = form
        self._output = None if output is None or output == "-" else Path(output)
        is_folder = output is not None and self._output is not None and (output.endswith("/") or self._output.is_dir())
        if is_folder and form != "txt":
            raise UsageError(f"-o {output}: a folder, not a file", hint="write a file per image into it with -f txt")
        self._is_folder = is_folder
        self._names = names
        self._report = report
        self._save = save
        self._save_crop = save_crop
        self._overwrite = overwrite
        self._is_whole = form in ("json", "coco")  # one document cannot be begun before all is known
        self._lines = Lines(self._output)
        self._kept: list[Result] = []
        self.save_conf = False
        self.tally = Tally("images")
        self.endpoint: str | None = None

    def spare(self, inputs: Inputs) -> None:
        """Raise UsageError where a file that is read would be lost, VidctlError where nothing can be written."""
        from vidctl.cli.outputs import check_folder, check_stdout
        from vidctl.files import check

        if self._format == "txt" and not self._is_folder and len(self._names) > 1 and not _is_special(self._output):
            raise UsageError(
                f"-o {self._output}: YOLO labels need one file per image", hint="write them into a folder with -o DIR/"
            )
        if self._output is None:
            check_stdout()
        elif self._is_folder:
            inputs.spare_in("-o", self._output, (f"{stem}.txt" for stem in self._names))
            check_folder("-o", self._output)
        else:
            inputs.spare("-o", self._output)
            for option, folder in (("--save", self._save), ("--save-crop", self._save_crop)):
                if folder is not None and folder.resolve() == self._output.resolve():
                    raise UsageError(f"{option} {folder}: this is also the file of -o", hint="save into another folder")
            check(self._output)
        if self._save is not None:
            both = (f"{stem}{suffix}" for stem in self._names for suffix in (".jpg", ".png"))
            inputs.spare_in("--save", self._save, both)
            check_folder("--save", self._save)
        if self._save_crop is not None:
            inputs.spare_crops("--save-crop", self._save_crop, self._names)
            check_folder("--save-crop", self._save_crop)

    def add(self, found: Found) -> None:
        from vidctl.tasks.results import Failed

        stem = self._names[self.tally.taken]
        self.tally.taken += 1
        if isinstance(found.result, Failed):
            self.tally.failures.append(found.result.error)
            if len(self._names) > 1:
                self._report.failed(found.result, is_in_result=self._format in ("json", "jsonl", "coco"))
        self._save_all(found, stem)  # before it is printed: whoever reads that may have gone
        if self._is_whole:
            self._kept.append(found.result)
        elif not self._is_folder:
            self._print(found.result)

    def close(self) -> None:
        """Deliver the document, also that of the results that there are when something stopped the rest."""
        from vidctl.cli.outputs import print_instead, say
        from vidctl.errors import VidctlError
        from vidctl.files import write

        self._lines.close()
        if not self._is_whole or not self.tally.taken:
            return
        text = self._text(self._kept)
        self._note_categories()
        self._kept = []
        if self._output is None:
            say(text)
            return
        try:
            write(self._output, text.encode())
        except VidctlError as error:
            print_instead(text, error)
            raise

    def _text(self, results: list[Result]) -> str:
        """What is written of them in a format that other tools read."""
        from vidctl.tasks.detect import formats
        from vidctl.tasks.results import Failed

        if self._format == "json":
            return formats.to_json(results, endpoint=self.endpoint)
        if self._format != "txt":
            return formats.FORMATS[self._format](results)
        if len(self._names) > 1:
            return formats.to_txt(results, save_conf=self.save_conf)
        one = results[0]
        return "" if isinstance(one, Failed) else formats.yolo_lines(one, save_conf=self.save_conf)

    def _note_categories(self) -> None:
        from vidctl.tasks.results import Failed

        answered = [result for result in self._kept if not isinstance(result, Failed)]
        if self._format == "coco" and answered and not any(result.names for result in answered):
            self._report.note(
                "the worker does not report its model's classes: categories are limited to the detected ones"
            )

    def _print(self, result: Result) -> None:
        from vidctl.cli import report
        from vidctl.tasks.detect import formats
        from vidctl.tasks.results import Failed

        is_answer = not isinstance(result, Failed)
        if self._format == "csv":
            self._lines.add(formats.to_csv([result], header=self.tally.taken == 1), is_answer=is_answer)
        elif self._format == "jsonl":
            self._lines.add(formats.to_jsonl([result], endpoint=self.endpoint), is_answer=is_answer)
        elif self._format in formats.FORMATS:
            self._lines.add(self._text([result]), is_answer=is_answer)
        elif isinstance(result, Failed):
            return
        elif self._output is None and sys.stdout.isatty():
            report.detections(result)
        else:
            self._lines.add("".join(f"{line}\n" for line in report.lines(result)), is_answer=True)

    def _save_all(self, found: Found, stem: str) -> None:
        """Save what was requested; what cannot be saved is reported, and its result is printed all the same."""
        from vidctl.tasks.results import Failed

        result = found.result
        if isinstance(result, Failed):
            return
        with self._saving(found.source.name) as labels:
            self._save_labels(result, stem)
        with self._saving(found.source.name) as images:
            self._save_images(found, result, stem)
        self.tally.unsaved += [*labels, *images][:1]

    @contextmanager
    def _saving(self, name: str) -> Iterator[list[VidctlError]]:
        from vidctl.errors import VidctlError
        from vidctl.tasks.results import Failed

        errors: list[VidctlError] = []
        try:
            yield errors
        except VidctlError as error:
            errors.append(error)
            self._report.failed(Failed(name, error))

    def _save_labels(self, result: Detections, stem: str) -> None:
        from vidctl.cli.outputs import print_instead
        from vidctl.errors import VidctlError
        from vidctl.tasks.detect import formats

        if self._output is None or not self._is_folder:
            return
        try:
            path = formats.save_txt(
                result, self._output, stem=stem, overwrite=self._overwrite, save_conf=self.save_conf
            )
        except VidctlError as error:  # only now it is known that they differ, and they are paid
            print_instead(formats.to_txt([result], save_conf=self.save_conf), error)
            raise
        if formats.is_numbered(stem, result.source):
            self._report.note(f"{result.source}: saved {path}")

    def _save_images(self, found: Found, result: Detections, stem: str) -> None:
        from vidctl.media.sources import read
        from vidctl.runpod.download import download
        from vidctl.tasks.detect import annotate
        from vidctl.tasks.detect.formats import is_numbered

        if self._save is None and self._save_crop is None:
            return
        data = read(found.source, fetch=download)
        if self._save is not None:
            saved = annotate.save_annotated(result, data, self._save, stem=stem, overwrite=self._overwrite)
            notify = self._report.note if is_numbered(stem, result.source) else self._report.detail
            notify(f"{result.source}: saved {saved}")
        if self._save_crop is not None:
            annotate.save_crops(result, data, self._save_crop, stem=stem, overwrite=self._overwrite)
