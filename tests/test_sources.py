"""Which images and audio a command line means, and what is in them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.failing import failing, same_wording
from support.stating import stating

from vidctl.errors import MediaError, NetworkError
from vidctl.media.kinds import AUDIO, IMAGES_AND_VIDEOS, VIDEOS
from vidctl.media.search import expand
from vidctl.media.sources import MAX_BYTES, Source, is_video, opened, read


def no_network(url: str) -> bytes:
    raise AssertionError(f"{url} was fetched")


def no_download(url: str, file: BinaryIO) -> None:
    raise AssertionError(f"{url} was fetched")


def content(source: Source, fetch_into=no_download) -> bytes:
    """What is in an audio file, read to its end and once again."""
    with opened(source, fetch_into=fetch_into) as file:
        if isinstance(file, Path):
            return file.read_bytes()
        data = file.read()
        file.seek(0)

        assert data == file.read()
        return data


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of images as people keep them; the current folder."""
    for name in (
        "frame10.jpg", "frame2.JPG", "frame1.jpg", ".hidden.jpg", "notes.txt", "sub/deep.png", "sub/more/deeper.tif",
        ".cache/thumb.jpg", "odd/with space.jpg", "odd/-dash.png", "odd/日本.webp", "odd/img[1].jpg", "empty/readme.md",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*sources: str, recursive: bool = False) -> list[str]:
    return [source.name for source in expand(sources, recursive=recursive)]


def test_a_folder_gives_its_images_in_natural_order(folder):
    """frame2 comes before frame10; hidden files and files that are no images stay out."""
    expected = [str(folder / name) for name in ("frame1.jpg", "frame2.JPG", "frame10.jpg")]

    assert expected == names(str(folder))


def test_recursive_enters_subfolders_but_not_hidden_ones(folder):
    """-r finds every visible image, once, folder by folder."""
    found = names(".", recursive=True)

    assert ["sub/deep.png", "sub/more/deeper.tif"] == [name for name in found if name.startswith("sub")]
    assert 9 == len(found)
    assert not [name for name in found if ".cache" in name or ".hidden" in name]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("frame*.jpg", ["frame1.jpg", "frame10.jpg"]),
        ("frame[0-9].*", ["frame1.jpg", "frame2.JPG"]),
        ("sub/**/*.tif", ["sub/more/deeper.tif"]),
        ("**/deep*", ["sub/deep.png", "sub/more/deeper.tif"]),
    ],
)
def test_a_quoted_glob_is_expanded(folder, pattern, expected):
    """A glob that the shell did not expand means the same."""
    assert expected == names(pattern)


def test_an_existing_file_is_never_taken_for_a_glob(folder):
    """img[1].jpg is a file name first."""
    assert ["odd/img[1].jpg"] == names("odd/img[1].jpg")


def test_odd_names_are_read(folder):
    """Spaces, other scripts and a leading dash are just names."""
    odd = ["odd/with space.jpg", "odd/-dash.png", "odd/日本.webp"]

    assert [name.encode() for name in odd] == [read(source, fetch=no_network) for source in expand(odd)]


def test_order_is_as_typed_and_repeats_stay(folder):
    """Results line up with what was typed."""
    assert ["frame10.jpg", "frame1.jpg", "frame10.jpg"] == names("frame10.jpg", "frame1.jpg", "frame10.jpg")


def test_a_list_names_one_source_a_line(folder):
    """Comments and blank lines are skipped, a byte order mark too; folders, globs and addresses work in it."""
    text = "\ufeff# my images\nframe1.jpg\n\n  frame2.JPG  \r\nsub\nhttps://example.org/a.jpg\nodd/*.webp\n"
    (folder / "list.txt").write_text(text, encoding="utf-8")

    expected = ["frame1.jpg", "frame2.JPG", "sub/deep.png", "https://example.org/a.jpg", "odd/日本.webp"]
    assert expected == names("@list.txt")


@pytest.mark.parametrize("content", [None, "", "# nothing\n\n"])
def test_a_list_without_sources_is_an_error(folder, content):
    """A missing or empty list must not look like success."""
    if content is not None:
        (folder / "list.txt").write_text(content)

    with failing("media_error", "@list.txt: "):
        expand(["@list.txt"])


@pytest.mark.parametrize("source", ["empty", "sub/more/*.jpg", "nothing*.png"])
def test_finding_no_image_is_an_error(folder, source):
    """An empty folder and a glob without match are named, with a hint."""
    with failing("media_error", f"{source}: ") as caught:
        expand([source])

    assert caught.value.hint


