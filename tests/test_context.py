"""The content tag and the files that are sent: what counts, what does not, and what Docker itself would send."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.docker_cli import docker_cli
from support.failing import failing

from vidctl.errors import ImageError
from vidctl.images import context, dockerfile

NAMES = st.sampled_from(["a", "b.py", "ü", "C", "-x", "a b", "weights", ".hidden"])
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.tuples(st.binary(max_size=40), st.booleans()), max_size=6
).filter(lambda tree: not any(a != b and b.startswith(f"{a}/") for a in tree for b in tree))


def grow(folder: Path, tree: dict[str, tuple[bytes, bool]], *, mode: int = 0o644) -> Path:
    for path, (content, is_executable) in tree.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode | 0o100 * is_executable)
    return folder


def tag(folder: Path, *, build_args: dict[str, str] | None = None, bases: dict[str, str] | None = None) -> str:
    found = context.read(folder)
    return found.tag(dockerfile="Dockerfile", build_args=build_args or {}, bases=bases or {})


def sent(folder: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.read(folder).tar()))) as archive:
        return {member.name: member for member in archive.getmembers()}


@given(tree=TREES)
def test_the_same_files_are_the_same_tag_and_the_same_bytes_everywhere(tree):
    """Another checkout, written in another order, at another time, under another umask: one tag, one tar."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        grow(Path(one), tree)
        grow(Path(other), dict(reversed(tree.items())), mode=0o600)
        for path in Path(other).rglob("*"):
            os.utime(path, (1, 1))

        paths = [entry.path for entry in context.read(Path(one)).entries]

        assert sorted(paths, key=os.fsencode) == paths  # whatever order a file system has
        assert tag(Path(one)) == tag(Path(other))
        assert b"".join(context.read(Path(one)).tar()) == b"".join(context.read(Path(other)).tar())


@given(tree=TREES.filter(bool), data=st.data())
def test_any_change_of_a_file_changes_the_tag(tree, data):
    """One byte, one more, a name, the executable bit, a file less: the tag is another one."""
    path = data.draw(st.sampled_from(sorted(tree)))
    content, is_executable = tree[path]
    position = data.draw(st.integers(0, max(0, len(content) - 1)))
    flipped = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :] if content else b"\0"
    changed = data.draw(
        st.sampled_from(
            [
                {**tree, path: (flipped, is_executable)},
                {**tree, path: (content + b"\0", is_executable)},
                {**tree, path: (content, not is_executable)},
                {name: value for name, value in tree.items() if name != path},
                {f"{path}~" if name == path else name: value for name, value in tree.items()},
            ]
        )
    )
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        assert tag(grow(Path(one), tree)) != tag(grow(Path(other), changed))


def test_arguments_and_bases_are_part_of_the_tag(tmp_path):
    """The same files with another build argument, or on a base that moved, are another image."""
    tags = {
        tag(tmp_path),
        tag(tmp_path, build_args={"A": "1"}),
        tag(tmp_path, build_args={"A": "2"}),
        tag(tmp_path, bases={"python:3": "sha256:1"}),
        tag(tmp_path, bases={"python:3": "sha256:2"}),
    }

    assert 5 == len(tags)
    assert all(len("content-") + 16 == len(each) for each in tags)


def test_a_link_counts_by_its_target_and_is_sent_as_a_link(tmp_path):
    """A link is what it points to, not what lies there; one that leads nowhere is no failure."""
    (tmp_path / "link").symlink_to("nowhere")
    before = tag(tmp_path)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("elsewhere")

    assert before != tag(tmp_path)
    assert "elsewhere" == sent(tmp_path)["link"].linkname


def test_what_is_sent_has_no_time_no_owner_and_git_s_modes(tmp_path):
    """The engine's cache compares names, modes and bytes: nothing else differs between two checkouts."""
    grow(tmp_path, {"run.sh": (b"x", True), "sub/data": (b"y" * 600, False)}, mode=0o600)

    facts = {name: (each.mode, each.mtime, each.uid, each.gid) for name, each in sent(tmp_path).items()}

    assert {"run.sh": (0o755, 0, 0, 0), "sub": (0o755, 0, 0, 0), "sub/data": (0o644, 0, 0, 0)} == facts


