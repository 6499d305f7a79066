"""Annotated images, crops and the files that other tools read."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import PurePath

import pytest
from PIL import Image, ImageChops
from pycocotools.coco import COCO
from support.failing import failing

from vidctl.errors import MediaError
from vidctl.files import write
from vidctl.tasks.detect import annotate as drawing
from vidctl.tasks.detect.annotate import annotate, save_annotated, save_crops
from vidctl.tasks.detect.formats import (
    CSV_COLUMNS,
    FORMATS,
    DetectionsContext,
    save_txt,
    to_coco,
    to_csv,
    to_json,
    to_jsonl,
    to_txt,
    yolo_lines,
)
from vidctl.tasks.detect.model import Detection, Detections
from vidctl.tasks.names import safe_name, stems
from vidctl.tasks.results import Failed

PERSON = Detection((10.0, 20.0, 50.0, 80.0), 0.91, 0, "person")
LIGHT = Detection((120.25, 0.0, 200.0, 40.5), 0.5, 9, 'traffic light, "red"')
STREET = Detections("street, 1.jpg", 200, 100, (PERSON, LIGHT), 0.05)
EMPTY = Detections("empty.png", 64, 64, ())
BROKEN = Failed("gone.jpg", MediaError("gone.jpg: no such file"))
RESULTS = (STREET, BROKEN, EMPTY)


def photo(kind: str = "JPEG", size: tuple[int, int] = (200, 100), **options) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (90, 90, 90)).save(out, kind, **options)
    return out.getvalue()


def test_json_is_one_document_with_every_source():
    """Results in order; a failed source has its error in its place."""
    document = json.loads(to_json(RESULTS))

    assert "vidctl.detect/1" == document["schema"]
    assert [STREET.to_dict(), BROKEN.to_dict(), EMPTY.to_dict()] == document["results"]


def test_json_is_a_document_for_one_image_and_for_none():
    """A reader needs no special case."""
    assert [1, 0] == [len(json.loads(to_json(results))["results"]) for results in ([STREET], [])]


def test_jsonl_is_one_object_a_source_and_can_be_written_piecewise():
    """Each line stands alone, so a stream is the sum of its parts."""
    lines = [json.loads(line) for line in to_jsonl(RESULTS).splitlines()]

    assert [{"schema": "vidctl.detect/1", **result.to_dict()} for result in RESULTS] == lines
    assert to_jsonl(RESULTS) == "".join(to_jsonl([result]) for result in RESULTS)


def test_csv_has_supervisions_columns_and_survives_a_round_trip():
    """One row a detection; commas and quotes in names are kept."""
    rows = list(csv.DictReader(io.StringIO(to_csv(RESULTS))))

    assert "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id" == ",".join(CSV_COLUMNS[:7])
    assert [PERSON, LIGHT] == [
        Detection(
            (float(row["x_min"]), float(row["y_min"]), float(row["x_max"]), float(row["y_max"])),
            float(row["confidence"]),
            int(row["class_id"]),
            row["class_name"],
        )
        for row in rows
    ]
    assert {("street, 1.jpg", "200", "100", "")} == {
        (row["source"], row["width"], row["height"], row["tracker_id"]) for row in rows
    }
    assert to_csv(RESULTS) == to_csv([]) + "".join(to_csv([result], header=False) for result in RESULTS)


def test_coco_is_a_data_set_that_cocos_own_tools_take():
    """Ids are unique and refer to what is there; boxes are x, y, width, height and their area is right."""
    data = json.loads(to_coco(RESULTS))

    assert [(1, "street, 1.jpg", 200, 100), (3, "empty.png", 64, 64)] == [
        (image["id"], image["file_name"], image["width"], image["height"]) for image in data["images"]
    ]
    assert [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10.0, 20.0, 40.0, 60.0], "area": 2400.0,
         "segmentation": [], "iscrowd": 0, "score": 0.91},
        {"id": 2, "image_id": 1, "category_id": 10, "bbox": [120.25, 0.0, 79.75, 40.5], "area": 3229.88,
         "segmentation": [], "iscrowd": 0, "score": 0.5},
    ] == data["annotations"]  # fmt: skip
    assert [{"id": 1, "name": "person"}, {"id": 10, "name": 'traffic light, "red"'}] == data["categories"]
    assert [] == data["licenses"]
    assert [BROKEN.to_dict()] == data["errors"]


def test_coco_has_all_classes_of_a_model_that_are_told():
    """In its order, also where nothing was found: data sets of two runs have the same labels."""
    names = ("person", "bicycle", "car")
    found = [replace(EMPTY, names=names), replace(STREET, names=names, detections=(PERSON,))]

    categories = [json.loads(to_coco(results))["categories"] for results in (found, found[:1], found[1:])]
    assert [[{"id": n, "name": name} for n, name in enumerate(names, start=1)]] * 3 == categories


def test_pycocotools_reads_coco(tmp_path):
    """COCO's own reader has every box, and its label."""
    file = tmp_path / "boxes.json"
    file.write_text(to_coco(RESULTS))
    data = COCO(file)

    found = data.loadAnns(data.getAnnIds(imgIds=[1]))
    assert [[10.0, 20.0, 40.0, 60.0], [120.25, 0.0, 79.75, 40.5]] == [each["bbox"] for each in found]
    assert ["person", LIGHT.class_name] == [data.loadCats(each["category_id"])[0]["name"] for each in found]
    assert [1] == data.getImgIds(catIds=data.getCatIds(catNms=["person"]))