@pytest.mark.parametrize("source", ["empty", "nothing*.png", "@list.txt"])
def test_finding_no_image_does_not_stop_the_rest(folder, source):
    """An empty folder beside good files fails alone."""
    (folder / "list.txt").write_text("empty\n")
    before, none, after = expand(["frame1.jpg", source, "sub"])

    assert ("frame1.jpg", "sub/deep.png") == (before.name, after.name)
    with failing("media_error", "no image"):
        read(none, fetch=no_network)
    with failing("media_error", "no image"), opened(none, fetch_into=no_download):
        pass


def deep(folder: Path, *, levels: int = 20) -> None:
    """Folders in each other, the last with a path longer than any system takes: nobody, root included, can list it."""
    inside = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 240, dir_fd=inside)
        outside, inside = inside, os.open("d" * 240, os.O_RDONLY, dir_fd=inside)
        os.close(outside)
    os.close(inside)


@pytest.mark.parametrize(("source", "recursive"), [("sub", True), ("sub/**/*.*", False)])
def test_a_folder_that_cannot_be_listed_does_not_stop_the_rest(folder, source, recursive):
    """It fails in its own name, behind what was found."""
    deep(folder / "sub/more")
    *found, last = expand([source], recursive=recursive)

    assert ["sub/deep.png", "sub/more/deeper.tif"] == [each.name for each in found]
    with failing("media_error", f"sub/more/{'d' * 240}/", "(File name too long)", varies=True):
        read(last, fetch=no_network)


def test_two_stars_follow_links_but_not_in_a_circle(folder):
    """A link to another folder is entered; one to the folder that it lies in, or above, was entered forty times."""
    (folder / "sub/other").symlink_to(folder / "odd")
    (folder / "sub/self").symlink_to(".")
    (folder / "sub/more/up").symlink_to("../..")

    assert ["sub/deep.png", "sub/more/deeper.tif"] == names("sub/**/deep*")
    assert ["sub/other/日本.webp"] == names("sub/**/*.webp")
    assert names("**/*.png") == ["odd/-dash.png", "sub/deep.png", "sub/other/-dash.png"]


@pytest.mark.parametrize("pattern", ["sub/**", "./sub/**/*", "s*/**/**/*.*", "sub/**/"])
def test_two_stars_mean_folders_to_any_depth(folder, pattern):
    """Each file once, wherever they stand."""
    assert ["sub/deep.png", "sub/more/deeper.tif"] == names(pattern)


@pytest.mark.parametrize("suffix", ["jfif", "pjpeg", "pjp", "MPO", "avif", "jp2"])
def test_images_have_many_endings(tmp_path, suffix):
    """Browsers, cameras and phones write them."""
    (tmp_path / f"a.{suffix}").write_bytes(b"image")

    assert [f"a.{suffix}"] == [source.path.name for source in expand([str(tmp_path)])]


NO_HEIF = """
import sys
sys.modules["pillow_heif"] = None  # as it is where the extra is not installed
from vidctl.errors import VidctlError
from vidctl.media.image import prepare
from vidctl.media.search import expand
for source in sys.argv[1:]:
    try:
        print([each.name for each in expand([source], warn=print)])
    except VidctlError as error:
        print(error.message, error.hint)
try:
    prepare(bytes(4) + b"ftypheic" + bytes(20), imgsz=640, name="a.heic")
except VidctlError as error:
    print(error.message, error.hint)
"""