def test_a_file_that_changes_after_it_was_read_is_not_sent_under_the_old_tag(tmp_path):
    """Shorter, longer, or other bytes: the build stops and says which file."""
    file = tmp_path / "weights.pt"
    for later in (b"123", b"12345", b"4321"):
        file.write_bytes(b"1234")
        found = context.read(tmp_path)
        file.write_bytes(later)

        with failing("image_error", file):
            b"".join(found.tar())


def test_each_byte_is_read_once(tmp_path):
    """A context is read once, and not again while nobody touches it: as the kernel counts."""
    counts = Path("/proc/self/io")
    if not counts.exists():
        pytest.skip("/proc/self/io counts what is read, and is not here")
    (tmp_path / "weights.pt").write_bytes(os.urandom(20_000_000))
    known: context.Digests = {}
    marks = [_bytes_read(counts)]
    for _ in range(2):
        context.read(tmp_path, known=known)
        marks.append(_bytes_read(counts))

    first, second = marks[1] - marks[0], marks[2] - marks[1]

    assert 20_000_000 <= first < 20_100_000
    assert second < 100_000


def _bytes_read(counts: Path) -> int:
    return int(counts.read_text().split()[1])


def test_a_touched_file_is_read_again_and_found_the_same(tmp_path):
    """What one reader has learned serves its next look, and a change is seen all the same."""
    known: context.Digests = {}
    file = tmp_path / "a"
    file.write_bytes(b"1")
    first = context.read(tmp_path, known=known)
    os.utime(file, (5, 5))
    second = context.read(tmp_path, known=known)
    file.write_bytes(b"2")
    third = context.read(tmp_path, known=known)

    assert first == second
    assert hashlib.sha256(b"2").hexdigest() == third.entries[0].content


def test_the_project_s_keys_and_state_are_not_sent_unless_asked_for(tmp_path):
    """In a project that is its own build folder no deploy may change the tag and no image hold a key."""
    grow(tmp_path, {".env": (b"KEY=1", False), ".vidctl/logs/x": (b"", False), "sub/.env": (b"", False)})

    assert {"sub", "sub/.env"} == set(sent(tmp_path))

    (tmp_path / ".dockerignore").write_text("!.env\n")

    assert {".dockerignore", ".env", "sub", "sub/.env"} == set(sent(tmp_path))


IGNORED = (
    "*\n!*.py\n!weights\n",
    "**/*.py\n!sub/keep.py\n",
    "# a comment\n\n  sub/  \n",
    "sub/*\n!sub/keep.py\n",
    "/a.py\n./b.py\n../c\n",
    "**/cache\n!cache/deep/cache/x\n",
    "*.p?\nsub/[a-j]*\n",
    "sub/[^k]*.py\nWEIGHTS\n",
    "**\n!sub\nsub/deep\n",
    "a+b.txt\n*\\.md\n(x)\n",
    ".dockerignore\nDockerfile\n",
)
FILES = (
    "a.py", "b.py", "C.PY", "README.md", "a+b.txt", "aab.txt", "(x)", "sub/keep.py", "sub/lose.py", "sub/a.txt",
    "sub/deep/x.py", "sub/deep/keep.py", "cache/x", "cache/deep/cache/x", "weights/m.pt", "weights/.gitkeep",
)  # fmt: skip