def test_txt_is_yolos_normalised_lines_under_each_source():
    """class, centre, size, on request confidence; without objects there is a heading, after a failure its reason."""
    expected = (
        "# street, 1.jpg\n0 0.15 0.5 0.2 0.6 0.91\n9 0.800625 0.2025 0.39875 0.405 0.5\n"
        "# gone.jpg: gone.jpg: no such file\n# empty.png\n"
    )

    assert expected == to_txt(RESULTS, save_conf=True)
    assert "0 0.15 0.5 0.2 0.6\n9 0.800625 0.2025 0.39875 0.405\n" == yolo_lines(STREET)


def test_a_label_file_reads_back_to_the_same_boxes(tmp_path):
    """Normalised numbers keep enough digits for a hundredth of a pixel."""
    path = save_txt(STREET, tmp_path)

    numbers = [[float(word) for word in line.split()] for line in path.read_text().splitlines()]
    boxes = [((x - w / 2) * 200, (y - h / 2) * 100, (x + w / 2) * 200, (y + h / 2) * 100) for _, x, y, w, h in numbers]
    assert tmp_path / "street, 1.txt" == path
    assert [pytest.approx(PERSON.bbox, abs=0.01), pytest.approx(LIGHT.bbox, abs=0.01)] == boxes


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_takes_no_results_and_ends_its_lines(name):
    """Nothing found is not a failure, and text ends in a newline."""
    assert isinstance(FORMATS[name].write([], DetectionsContext()), str)
    assert FORMATS[name].write(RESULTS, DetectionsContext()).endswith("\n")


def test_sources_of_one_name_get_names_of_their_own():
    """Same name in two folders, other case, other suffix, and a file that is already called -2."""
    sources = ["a/x.jpg", "b/x.jpg", "X.png", "x-2.jpg", "https://example.org/p/my%20cat.webp?size=9", "stdin"]

    assert ["x", "x-2", "X-3", "x-2-2", "my cat", "stdin"] == stems(sources)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("../../etc", "_.._etc"), ("a/b\\c:d", "a_b_c_d"), ("", "_"), ("...", "_"), ("日本", "日本"), ("a\nb\0", "a_b_")],
)
def test_class_names_cannot_leave_the_folder(text, expected):
    """A model's class name is data, not a path."""
    assert expected == safe_name(text)


@pytest.mark.parametrize(
    "name",
    [
        *("हिन्दी", "cafe\u0301", "👩\u200d👧", "日" * 80, "clip [1080p]", "icon@2x", "#2", "v1.2", "a_b", "a & b"),
        *("Don't Look Up (2021)", "so, so…", " what.."),
    ],
)
def test_names_keep_every_letter(name):
    """Players find subtitles, and labels their images, only under the very same name."""
    assert [name] == stems([f"folder/{name}.mp4"])


