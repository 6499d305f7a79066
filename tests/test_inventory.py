"""What an engine has of vidctl's images, whatever it writes of them."""

from __future__ import annotations

from vidctl.images.inventory import built, outdated
from vidctl.images.provenance import CONTENT, PROJECT, SPEC


class Shelf:
    """An engine that holds these images, of which it tells no steps."""

    def __init__(self, *images):
        self._images = images

    def labelled(self, _):
        return list(self._images)

    def history(self, _):
        return []


def image(tag, **created):
    labels = {SPEC: "yolo", CONTENT: tag}
    return {"Id": f"sha256:{tag}", "RepoTags": [f"me/yolo:{tag}"], "Size": 1, "Config": {"Labels": labels}, **created}


def test_the_newest_is_first_however_the_moment_is_written():
    """With a zone, with any number of digits, and, as Docker does since API 1.44, not at all."""
    shelf = Shelf(
        image("unknown"),
        image("noon", Created="2026-08-01T12:00:00Z"),
        image("before_noon", Created="2026-08-01T13:59:59.123456789+02:00"),
        image("a_bit_later", Created="2026-08-01T12:00:00.5Z"),
        image("never", Created="0001-01-01T00:00:00Z"),
    )
    found = [(each.tag.partition(":")[2], each.created_at) for each in built(shelf)]

    assert [
        ("a_bit_later", 1785585600.5),
        ("noon", 1785585600.0),
        ("before_noon", 1785585599.1234567),
        ("unknown", 0.0),
    ] == [(tag, round(at, 7)) for tag, at in found[:4]]
    assert found[4][0] == "never"


def of(tag, *, project=None, name="me/yolo", made=0, tags=None):
    labels = {SPEC: "yolo", CONTENT: tag} | ({PROJECT: project} if project else {})
    tags = [f"{name}:{tag}"] if tags is None else tags
    moment = f"2026-08-01T12:00:{made:02}Z"
    return {"Id": f"sha256:{tag}", "RepoTags": tags, "Size": 1, "Config": {"Labels": labels}, "Created": moment}


def test_another_project_s_images_are_neither_removed_nor_counted():
    """Of one spec name: those of this project's label, named or not; without a label, those in its repositories."""
    shelf = Shelf(
        of("ours-1", project="p", made=1),
        of("ours-2", project="p", made=2, name="me/before-it-moved"),
        of("ours-unnamed", project="p", made=3, tags=[]),
        of("theirs", project="q", made=4),
        of("theirs-unnamed", project="q", made=5, tags=[]),
        of("old-ours", made=6),
        of("old-theirs", made=7, name="you/yolo"),
        of("old-unnamed", made=8, tags=[]),
        of("ours-3", project="p", made=9),
        of("theirs-too", project="q", made=10),
    )

    found = outdated(built(shelf), keep=1, keys=["yolo"], project="p", repositories=["docker.io/me/yolo"])

    expected = ["me/yolo:old-ours", "sha256:ours-unnamed", "me/before-it-moved:ours-2", "me/yolo:ours-1"]
    assert expected == [each.tag for each in found]
    assert "me/yolo:old-ours" not in [
        each.tag for each in outdated(built(shelf), keep=1, keys=(), project="p", repositories=[])
    ]


def test_what_changed_is_told_of_the_project_s_image_before():
    """Another project's image of the same spec name has other steps, which changed nothing."""
    shelf = Shelf(of("a", project="p", made=1), of("b", project="q", made=2), of("c", project="p", made=3))

    assert [0, None, None] == [each.changed_bytes for each in built(shelf)]