def test_docker_itself_would_send_the_same_files(tmp_path, engine, base_busybox):
    """For every kind of pattern: what `docker build` copies is what vidctl hashes and sends."""
    program = shutil.which("docker")
    if program is None:
        pytest.skip("docker's command line is not installed: apt-get install docker.io")
    grow(tmp_path, dict.fromkeys(FILES, (b"", False)))
    (tmp_path / "Dockerfile").write_text(f"FROM {base_busybox}\nCOPY . /c\nRUN cd /c; find . ! -type d; echo END\n")
    for text in IGNORED:
        (tmp_path / ".dockerignore").write_text(text)
        done = subprocess.run(
            [program, "build", "--no-cache", "--force-rm", "."],
            cwd=tmp_path,
            env={**os.environ, "DOCKER_BUILDKIT": "0"},
            capture_output=True,
            text=True,
        )
        assert 0 == done.returncode, done.stderr
        docker_s = {line[2:] for line in done.stdout.splitlines() if line.startswith("./")}
        engine.remove_image(done.stdout.split("Successfully built ")[1].split()[0], noprune=False)
        ours = {name for name, member in sent(tmp_path).items() if not member.isdir()}

        # Docker sends these two in any case, and has the engine leave them out.
        needed = {".dockerignore", "Dockerfile"}
        assert docker_s - needed == ours - needed, text
        assert needed <= ours


def test_an_exception_reaches_into_excluded_folders(tmp_path):
    """As BuildKit has it, which is what `docker build` has run for years; its predecessor never looked in there."""
    grow(tmp_path, dict.fromkeys(FILES, (b"", False)))
    (tmp_path / ".dockerignore").write_text("*\n!**/keep.py\n")

    assert {".dockerignore", "sub", "sub/keep.py", "sub/deep", "sub/deep/keep.py"} == set(sent(tmp_path))


# Every kind of pattern, and those that are read otherwise than one would think.
PATTERNS = """
*|**|*.py|**/*.py|data|data/|/data|./data|data/*|data/**|!data/sub|!data/sub/**|*/a|**/a|src/**/a|!src/deep/er/a|*.md
!README*.md|README-secret.md|!README.md|.*|!.hid|x y|x?y|[[]q]|[a-c]*|[^a]*|\\!x|# c| #c|#data|  data/sub  |! data/sub
é.txt|d?ta|**/sub|**/sub/|node_modules|**/node_modules|!node_modules/p/a|src/*/er|../ig/data|data/../src|!Dockerfile
Dockerfile|.dockerignore|empty|!empty|D*|data*|**/*.t?t|*/*/a|a/**/b|\\*|!src|!src/*|/|.|\t*.py\t|!/src/a|src//deep
src/./deep|**a|**b.py|s**c|**.txt|d**a/**|[*]*|*[?]|src[^x]a|[]a]|[a-]|a\\|[|!|*/[|./!data|**/**|c.txt**|(|*.{md,txt}|a+|^a
[\\d]*|\\d|!!data|src/[!a]|data/sub|data/*/*|!data/*/a
""".strip().replace("\n", "|").replace("\\t", "\t").split("|")  # fmt: skip
PATTERN_NAMES = ("a", "b.py", "c.txt", "x y", "[q]", "é.txt", ".hid", "README.md", "README-secret.md", "b{", "5", "a+")
PATTERN_FOLDERS = ("", "data/", "data/sub/", "src/", "src/deep/er/", "x-y/", "Data2/", "node_modules/p/", "xdata/")


def test_docker_itself_reads_every_pattern_as_vidctl_does(tmp_path):
    """Each pattern four times, among up to five others: the same files, and the same ones refused."""
    grow(tmp_path, {f"{folder}{name}": (b"", False) for folder in PATTERN_FOLDERS for name in PATTERN_NAMES})
    (tmp_path / "empty").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    draw = random.Random(11)
    left = [line for _ in range(4) for line in draw.sample(PATTERNS, len(PATTERNS))]
    wrong: dict[str, Any] = {}
    with docker_cli() as docker:
        while left:
            lines = [left.pop() for _ in range(min(len(left), draw.randint(1, 6)))]
            text = draw.choice(["\n", "\r\n"]).join(lines)
            (tmp_path / ".dockerignore").write_text(text, newline="")
            theirs: Any = docker.sent(tmp_path)
            ours: Any
            try:
                ours = {entry.path for entry in context.read(tmp_path).entries}
            except ImageError as error:
                ours = error.message
            if isinstance(theirs, str) != isinstance(ours, str):
                wrong[text] = (ours, theirs)
            elif not isinstance(ours, str) and _with_folders(ours) != _with_folders(theirs):
                # The classic builder goes into no excluded folder unless an exception begins with it; BuildKit does.
                if not _with_folders(theirs) - ours and any("!" in line and set("*?[") & set(line) for line in lines):
                    continue
                wrong[text] = _with_folders(ours) ^ _with_folders(theirs)

    assert {} == wrong


