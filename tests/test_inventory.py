"""What an engine has of vidctl's images, whatever it writes of them."""

from __future__ import annotations

from vidctl.images.inventory import built
from vidctl.images.provenance import CONTENT, SPEC


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
