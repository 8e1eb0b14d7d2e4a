"""The options of a compilation: one object, checked where it is made."""

from dataclasses import FrozenInstanceError, fields

import pytest

import graphgrad as gg
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.options import CHOICES, DEFAULTS, Options
from graphgrad.passes import FUSING_PASSES, PASSES, SPECIALISED_PASSES

SWITCHES = (
    "fuse",
    "rematerialise",
    "product_layouts",
    "eager_updates",
    "epilogues",
    "overlap",
    "products",
)
EVERYTHING = Options(fuse=True)


def test_the_choices_are_the_passes_and_the_switches():
    passes = {each.__name__ for each in (*PASSES, *SPECIALISED_PASSES, *FUSING_PASSES)}
    assert set(CHOICES) == passes | set(SWITCHES) and len(set(CHOICES)) == len(CHOICES)
    assert {each.name for each in fields(Options) if each.type == "bool"} == set(SWITCHES)


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_left_out_is_left_out_alone(name):
    left = EVERYTHING.without([name])
    assert [each for each in SWITCHES if not getattr(left, each)] == [name] * (name in SWITCHES)
    kept = [each.__name__ for each in left.remaining(PASSES)]
    assert kept == [each.__name__ for each in PASSES if each.__name__ != name]
    assert left.without([name]) == left


def test_several_can_be_left_out_one_after_another():
    both = EVERYTHING.without(["simplify", "fuse"])
    assert both == EVERYTHING.without(["fuse"]).without(["simplify"])
    assert both == Options(passes_left_out=frozenset({"simplify"}))
    assert EVERYTHING.without([]) == EVERYTHING


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("outer", "rematerialise"),
        ("orders", "product_layouts"),
        ("soon", "eager_updates"),
        ("simplfy", "did you mean 'simplify'?"),
    ],
)
def test_an_unknown_name_is_answered_with_those_there_are(name, fix):
    graph = gg.Graph({"y": gg.tanh(gg.input("x", 3))})
    with pytest.raises(UnknownNameError, match=f"no '{name}' to leave out") as caught:
        gg.compile(graph, without=name)
    assert fix in caught.value.fix


def test_what_a_graph_was_compiled_with_can_be_read_and_not_changed():
    graph = gg.Graph({"y": gg.tanh(gg.input("x", 3))})
    compiled = gg.compile(graph, without="rematerialise", programs=3, smallest_kernel=7)
    assert compiled.options == Options(rematerialise=False, programs=3, smallest_kernel=7)
    with pytest.raises(FrozenInstanceError):
        compiled.options.programs = 4
    assert gg.compile(graph).options == DEFAULTS
    with pytest.raises(DeclarationError, match="programs is 0, so no program could run"):
        Options(programs=0)