def _with_folders(paths: set[str]) -> set[str]:
    """With the folders above them, which the classic builder leaves for the engine; without what is always sent."""
    whole = {parent.as_posix() for path in paths for parent in (Path(path), *Path(path).parents)}
    return whole - {".", "Dockerfile", ".dockerignore"}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("[", ["[set]"]),
        ("a[b-", ["[set]"]),
        ("[]a]", ["[set]", "]", "\\"]),
        ("[a-]", ["[set]", "]", "\\"]),
        ("[b-a]", ["range b-a"]),
        ("weights\\", ["ends", "\\"]),
        ("!", ["exception"]),
        ("\\y", ["\\y"]),
        ("[[:alpha:]]", ["[:class:]"]),
    ],
)
def test_a_pattern_that_is_none_is_refused_with_its_line(tmp_path, line, named):
    """What would hide nothing is not taken for a pattern that hides something."""
    (tmp_path / ".dockerignore").write_text(f"# a comment\n{line}\n")

    with failing("image_error", f"{tmp_path / '.dockerignore'}:2: ", repr(line), *named):
        context.read(tmp_path)


def test_a_dockerfile_s_own_patterns_go_first(tmp_path):
    """`NAME.dockerignore` beside the Dockerfile, as with BuildKit; what the folder's hides then is not hidden."""
    names = ("a", "b", "docker/gpu.Dockerfile", "docker/gpu.Dockerfile.dockerignore", ".dockerignore")
    grow(tmp_path, dict.fromkeys(names, (b"", False)))
    (tmp_path / ".dockerignore").write_text("a\n")
    (tmp_path / "docker/gpu.Dockerfile.dockerignore").write_text("b\ndocker\n")

    found = context.read(tmp_path, dockerfile="docker/gpu.Dockerfile")

    assert {"a", *names[2:], "docker"} == {entry.path for entry in found.entries}
    assert {"b", "docker", *names[2:]} == set(sent(tmp_path))  # by another Dockerfile


# --- the Dockerfile -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "build_args", "expected"),
    [
        ("ARG BASE=python:3.12\nFROM ${BASE}\n", {}, ["python:3.12"]),
        ("ARG BASE=python:3.12\nFROM ${BASE}\n", {"BASE": "local/python:3"}, ["local/python:3"]),
        ('ARG V="3" W=x\nFROM python:$V-${W:-y}${Z:-z}${V:+v}\n', {}, ["python:3-xzv"]),
        ("FROM a AS one\nFROM one\nFROM scratch\nCOPY --from=one /a /a\nCOPY --from=0 /a /a\n", {}, ["a"]),
        ("FROM a\nCOPY --chown=1:1 --from=tools:1 /a /a\n", {}, ["a", "tools:1"]),
        ("from \\\n  # a comment\n\n  --platform=linux/amd64 \\\n  a@sha256:1\n", {}, ["a@sha256:1"]),
        ("# escape=`\nFROM a `\n  AS b\nFROM b\n", {}, ["a"]),
        ("FROM a\nRUN <<EOF\nFROM b\nEOF\nFROM c\n", {}, ["a", "c"]),
        ("FROM a\nARG X=b\nRUN echo \\\n FROM b\n", {}, ["a"]),
        ("ARG\tBASE=a\nFROM\t$BASE\tAS\tone\nFROM  \tone\nCOPY\t--from=b\t/a /a\n", {}, ["a", "b"]),
        ("FROM py\\\nthon:\\\n# a comment\n3\n", {}, ["python:3"]),
        ('ARG V=3\nFROM "python:$V"\n', {}, ["python:3"]),
        ("ARG TARGETARCH\nFROM a-$TARGETARCH:${TARGETOS}${TARGETVARIANT}\n", {}, ["a-amd64:linux"]),
        ("FROM a-${TARGETPLATFORM:-x}-$BUILDARCH-$TARGETSTAGE\n", {}, ["a-linux/amd64-amd64-default"]),
        ("ARG TARGETARCH=arm64\nFROM a-$TARGETARCH\n", {}, ["a-arm64"]),
        ("FROM a-$TARGETARCH\n", {"TARGETARCH": "x"}, ["a-x"]),
        ("ARG TAIL=\nARG MORE\nFROM a$TAIL${MORE}b${TAIL-c}${TAIL:-d}${TAIL+e}\n", {}, ["abde"]),
        ("FROM a AS b\nRUN --mount=type=bind,from=b --mount=from=c:1,target=/x ls\n", {}, ["a", "c:1"]),
    ],
)
def test_the_bases_of_a_dockerfile_are_found(text, build_args, expected):
    """Every image that a stage stands on or copies from; not the stages, not what only looks like one."""
    assert expected == [base.reference for base in dockerfile.bases(text, build_args, path=Path("Dockerfile"))]