def test_folders_of_names_are_kept():
    """Each has numbers of its own; none leads out."""
    folders = [PurePath(each) for each in ("a", "b", "a", "..", "a/c:d")]

    assert ["a/x", "b/x", "a/x-2", "_/x", "a/c_d/x"] == stems(["x.jpg"] * 5, folders)


def test_names_that_some_file_system_takes_for_one_are_kept_apart():
    """Spelt with one character or two, an é is the same file on a Mac."""
    assert ["caf\u00e9", "cafe\u0301-2"] == stems(["caf\u00e9.jpg", "cafe\u0301.jpg"])


def test_names_of_many_equal_sources_are_found_at_once():
    """Each is looked at once: counting anew from 2 for each took minutes."""
    started = time.process_time()
    names = stems(["x.jpg"] * 50_000)

    assert ("x-50000", 50_000) == (names[-1], len(set(names)))
    assert time.process_time() - started < 10


def test_a_name_that_had_to_be_changed_takes_nobodys_place():
    """A reader finds the labels of an image by its very name, so that they must not be those of another."""
    assert ["a_b-2", "a_b"] == stems(['a"b.jpg', "a_b.jpg"])
    assert ["a_b-2", "a_b"] == stems(["https://x.org/a%22b.jpg", "a_b.jpg"])


def test_long_names_fit_the_file_system():
    """However many bytes a character takes."""
    assert len(safe_name("日" * 400).encode()) <= 150
    assert len(f"{stems(['日' * 400] * 2)[1]}-300.jpg".encode()) <= 255


def changed(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int] | None:
    return ImageChops.difference(before, after).getbbox()


def test_a_box_is_drawn_where_the_object_is():
    """The outline has the class's colour; the middle and the original image are untouched."""
    image = Image.new("RGB", (400, 300), (90, 90, 90))
    found = Detection((100.0, 100.0, 300.0, 250.0), 0.91, 3, "cat")

    drawn = annotate(image, [found], line_width=3)

    assert [drawing.PALETTE[3]] * 2 == [drawn.getpixel((101, 200)), drawn.getpixel((200, 249))]
    assert (90, 90, 90) == drawn.getpixel((200, 180)) == image.getpixel((101, 200))


@pytest.mark.parametrize("box", [(0.0, 0.0, 30.0, 30.0), (370.0, 0.0, 400.0, 20.0), (0.0, 280.0, 400.0, 300.0)])
def test_a_label_stays_inside_the_image(box):
    """At the top edge and at the right one the label is as wide as elsewhere: nothing of it is cut off."""
    free = Detection((100.0, 100.0, 130.0, 130.0), 0.91, 0, "person")
    blank = Image.new("RGB", (400, 300), (90, 90, 90))

    def label_pixels(found: Detection) -> int:
        dark = annotate(blank, [found]).convert("L").point(lambda value: 255 if value < 30 else 0)
        return dark.histogram()[255]

    at_edge = Detection(box, 0.91, 0, "person")
    assert label_pixels(free) == label_pixels(at_edge) > 20


def test_any_class_name_can_be_drawn():
    """Other scripts, emoji, control characters, an empty name, a name wider than the image, a box of no size."""
    image = Image.new("L", (60, 40))
    names = ("日本", "🚗", "a\nb\x1b[31m", "", "w" * 300)

    drawn = annotate(image, [Detection((5.0, 5.0, 5.0, 5.0), 0.5, n, name) for n, name in enumerate(names)])

    assert ("RGB", (60, 40)) == (drawn.mode, drawn.size)
    assert changed(image.convert("RGB"), drawn)


@pytest.mark.parametrize("name", ["собака", "κύων", "日本", "कुत्ता", "🚗", "คน"])
def test_a_class_is_named_in_any_script_or_by_its_id(name, monkeypatch):
    """A row of empty boxes names nothing."""
    image = Image.new("RGB", (400, 300), (90, 90, 90))

    def drawn(text: str) -> Image.Image:
        return annotate(image, [Detection((100.0, 100.0, 300.0, 250.0), 0.91, 12345, text)])

    by_id, by_name = drawn("12345"), drawn(name)
    assert bool(changed(by_id, by_name)) == (drawing._font_of(name) is not None)
    drawing._font_of.cache_clear()
    monkeypatch.setattr(drawing, "_WIDE_FONTS", ())
    assert not changed(by_id, drawn(name))
    drawing._font_of.cache_clear()


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".png"), ("TIFF", ".png")])
def test_the_annotated_image_keeps_its_kind(tmp_path, kind, suffix):
    """JPEG stays JPEG; everything else becomes PNG, which loses nothing."""
    path = save_annotated(STREET, photo(kind), tmp_path / "new" / "folder")

    assert tmp_path / "new" / "folder" / f"street, 1{suffix}" == path
    with Image.open(path) as saved:
        assert ("JPEG" if suffix == ".jpg" else "PNG", (200, 100)) == (saved.format, saved.size)
    assert [path] == list(path.parent.iterdir())