def test_images_that_are_not_read_here_are_said(folder):
    """A folder of an iPhone's: how many were skipped, and what would read them."""
    for name in ("sub/a.heic", "sub/b.HEIC", "sub/c.heif", "empty/d.heic"):
        (folder / name).write_bytes(b"image")
    command = [sys.executable, "-c", NO_HEIF, "sub", "empty"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    skipped, found, nothing, refused = done.stdout.splitlines()
    assert "['sub/deep.png']" == found
    assert ["sub: 3 HEIC", "empty: no image", "a.heic: HEIC"] == [skipped[:11], nothing[:15], refused[:12]]
    assert "1 HEIC" in nothing
    assert all("pip install 'vidctl[heic]'" in each for each in (skipped, nothing, refused))
    same_wording(done.stdout)


@pytest.mark.parametrize(
    ("source", "links"), [("sub", "1 broken link"), ("sub/*.png", "1 broken link"), ("sub/**/*.*", "2 broken links")]
)
def test_a_link_to_nothing_is_said_and_skipped(folder, source, links):
    """But for one that is named; what is no image by its name is nobody's loss."""
    for name in ("sub/gone.png", "sub/more/gone.jpg", "sub/gone.txt", "empty/gone.jpg"):
        (folder / name).symlink_to("nowhere")
    warnings: list[str] = []
    found = [each.name for each in expand([source], warn=warnings.append)]

    (warning,) = warnings
    assert "sub/deep.png" in found
    stating(warning, f"{source}: ", links)
    assert not any("gone" in name for name in found)
    with failing("media_error", "sub/gone.png: "):
        read(*expand(["sub/gone.png"], warn=warnings.append), fetch=no_network)
    with failing("media_error", "empty: ", "1 broken link"):
        expand(["empty"], warn=warnings.append)
    assert [warning] == warnings


def test_linked_folders_and_pipes_are_said_and_skipped(folder):
    """-r enters no link to a folder, which `**` does; a pipe in a folder would be waited for."""
    (folder / "sub/loop").symlink_to(folder / "empty", target_is_directory=True)
    os.mkfifo(folder / "sub/pipe.png")
    warnings: list[str] = []
    expand(["sub"], warn=warnings.append, recursive=True)

    linked, piped = warnings
    stating(linked, "sub: ", "1 linked folder")
    stating(piped, "sub: ", "1 named pipe")


def test_a_list_keeps_names_to_the_letter(folder):
    """What looks like a comment, an indentation or an end of line may be a file's name."""
    odd = ["#1.jpg", "  lead.jpg", "trail.jpg ", "line\u2028end.jpg", "page\x0c.jpg", "[a].jpg"]
    for name in odd:
        (folder / name).write_bytes(b"image")
    (folder / "list.txt").write_text("# comment\n" + "\r\n".join(odd) + "\n  frame1.jpg  \n #2.jpg\n", encoding="utf-8")

    assert [*odd, "frame1.jpg"] == names("@list.txt")


def test_an_image_whose_name_begins_with_an_at_is_no_list(folder):
    """The shell makes `@2x.jpg` of a glob."""
    (folder / "@2x.jpg").write_bytes(b"image")

    assert ["@2x.jpg", "frame1.jpg"] == names("@2x.jpg", "frame1.jpg")


def test_an_empty_source_is_a_usage_error():
    """An unset shell variable must not mean the current folder."""
    with failing("usage_error", "https://"):
        expand([""])


def test_a_missing_file_fails_only_when_read(folder):
    """One bad name does not stop the others."""
    missing, present = expand(["gone.jpg", "frame1.jpg"])

    assert b"frame1.jpg" == read(present, fetch=no_network)
    with failing("media_error", "gone.jpg: "):
        read(missing, fetch=no_network)


def test_an_empty_file_and_a_folder_are_no_images(folder):
    """Each is refused in its own words."""
    (folder / "zero.jpg").touch()

    with failing("media_error", "zero.jpg: 0 bytes"):
        read(expand(["zero.jpg"])[0], fetch=no_network)
    with failing("media_error", "sub: ", "folder"):
        read(Source("sub", path=Path("sub")), fetch=no_network)


def test_a_file_that_never_ends_is_refused(folder):
    """A sparse file of more than the limit is not read whole."""
    with (folder / "huge.tif").open("wb") as file:
        file.truncate(MAX_BYTES + 1)

    with failing("media_error", "huge.tif: ", "512 MB"):
        read(expand(["huge.tif"])[0], fetch=no_network)


def test_stdin_gives_one_image_also_when_named_twice():
    """`-` is drained once; both mentions see its bytes."""
    first, second = expand(["-", "-"], stdin=io.BytesIO(b"image"))

    assert ("stdin", b"image") == (first.name, read(first, fetch=no_network))
    assert first == second


def test_stdin_without_stdin_is_a_usage_error():
    """A library call without a stream says so."""
    with failing("usage_error", "`-`"):
        expand(["-"])


@pytest.mark.parametrize(
    "url", ["https://example.org/a.jpg", "HTTPS://example.org/b", "http://127.0.0.1:8000/c.png", "http://[::1]/d"]
)
def test_addresses_are_fetched(url):
    """https:// anywhere, http:// on this machine."""
    assert url.encode() == read(expand([url])[0], fetch=str.encode)


@pytest.mark.parametrize("url", ["http://example.org/a.jpg", "http://10.0.0.1/", "https://", "http://[bad/x.jpg"])
def test_unsafe_addresses_are_refused(url):
    """No image is sent in the clear, and no malformed address gets a traceback."""
    (source,) = expand([url])
    with failing("media_error", f"{source.name}: ", "https://"):
        read(source, fetch=no_network)


def test_a_failed_download_is_about_its_source():
    """The reason of the network, under the name of the image."""

    def broken(url: str) -> bytes:
        raise NetworkError("connection refused", hint="is it up?")

    with failing("media_error", "https://example.org/a.jpg: connection refused") as caught:
        read(Source("https://example.org/a.jpg", url="https://example.org/a.jpg"), fetch=broken)
    assert "is it up?" == caught.value.hint


def test_names_that_are_not_utf8_are_read_and_can_be_shown(tmp_path):
    """The bytes of the name reach the system as they are; what is shown can be printed and put into JSON."""
    raw = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"image")

    (source,) = expand([os.fsdecode(raw)])

    assert b"image" == read(source, fetch=no_network)
    assert source.name.encode("utf-8").endswith(b"caf?.jpg")


