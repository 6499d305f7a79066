"""`vidctl detect`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidctl.cli import options
from vidctl.cli.tally import Tally
from vidctl.errors import UsageError

if TYPE_CHECKING:
    from vidctl.cli.inputs import Inputs
    from vidctl.cli.report import Report
    from vidctl.errors import VidctlError
    from vidctl.tasks.detect.formats import DetectionsFormat
    from vidctl.tasks.detect.model import Detections, DetectOptions, Result
    from vidctl.tasks.detect.run import Found

Format = Literal["table", "json", "jsonl", "csv", "coco", "txt"]


@dataclass(frozen=True)
class ModelOptions:
    """What the model is told."""

    conf: Annotated[float, typer.Option(help="Minimum confidence, 0 to 1.")] = 0.25
    iou: Annotated[float, typer.Option(help="IoU threshold of non-maximum suppression, 0 to 1.")] = 0.7
    imgsz: Annotated[int, typer.Option(help="Input size of the model: longer side, in pixels.")] = 640
    max_det: Annotated[int, typer.Option(help="Maximum number of detections per image.")] = 300
    classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="person,car", help='Detect only these: names or ids; a name in double quotes, as "1"; repeatable.'
        ),
    ] = None
    agnostic_nms: Annotated[
        bool, typer.Option("--agnostic-nms", help="Suppress overlapping boxes of different classes.")
    ] = False

    def detect_options(self) -> DetectOptions:
        from vidctl.tasks.detect.codec import parse_classes
        from vidctl.tasks.detect.model import DetectOptions

        classes = tuple(chain.from_iterable(map(parse_classes, self.classes or ())))
        return DetectOptions(self.conf, self.iou, self.imgsz, self.max_det, classes, self.agnostic_nms)


@dataclass(frozen=True)
class DetectionOutput:
    """Where results go, and how they are written."""

    output_format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Output format [default: by FILE's ending, else table]."),
    ] = None
    as_json: options.JsonResult = False
    output: Annotated[
        str | None, options.output("FILE|-", "Write results to FILE, or with -f txt one file per image to DIR/.")
    ] = None
    save_conf: Annotated[
        bool, typer.Option("--save-conf", help="With -f txt: add the confidence as column 6 (not for training).")
    ] = False
    save: Annotated[
        Path | None,
        typer.Option(parser=options.folder_of_output, metavar="DIR", help="Save annotated images to DIR."),
    ] = None
    save_crop: Annotated[
        Path | None,
        typer.Option(parser=options.folder_of_output, metavar="DIR", help="Save a crop of each object to DIR."),
    ] = None
    overwrite: options.Overwrite = False

    def form(self) -> DetectionsFormat:
        from vidctl.cli.output import chosen_formats
        from vidctl.tasks.detect.formats import FORMATS

        said = [self.output_format] if self.output_format else []
        document = FORMATS["json"] if self.as_json else None
        (form,) = chosen_formats(said, self.output, FORMATS, document=document, otherwise="table")
        if self.save_conf and form.name != "txt":
            raise UsageError("--save-conf: only supported with -f txt")
        return form


@options.spread
def detect(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE…", help="Images: files, folders, globs, URLs, - or @list.txt.")
    ],
    *,
    model: ModelOptions,
    recursive: options.Recursive = False,
    output: DetectionOutput,
    chosen: options.EndpointOptions,
    no_cache: options.NoCache = False,
    run: options.RunOptions,
) -> None:
    """Find objects in images.

    Images are resized before upload; boxes are in pixels of the original images. Results are in the order of the
    sources. A failed image is reported and does not stop the others (exit code 9).
    """
    from vidctl.cli.inputs import Inputs, stems
    from vidctl.cli.waiting import answers, telling
    from vidctl.media.search import expand

    detect_options, form = model.detect_options(), output.form()
    report = run.report(as_json=output.as_json or form.is_json)
    images = expand(sources, recursive=recursive, stdin=sys.stdin.buffer, warn=report.skipped)
    delivery = _DetectionDelivery(form, output, stems(images, sources, keeps_folders=recursive), report)
    delivery.check(Inputs(images, sources))
    client = run.client(chosen, report, cache=options.cache(no_cache=no_cache))
    try:
        with report.counting("detect", len(images), shown=not run.no_progress) as counter:
            found = client.detect_many(images, waiting=telling(counter.wait), **vars(detect_options))
            report.detail(client.endpoint_line)
            delivery.endpoint = client.endpoint_name
            with answers(client, found) as results:
                for each in results:
                    delivery.add(each)
                    counter.count()
    finally:
        delivery.close()
    delivery.tally.settle()


class _DetectionDelivery:
    """Takes results as they come: writes them, saves images, and remembers what failed."""

    def __init__(self, form: DetectionsFormat, options: DetectionOutput, names: list[str], report: Report) -> None:
        from vidctl.cli.output import Output

        self.tally = Tally("images")
        self.endpoint: str | None = None
        self._form = form
        self._options = options
        self._output = Output(options.output)
        self._names = names
        self._report = report
        self._kept: list[Result] = []

    def check(self, inputs: Inputs) -> None:
        """Raise UsageError where a file that is read would be lost, VidctlError where nothing can be written."""
        from vidctl.cli.output import check_folder

        output, save, save_crop = self._output, self._options.save, self._options.save_crop
        is_labels = self._form.name == "txt"
        if output.is_folder and not is_labels:
            raise UsageError(
                f"-o {output.said}: a folder, not a file", hint="write a file per image into it with -f txt"
            )
        if is_labels and not (output.is_folder or output.is_looked_at) and len(self._names) > 1:
            raise UsageError(
                f"-o {output.path}: YOLO labels need one file per image", hint="write them into a folder with -o DIR/"
            )
        output.check(inputs, (f"{stem}.txt" for stem in self._names))
        for option, folder in (("--save", save), ("--save-crop", save_crop)):
            if folder is not None and not output.is_folder and output.is_same(folder):
                raise UsageError(f"{option} {folder}: this is also the file of -o", hint="save into another folder")
        if save is not None:
            both = (f"{stem}{suffix}" for stem in self._names for suffix in (".jpg", ".png"))
            inputs.spare_in("--save", save, both)
            check_folder("--save", save)
        if save_crop is not None:
            inputs.spare_crops("--save-crop", save_crop, self._names)
            check_folder("--save-crop", save_crop)

    def add(self, found: Found) -> None:
        from vidctl.tasks.results import Failed

        stem = self._names[self.tally.taken]
        self.tally.taken += 1
        if isinstance(found.result, Failed):
            self.tally.failures.append(found.result.error)
            if len(self._names) > 1:
                self._report.failed(found.result, is_in_result=self._form.has_failures)
        else:
            self._save_all(found, found.result, stem)  # before it is printed: whoever reads that may have gone
        if self._form.is_document:
            self._kept.append(found.result)
        elif not self._output.is_folder:
            self._print(found.result)

    def close(self) -> None:
        """Deliver the document, also that of the results that there are when something stopped the rest."""
        self._output.close()
        if not self._form.is_document or not self.tally.taken:
            return
        self._note_categories()
        text, self._kept = self._text(self._kept), []
        self._output.write(text)

    def _text(self, results: list[Result]) -> str:
        from vidctl.tasks.detect.formats import DetectionsContext

        is_first, is_only = self.tally.taken == 1, len(self._names) == 1
        context = DetectionsContext(self.endpoint, self._options.save_conf, is_first, is_only)
        return self._form.write(results, context)

    def _note_categories(self) -> None:
        from vidctl.tasks.results import Failed

        answered = [result for result in self._kept if not isinstance(result, Failed)]
        if self._form.name == "coco" and answered and not any(result.names for result in answered):
            self._report.note(
                "the worker does not report its model's classes: categories are limited to the detected ones"
            )

    def _print(self, result: Result) -> None:
        from vidctl.cli import console
        from vidctl.tasks.results import Failed

        if isinstance(result, Failed):
            self._output.add(self._text([result]), is_answer=False)
        elif self._form.name == "table" and self._output.is_read:
            console.detections(result)
        else:
            self._output.add(self._text([result]))

    def _save_all(self, found: Found, result: Detections, stem: str) -> None:
        """Save what was requested; what cannot be saved is reported, and its result is printed all the same."""
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
        from vidctl.cli.output import print_instead
        from vidctl.errors import VidctlError
        from vidctl.tasks import names
        from vidctl.tasks.detect import formats

        if not self._output.is_folder:
            return
        has_conf = self._options.save_conf
        labels = formats.yolo_lines(result, save_conf=has_conf)
        try:
            path = self._output.save(f"{stem}.txt", labels, overwrite=self._options.overwrite)
        except VidctlError as error:  # only now it is known that they differ, and they are paid
            print_instead(formats.to_txt([result], save_conf=has_conf), error)
            raise
        if names.is_numbered(stem, result.source):
            self._report.note(f"{result.source}: saved {path}")

    def _save_images(self, found: Found, result: Detections, stem: str) -> None:
        from vidctl.media.sources import read
        from vidctl.runpod.download import download
        from vidctl.tasks.detect import annotate
        from vidctl.tasks.names import is_numbered

        save, save_crop, overwrite = self._options.save, self._options.save_crop, self._options.overwrite
        if save is None and save_crop is None:
            return
        data = read(found.source, fetch=download)
        if save is not None:
            saved = annotate.save_annotated(result, data, save, stem=stem, overwrite=overwrite)
            notify = self._report.note if is_numbered(stem, result.source) else self._report.detail
            notify(f"{result.source}: saved {saved}")
        if save_crop is not None:
            annotate.save_crops(result, data, save_crop, stem=stem, overwrite=overwrite)
