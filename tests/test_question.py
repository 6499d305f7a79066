"""What is asked: sources, moments of videos, and words out of presets."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from support.failing import failing
from support.videos import HEIGHT, LIVE, MP4, WIDTH, bars, number_of, steady, write

from vidctl.media.sources import Source
from vidctl.tasks.describe.budget import pixel_budget
from vidctl.tasks.describe.questions import Album, Clip, Question, options, questions

RATE = 4


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Makes a video of so many seconds, in which each quarter of one has an image of its own."""
    folder = tmp_path_factory.mktemp("videos")

    def make(seconds, form=MP4, size=(WIDTH, HEIGHT)):
        path = folder / f"{seconds}.{'mp4' if form is MP4 else 'mkv'}"
        write(path, steady(seconds, RATE), form, rate=RATE, images=lambda number: bars(number, size))
        return Source(path.name, path=path)

    return make


def jpeg(width):
    out = io.BytesIO()
    Image.new("RGB", (width, width)).save(out, "JPEG")
    return out.getvalue()


def images(*sources, clip=None, most=None):
    album = Album(clip or Clip(), pytest.fail, lambda url, _: pytest.fail(url), max_images=most, budget=pixel_budget)
    return album.images(Question(sources))


def second(sent):
    """Which second of the video an image is of."""
    return number_of(sent.jpeg) / RATE


def test_a_video_whose_name_does_not_tell_has_a_hint(videos):
    with failing("media_error", "--from 0"):
        images(Source("-", data=videos(2).path.read_bytes()))


def test_the_images_at_some_moments_of_a_video(videos):
    sent = images(videos(8), clip=Clip(at_s=(5.5, 2.0)))

    assert [(5.5, 5.5), (2.0, 2.0)] == [(each.at_s, second(each)) for each in sent]
    assert ("8.mp4", WIDTH, HEIGHT) == (sent[0].source, sent[0].width, sent[0].height)


def test_a_part_of_a_video_at_so_many_images_a_second(videos):
    sent = images(videos(8), clip=Clip(from_s=2.0, to_s=4.0, fps=2.0))

    assert [(2.0, 2.0), (2.5, 2.5), (3.0, 3.0), (3.5, 3.5)] == [(each.at_s, second(each)) for each in sent]


def test_a_video_alone_is_seen_from_its_beginning_to_its_end(videos):
    """One image a second, as long as these are not too many."""
    assert [0.0, 1.0, 2.0, 3.0, 4.0] == [second(each) for each in images(videos(5))]


def test_a_long_video_is_seen_more_sparsely_over_all_of_it(videos):
    sent = images(videos(60))

    assert (16, True) == (len(sent), 55 <= sent[-1].at_s < 60)
    assert max(each.at_s - second(each) for each in sent) < 1 / RATE


def test_a_video_that_does_not_say_how_long_it_is_is_seen_whole(videos):
    """As a browser records it."""
    sent = images(videos(60, form=LIVE))

    assert (16, True) == (len(sent), 55 <= second(sent[-1]) < 60)


def test_a_part_behind_the_end_of_a_video_is_refused_with_its_length(videos):
    for clip in (Clip(from_s=20.0), Clip(from_s=20.0, to_s=30.0), Clip(from_s=20.0, fps=1.0)):
        with failing("media_error", "8.mp4", "20 s", "8.00 s"):
            images(videos(8), clip=clip)


@pytest.mark.parametrize("seconds", [21, 42, 59])
def test_a_video_is_never_seen_more_often_than_there_may_be(videos, seconds):
    """Lengths whose share of an image is no round number."""
    assert [11, 16] == [len(images(videos(seconds), most=most)) for most in (11, 16)]


def test_a_worker_that_takes_fewer_images_sees_fewer(videos):
    """Those of other sources count too."""
    assert [0.0, 5.0, 10.0, 15.0] == [round(each.at_s) for each in images(videos(20), most=4)]
    assert 4 == len(images(Source("a", data=jpeg(64)), videos(20), Source("b", data=jpeg(64)), most=4))


def test_more_a_second_than_the_worker_takes_is_refused_with_the_numbers(videos):
    with failing("media_error", "8.mp4", "16 frames", "limit of 8", "fps"):
        images(videos(8), clip=Clip(fps=2.0), most=8)


