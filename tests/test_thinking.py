"""What a model thinks is not its answer, wherever its text is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidctl.tasks.describe.stream import OpenAIStream, OwnStream
from vidctl.tasks.describe.thinking import Answering, split


@pytest.mark.parametrize(
    ("text", "answer", "thought"),
    [
        ("A blue bus.", "A blue bus.", None),
        (" A <b>bus</b>", " A <b>bus</b>", None),
        ("<think>\nA bus?\nYes.\n</think>\n\nA blue bus.", "A blue bus.", "A bus?\nYes."),
        ("\n<think>a</think>b", "b", "a"),
        ("<think>\n\n</think>\n\nA blue bus.", "A blue bus.", None),
        ("<think>It is a b", "", "It is a b"),  # cut off while it still thinks
        ("A bus?\n</think>\n\nA blue bus.", "A blue bus.", "A bus?"),  # the template of the prompt began it
        ("I see <think> here", "I see <think> here", None),
    ],
)
def test_an_answer_is_told_from_the_thoughts_before_it(text, answer, thought):
    assert split(text) == (answer, thought)


@given(
    st.sampled_from(["", "<think>", "\n <think>"]),
    st.text("<>/think \n", max_size=20),
    st.sampled_from(["", "</think>", "</think>\n\n"]),
    st.text("ab< \n", max_size=12),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_a_stream_gives_the_answer_alone_wherever_it_is_cut(begins, thought, ends, answer, cuts):
    text = begins + (thought.replace("</think>", "") + ends if begins else "") + answer
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    answering = Answering()
    told = "".join(answering.feed(text[start:end]) for start, end in itertools.pairwise(places))

    assert answering.whole == text
    whole = split(text)[0]
    assert whole.startswith(told)
    assert told == whole or "<think>".startswith(whole.strip()[:7])  # nothing is held back but the mark's beginning


def event(delta):
    return {"id": "c", "choices": [{"index": 0, "delta": delta}]}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_that_come_in_a_field_of_their_own_are_kept_and_not_told(name):
    stream = OpenAIStream()
    told = [stream.feed(event({name: "A bus?"})), stream.feed(event({name: None, "content": "A blue bus."}))]

    message = stream.answer(is_over=True)["choices"][0]["message"]
    assert (["", "A blue bus."], "A bus?") == (told, message["reasoning_content"])


@pytest.mark.parametrize("stream", [OpenAIStream(), OwnStream()])
def test_thoughts_within_the_text_are_not_told(stream):
    pieces = ["<thi", "nk>A bus?</th", "ink>\n", "\nA blue ", "bus."]
    told = [
        stream.feed(event({"content": piece}) if isinstance(stream, OpenAIStream) else {"text": piece, "index": index})
        for index, piece in enumerate(pieces)
    ]

    assert ["", "", "", "A blue ", "bus."] == told