def test_a_base_without_a_value_is_named_with_its_line():
    """FROM a variable that nobody sets cannot be looked up."""
    with failing("image_error", "w/Dockerfile:3: FROM ${BASE}: BASE ", "ARG", "image.build_args"):
        dockerfile.bases("\nARG BASE\nFROM ${BASE}\n", {}, path=Path("w/Dockerfile"))


@pytest.mark.parametrize("line", ["COPY --from=y:$V /a /a", "RUN --mount=type=bind,from=y:$V,target=/x ls"])
def test_a_variable_that_docker_does_not_replace_is_refused_with_its_line(line):
    """`--from` takes no variables: docker says "invalid reference format" of it, after all that is above it."""
    with failing("image_error", f"Dockerfile:5: {line.split()[0]} from y:$V: ", "FROM y:$V AS files", "from=files"):
        dockerfile.bases(f"ARG V=1\nFROM a\nARG V\n# why\n{line}\n", {}, path=Path("Dockerfile"))


STAGES = "FROM a AS Base\nFROM b\nFROM base AS serverless\nCOPY --from=c /c /\nFROM d AS pod\n"


@pytest.mark.parametrize(
    ("target", "expected"),
    [(None, "abcd"), ("base", "a"), ("0", "a"), ("1", "ab"), ("SERVERLESS", "abc"), ("2", "abc"), ("pod", "abcd")],
)
def test_the_bases_of_a_target_are_those_up_to_it(target, expected):
    """By its name in any case, or its number."""
    found = dockerfile.bases(STAGES, {}, path=Path("Dockerfile"), target=target)

    assert expected == "".join(base.reference for base in found)


@pytest.mark.parametrize("target", ["server", "4"])
def test_a_target_that_is_no_stage_is_refused(target):
    """Before anything is sent, with those that there are."""
    with failing("image_error", "Dockerfile: ", f"stage {target}", "image.target", "base, 1, serverless, pod"):
        dockerfile.bases(STAGES, {}, path=Path("Dockerfile"), target=target)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a\nRUN echo '--mount' 1<<2 && x\n# RUN --mount=type=cache x\n", None),
        ('FROM --platform=linux/amd64 a\nCOPY --chown=1 a b\nRUN ["sh", "<<EOF"]\n', None),
        ("FROM a\n\nRUN --mount=type=cache,target=/x \\\n  true\n", (3, "RUN --mount")),
        ("FROM a\nCOPY --chown=1 --link a b\n", (2, "COPY --link")),
        ("FROM a\nCOPY --chmod=755 a b\n", (2, "COPY --chmod")),
        ("FROM a\nADD --checksum=sha256:1 http://x /\n", (2, "ADD --checksum")),
        ("FROM a\nRUN cat <<-'END' > x\n\tRUN --mount=x\n\tEND\n", (2, "RUN <<END")),
        ("FROM --platform=$BUILDPLATFORM a\n", (1, "FROM $BUILDPLATFORM")),
    ],
)
def test_the_line_that_needs_buildkit_is_found(text, expected):
    """What the classic builder does not know is known before it is asked; what it knows is not refused."""
    assert expected == dockerfile.buildkit_line(text)