@given(st.text())
def test_whatever_is_typed_is_found_or_refused(text):
    """No text given as a file name produces a traceback."""
    with pytest.raises(MediaError):
        read(expand([f"no such folder/{text}"])[0], fetch=no_network)


@pytest.fixture
def talks(tmp_path, monkeypatch):
    """A folder of audio files and videos, with an image among them; the current folder."""
    for name in ("talk10.MP3", "talk2.opus", "film.mkv", "cover.jpg", "notes.txt", "sub/deep.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_its_audio_and_videos(talks):
    """Of the same folder, what can be heard instead of what can be seen."""
    audio_files = expand([".", "sub/*", "talk*.opus"], kind=AUDIO)

    assert ["film.mkv", "talk2.opus", "talk10.MP3", "sub/deep.wav", "talk2.opus"] == [
        source.name for source in audio_files
    ]
    assert ["cover.jpg"] == names(".")


def test_a_folder_gives_what_can_be_seen(talks):
    """Videos alone, or with the images; an audio file has nothing to show."""
    assert ["film.mkv"] == [source.name for source in expand(["."], kind=VIDEOS)]
    assert ["cover.jpg", "film.mkv"] == [source.name for source in expand(["."], kind=IMAGES_AND_VIDEOS)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Source("a", path=Path("some/Film.MP4")), True), (Source("a", path=Path("film.mp4/a.jpg")), False),
        (Source("https://example.org/a.webm?key=b.jpg", url="https://example.org/a.webm?key=b.jpg"), True),
        (Source("https://example.org/a.jpg#b.mp4", url="https://example.org/a.jpg#b.mp4"), False),
        (Source("https://example.org", url="https://example.org"), False), (Source("film.mp4", data=b"film"), False),
    ],
)  # fmt: skip
def test_a_video_is_known_by_its_ending(source, expected):
    """Of the file, or of what the address means; what a name alone says does not count."""
    assert expected == is_video(source)


@pytest.mark.parametrize(("kind", "called"), [(AUDIO, "an audio file"), (VIDEOS, "a video")])
def test_what_was_looked_for_is_called_by_its_name(talks, kind, called):
    """An empty file is no video where a video was meant."""
    (talks / "none").write_bytes(b"")

    for source, wrong in (
        (Source("none", path=Path("none")), "0 bytes"),
        (Source("sub", path=Path("sub")), "folder"),
    ):
        with (
            failing("media_error", f"{source.name}: ", wrong, called),
            opened(source, fetch_into=no_download, kind=kind),
        ):
            pass


def test_an_image_may_be_piped_where_a_video_may_be():
    """It is read when it is asked for."""
    (source,) = expand(["-"], kind=IMAGES_AND_VIDEOS, stdin=io.BytesIO(b"image"))

    assert b"image" == read(source, fetch=no_network)


@pytest.mark.parametrize("source", ["none", "none/*"])
def test_finding_no_audio_speaks_of_audio(talks, source):
    """And the hint names their endings."""
    (talks / "none").mkdir()

    with failing("media_error", f"{source}: no audio file", ".3g2, .3gp, .aac"):
        expand([source], kind=AUDIO)


def test_an_audio_is_opened_where_it_lies(talks):
    """A file, however large, is not copied."""
    (source,) = expand(["film.mkv"], kind=AUDIO)

    with opened(source, fetch_into=no_download) as file:
        assert Path("film.mkv") == file


def test_piped_audio_is_kept_while_it_is_used(talks):
    """A pipe is not read before it is opened, and can then be read again and again."""
    read_end, write_end = os.pipe()
    writer = threading.Thread(target=lambda: os.fdopen(write_end, "wb").write(b"sound" * 100_000))
    with os.fdopen(read_end, "rb") as pipe:
        (source,) = expand(["-"], kind=AUDIO, stdin=pipe)
        writer.start()

        assert ("stdin", b"sound" * 100_000) == (source.name, content(source))
    writer.join()


