"""The GPU catalogue: names people use become RunPod's pools, and nothing that RunPod lacks does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.failing import failing

from vidctl.runpod import gpus

EVERY_ID = [gpu_type.id for pool in gpus.POOLS for gpu_type in pool.gpu_types]
EVERY_NAME = [
    *EVERY_ID,
    *(alias for pool in gpus.POOLS for gpu_type in pool.gpu_types for alias in gpu_type.aliases),
    *(pool.id for pool in gpus.POOLS),
]


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("RTX 4090", "ADA_24"),
        ("4090", "ADA_24"),
        ("rtx4090", "ADA_24"),
        ("GeForce RTX 4090 24GB", "ADA_24"),
        ("NVIDIA GeForce RTX 4090", "ADA_24"),
        ("ada_24", "ADA_24"),
        ("L4", "AMPERE_24"),
        ("a5000", "AMPERE_24"),
        ("RTX 3090", "AMPERE_24"),
        ("RTX 2000 Ada", "AMPERE_16"),
        ("rtx a4500 20 gb", "AMPERE_16"),
        ("5090", "ADA_32_PRO"),
        ("A40", "AMPERE_48"),
        ("RTX A6000", "AMPERE_48"),
        ("L40S", "ADA_48_PRO"),
        ("RTX 6000 Ada", "ADA_48_PRO"),
        ("A100", "AMPERE_80"),
        ("A100 80GB", "AMPERE_80"),
        ("A100-80GB", "AMPERE_80"),
        ("H100 SXM", "ADA_80_PRO"),
        ("H100 NVL 94GB", "ADA_80_PRO"),
        ("RTX PRO 6000", "BLACKWELL_96"),
        ("H200", "HOPPER_141"),
        ("B200", "BLACKWELL_180"),
    ],
)
def test_people_say_a_card_and_get_its_pool(name, pool):
    """Case, spaces, vendor words and a right size do not matter."""
    assert pool == gpus.resolve(name).pool.id


@pytest.mark.parametrize(
    ("name", "cards"),
    [
        ("L4", ["NVIDIA L4"]),
        ("A100", ["NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-80GB"]),
        ("A100 PCIe", ["NVIDIA A100 80GB PCIe"]),
        ("H100 80GB", ["NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3"]),
        ("AMPERE_48", ["NVIDIA A40", "NVIDIA RTX A6000"]),
    ],
)
def test_a_name_covers_the_cards_it_fits(name, cards):
    """A form factor or a size narrows a name; a pool id covers all of its pool."""
    assert cards == [gpu_type.id for gpu_type in gpus.resolve(name).gpu_types]


@pytest.mark.parametrize(
    ("name", "fact", "hint"),
    [
        ("A100 40GB", "A100 with 40 GB", "80 GB: write A100"),
        ("H100 40GB", "H100 with 40 GB", "80 GB or 94 GB: write H100"),
        ("V100", "V100", "L4 or RTX A5000"),
        ("NVIDIA A30 24GB", "A30", "L4 or RTX A5000"),
        ("RTX 3080", "RTX 3080", "RTX A4500"),
        ("RTX 409", "'RTX 409'", "did you mean RTX 4090?"),
        ("AMPERE24", "'AMPERE24'", "did you mean AMPERE_24?"),
    ],
)
def test_what_runpod_lacks_is_refused_with_the_nearest_it_has(name, fact, hint):
    """No silent stand-in: a wrong size, an old card and a slip of the finger each get their own answer."""
    with failing("unknown_gpu", fact, hint):
        gpus.resolve(name)


def test_a_name_from_elsewhere_is_answered_with_all_there_is():
    """Nothing is near `banana`, so the hint lists the cards."""
    with failing("unknown_gpu", "'banana'", "RTX 4090", "B200"):
        gpus.resolve("banana")


@pytest.mark.parametrize("card", gpus.NOT_OFFERED)
def test_the_nearest_cards_are_offered(card):
    """What a refusal recommends can be written in a spec."""
    pools = [gpus.resolve(name).pool.id for name in gpus.NOT_OFFERED[card].split(" or ")]

    assert pools
    with pytest.raises(gpus.UnknownGpuError):
        gpus.resolve(card)


@pytest.mark.parametrize(
    ("names", "exact", "expected"),
    [
        (["RTX 4090", "A40"], False, "ADA_24,AMPERE_48"),
        (["A40", "RTX 4090"], False, "AMPERE_48,ADA_24"),
        (["L4", "RTX 3090"], False, "AMPERE_24"),
        (["L4"], True, "AMPERE_24,-NVIDIA RTX A5000,-NVIDIA GeForce RTX 3090"),
        (["RTX 3090", "L4"], True, "AMPERE_24,-NVIDIA RTX A5000"),
        (["L4", "A40"], True, "AMPERE_24,AMPERE_48,-NVIDIA RTX A5000,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A6000"),
        (["AMPERE_24"], True, "AMPERE_24"),
        (["A100"], True, "AMPERE_80"),
    ],
)
def test_gpu_ids_are_written_in_runpods_grammar(names, exact, expected):
    """Pools in order of priority, each once, then what `exact` excludes."""
    assert expected == gpus.gpu_ids(names, exact=exact)


def test_an_ambiguous_name_says_which_cards_may_come():
    """A pool of one card needs no note; `exact` leaves only what was named."""
    assert gpus.notes(["RTX 4090", "A40"]) == [
        "AMPERE_48 gives NVIDIA A40 or NVIDIA RTX A6000; write `exact: true` to get only the GPUs named"
    ]
    assert gpus.notes(["RTX 4090", "A40"], exact=True) == []
    assert gpus.notes(["A100"], exact=True) == ["AMPERE_80 gives NVIDIA A100 80GB PCIe or NVIDIA A100-SXM4-80GB"]


@given(st.lists(st.sampled_from(EVERY_NAME), min_size=1, max_size=8), st.booleans())
def test_gpu_ids_are_canonical(names, exact):
    """No part twice, pools before exclusions, each exclusion from a pool that is there and never what was asked for."""
    parts = gpus.gpu_ids(names, exact=exact).split(",")

    pools = [part for part in parts if not part.startswith("-")]
    excluded = [part[1:] for part in parts if part.startswith("-")]
    asked = {gpu_type.id for name in names for gpu_type in gpus.resolve(name).gpu_types}
    assert len(parts) == len(set(parts))
    assert parts == pools + [f"-{card}" for card in excluded]
    assert pools == list(dict.fromkeys(gpus.resolve(name).pool.id for name in names))
    assert {gpus.resolve(card).pool.id for card in excluded} <= set(pools)
    assert asked.isdisjoint(excluded)
    assert exact or not excluded


@given(st.sampled_from(EVERY_ID), st.data())
def test_spelling_does_not_matter(name, data):
    """A GPU type id means the same in any case and with other separators."""
    letters = [data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in name]
    spelt = "".join(letters).replace(" ", data.draw(st.sampled_from([" ", "  ", "_", "-"])))

    assert gpus.resolve(name) == gpus.resolve(spelt)


@given(st.text())
def test_any_text_is_a_gpu_or_refused(name):
    """No text makes the catalogue fail otherwise than by refusing it, with a hint."""
    try:
        said = gpus.resolve(name).pool.id
    except gpus.UnknownGpuError as error:
        said = error.hint

    assert said


@pytest.mark.parametrize(
    ("text", "pools", "excluded", "types"),
    [
        ("AMPERE_24", ("AMPERE_24",), (), ("NVIDIA L4", "NVIDIA RTX A5000", "NVIDIA GeForce RTX 3090")),
        (
            "ADA_24,AMPERE_48,-NVIDIA A40",
            ("ADA_24", "AMPERE_48"),
            ("NVIDIA A40",),
            ("NVIDIA GeForce RTX 4090", "NVIDIA RTX A6000"),
        ),
        ("NEW_POOL", ("NEW_POOL",), (), ()),
        ("", (), (), ()),
    ],
)
def test_what_an_endpoint_asks_for_is_read_as_it_is_written(text, pools, excluded, types):
    chosen = gpus.selection(text)

    assert (pools, excluded, types) == (chosen.pools, chosen.excluded, chosen.types)
    assert str(chosen) == text