def test_the_annotated_image_is_upright(tmp_path):
    """It is saved as displayed, so no viewer turns it a second time."""
    exif = Image.Exif()
    exif[0x0112] = 6

    path = save_annotated(STREET, photo(size=(100, 200), exif=exif), tmp_path)

    with Image.open(path) as saved:
        assert ((200, 100), None) == (saved.size, saved.getexif().get(0x0112))


def test_crops_are_sorted_by_class(tmp_path):
    """One file an object, numbered, as large as its box; a box of no size has none."""
    speck = Detection((5.0, 5.0, 5.2, 5.2), 0.3, 0, "person")
    result = Detections("street.jpg", 200, 100, (PERSON, speck, LIGHT))

    paths = save_crops(result, photo(), tmp_path)

    assert [tmp_path / "person" / "street-1.jpg", tmp_path / "traffic light, _red_" / "street-3.jpg"] == paths
    with Image.open(paths[0]) as crop:
        assert (40, 60) == crop.size


def test_stems_keep_sources_of_one_name_apart(tmp_path):
    """The caller that knows all sources gives each its name."""
    both = [Detections(source, 200, 100, (PERSON,)) for source in ("a/x.jpg", "b/x.jpg")]
    named = list(zip(both, stems([each.source for each in both]), strict=True))

    assert ["x.jpg", "x-2.jpg"] == [save_annotated(each, photo(), tmp_path, stem=stem).name for each, stem in named]
    assert ["x-1.jpg", "x-2-1.jpg"] == [
        path.name for each, stem in named for path in save_crops(each, photo(), tmp_path, stem=stem)
    ]


def test_a_source_is_never_overwritten(tmp_path):
    """Saving into the folder of the originals is refused, whatever way it is spelt."""
    source = tmp_path / "cat.jpg"
    source.write_bytes(photo())

    with failing("usage_error", source):
        save_annotated(Detections(str(source), 200, 100, (PERSON,)), source.read_bytes(), tmp_path / "." / "")
    assert photo() == source.read_bytes()


def test_what_stands_in_the_way_is_said(tmp_path):
    """A file where the folder should be, and a folder where the file should be, are errors that name the path."""
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "folder").mkdir()

    with failing("failure", "taken/street, 1.jpg: "):
        save_annotated(STREET, photo(), tmp_path / "taken")
    with failing("failure", f"{tmp_path / 'folder'}: "):
        write(tmp_path / "folder", b"data")
    assert ["folder", "taken"] == sorted(path.name for path in tmp_path.iterdir())


# A process of its own: pytest's output is a file too.
LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from vidctl.errors import VidctlError
from vidctl.files import write
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write(Path(sys.argv[1]), b"n" * 5000)
except VidctlError as error:
    print(error.message)
"""


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path):
    """Out of room in the middle: one sentence, the old file is whole, and no half file lies about."""
    path = write(tmp_path / "boxes.json", b"old")
    done = subprocess.run([sys.executable, "-c", LITTLE_ROOM, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout.startswith(f"{path}: ")
    assert [b"old"] == [file.read_bytes() for file in tmp_path.iterdir()]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    """`-o /dev/null` must leave the device a device, and a named pipe a pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(pipe, b"data")

        assert b"data" == os.read(reader, 100)
        assert pipe.is_fifo()
    finally:
        os.close(reader)


def test_a_damaged_image_is_refused_by_name(tmp_path):
    """Its bytes may have changed since they were sent."""
    with failing("media_error", "street, 1.jpg: ", varies=True):
        save_annotated(STREET, photo()[:100], tmp_path)
    assert [] == list(tmp_path.iterdir())