def test_a_pipe_cannot_be_named_twice():
    """The second mention would find nothing."""
    with failing("usage_error", "`-`", "twice"):
        expand(["-", "-"], kind=AUDIO, stdin=io.BytesIO(b"sound"))


def test_the_shells_own_pipe_is_an_audio():
    """`<(curl …)` can be read only once, so it is kept."""
    program = (
        "import sys; from vidctl.media.kinds import AUDIO\n"
        "from vidctl.media.search import expand; from vidctl.media.sources import opened\n"
        "with opened(expand(sys.argv[1:], kind=AUDIO)[0], fetch_into=None) as file: print(file.read(), file.seek(0))"
    )
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "$0" <(printf audio)', program], capture_output=True, text=True
    )

    assert "b'audio' 0\n" == done.stdout, done.stderr


def test_bytes_are_an_audio(talks):
    """A script may have it in memory."""
    assert b"sound" == content(Source("audio", data=b"sound"))


def test_a_downloaded_audio_is_kept_while_it_is_used(talks):
    """Only https:// is fetched, and the reason of a failure stands under the audio's name."""

    def broken(url: str, file: BinaryIO) -> None:
        raise NetworkError("connection refused")

    (source,) = expand(["https://example.org/talk.mp3"], kind=AUDIO)

    assert b"sound of https://example.org/talk.mp3" == content(
        source, lambda url, file: file.write(b"sound of " + url.encode())
    )
    with failing("media_error", "https://example.org/talk.mp3: connection refused"):
        content(source, broken)
    with failing("media_error", "http://example.org/: ", "https://"):
        content(Source("http://example.org/", url="http://example.org/"))


@pytest.mark.parametrize("is_used_badly", [True, False])
def test_nothing_that_was_kept_stays(tmp_path, monkeypatch, is_used_badly):
    """Whether or not it went well, the folder for temporary files is as it was."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = Source("stdin", stream=io.BytesIO(b"sound"))

    try:
        with opened(source, fetch_into=no_download):
            if is_used_badly:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (Path.exists, []),
        (Path.mkdir, ["folder", "audio file"]),
        (os.mkfifo, ["named pipe", "- < "]),
        (Path.touch, ["0 bytes", "audio file"]),
    ],
    ids=["nothing", "a folder", "a pipe", "empty"],
)
def test_what_is_no_audio_file_is_refused_as_no_image_is(tmp_path, make, facts):
    """Each in its own words, and a pipe that nobody writes into is not waited for."""
    make(tmp_path / "talk.mp3")

    with failing("media_error", "talk: ", *facts):
        content(Source("talk", path=tmp_path / "talk.mp3"))


@pytest.mark.parametrize("source", [Source("empty", stream=io.BytesIO()), Source("empty", data=b"")])
def test_an_empty_pipe_is_no_audio(source):
    """As an empty file is none."""
    with failing("media_error", "empty: 0 bytes", "audio file"):
        content(source)


@pytest.mark.parametrize("size", [4_000, 1_000_000])  # less than Python keeps back, and more
def test_a_full_disk_is_one_line(size):
    """What is wrong, where, and what to do about it; here no file may grow beyond a kilobyte."""
    program = (
        "import io, resource; from vidctl.errors import MediaError; from vidctl.media.sources import Source, opened\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        f"try: opened(Source('stdin', stream=io.BytesIO(bytes({size}))), fetch_into=None).__enter__()\n"
        "except MediaError as error: print(error, '/', error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    folder = tempfile.gettempdir()
    assert done.stdout.startswith("stdin: ")
    assert [] == [fact for fact in (folder, "(File too large)", " / ", "TMPDIR") if fact not in done.stdout]
    assert 1 == done.stdout.count("\n")


@pytest.mark.parametrize("scheme", ["https", "http", "ftp"])
def test_a_name_has_none_of_an_addresss_secrets(scheme):
    """It stands in results and errors; what is fetched is the whole address."""
    url = f"{scheme}://me:hunter2@example.org/a.jpg?signature=s3cret"

    def broken(url):
        raise MediaError(f"no such place: {url}")

    (source,) = expand([url])
    with pytest.raises(MediaError) as raised:
        read(source, fetch=broken)

    assert (f"{scheme}://example.org/a.jpg?***", url) == (source.name, source.url)
    assert [] == [word for word in ("hunter2", "s3cret") if word in raised.value.message + source.label]