def test_the_more_images_there_are_the_smaller_they_are(videos):
    video = videos(5, size=(1280, 720))
    one, five = images(video, clip=Clip(at_s=(1.0,))), images(video, clip=Clip(fps=8.0))

    assert (1280, 40) == (one[0].width, len(five))
    assert {five[0].width} == {each.width for each in five} != {1280}
    assert sum(each.width * each.height for each in five) <= 6144 * 1024


def test_an_image_has_no_moments():
    with failing("usage_error", "frame.jpg", "--at"):
        images(Source("frame.jpg", path=Path("frame.jpg")), clip=Clip(at_s=(1.0,)))


def test_a_video_may_come_as_bytes_or_without_a_name(videos, tmp_path):
    data = videos(8).path.read_bytes()
    (of_bytes,) = questions([data], Clip(at_s=(3.0,)))
    piped = Source("stdin", stream=io.BytesIO(data))

    assert [3, 3] == [second(images(each, clip=Clip(at_s=(3.0,)))[0]) for each in (*of_bytes.sources, piped)]


def test_a_folder_is_its_images_and_videos_or_its_videos_alone(videos, tmp_path):
    (tmp_path / "b.jpg").write_bytes(jpeg(64))
    (tmp_path / "a.mp4").write_bytes(videos(5).path.read_bytes())

    def names(*, clip):
        return [Path(each.name).name for each in questions([tmp_path], clip)]

    assert (["a.mp4", "b.jpg"], ["a.mp4"]) == (names(clip=Clip()), names(clip=Clip(fps=1.0)))


def test_questions_are_one_for_each_source_or_one_for_all(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(jpeg(64))
    together = questions([tmp_path], Clip(), together=True)

    assert (3, 1) == (len(questions([tmp_path], Clip())), len(together))
    assert f"{tmp_path / 'a.jpg'} and 2 more" == together[0].name


def test_a_question_is_written_down_without_the_secrets_of_an_address():
    url = "https://me:hunter2@example.org/a.jpg?signature=s3cret"

    assert "https://example.org/a.jpg" == Question((Source(url, url=url),)).label


@pytest.fixture
def root(tmp_path):
    """A project with a preset that says everything."""
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "mood.yaml").write_text(
        "prompt: How do they feel?\nsystem: Be kind.\nchoices: [good, bad]\nmax_tokens: 9\ntemperature: 0.1\n"
    )
    return tmp_path


def test_a_preset_is_a_whole_question(root):
    asked = options(None, "mood", {}, root=root)

    assert ("How do they feel?", "Be kind.", ("good", "bad"), 9, 0.1) == (
        asked.prompt, asked.system, asked.choices, asked.max_tokens, asked.temperature,
    )  # fmt: skip


def test_what_is_given_takes_precedence_over_a_preset(root):
    """One by one; another form takes the place of its form, of whatever kind."""
    asked = options("And she?", "mood", {"temperature": 0.5, "schema": "mood"}, root=root)

    assert ("And she?", "Be kind.", (), ["mood"], 9, 0.5) == (
        asked.prompt, asked.system, asked.choices, asked.schema["required"], asked.max_tokens, asked.temperature,
    )  # fmt: skip


def test_a_prompt_alone_needs_no_preset(root):
    assert (None, 512, 0.7) == (
        (asked := options("Who?", None, {}, root=root)).system, asked.max_tokens, asked.temperature,
    )  # fmt: skip


def test_without_a_prompt_the_preset_is_caption_also_one_of_the_projects_own(root):
    shipped = options(None, None, {}, root=root)
    (root / "presets" / "caption.yaml").write_text("prompt: In one word?\n")

    assert ("In one word?", True) == (options(None, None, {}, root=root).prompt, len(shipped.prompt) > 20)


def test_an_option_that_there_is_not_is_named(root):
    with failing("usage_error", "describe", "top_p"):
        options("Who?", None, {"top_p": 0.9}, root=root)


@pytest.mark.parametrize("given", [{"schema": "total float"}, {"choices": "yes,no"}])
def test_a_form_without_a_prompt_is_no_caption(root, given):
    """What is asked for is in the form; and a list needs more tokens than a sentence."""
    asked = options(None, None, given, root=root)

    assert ("answer by what you see" in asked.prompt, asked.max_tokens) == (True, 512)


def test_lists_and_short_forms_are_taken_as_python_writes_them(root):
    for choices in (["a", "b"], "a, b"):
        asked = options("Who?", None, {"stop": "END", "choices": choices}, root=root)

        assert (("END",), ("a", "b")) == (asked.stop, asked.choices)
