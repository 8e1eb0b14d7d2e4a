"""`import graphgrad as gg` brings what a user needs, and `dir(gg)` shows nothing else."""

from __future__ import annotations

import inspect
import re
import types

import pytest

import graphgrad as gg
from graphgrad import ops


def test_dir_shows_the_public_names_and_nothing_else():
    assert dir(gg) == sorted([*gg.__all__, "__version__"])
    modules = {name for name in dir(gg) if isinstance(getattr(gg, name), types.ModuleType)}
    assert modules == {"data", "layers", "training"}


def test_the_page_lists_every_name_in_one_group():
    listed = re.findall(r"^    (?!import)(.*)$", gg.__doc__, re.MULTILINE)
    names = " ".join(listed).split()
    assert sorted(names) == sorted(gg.__all__) and len(set(names)) == len(names)


def test_every_operation_that_is_public_is_on_the_page():
    for name in ops.__all__:
        if name.islower():
            assert getattr(gg, name) is getattr(ops, name)


@pytest.mark.parametrize("name", gg.__all__)
def test_every_name_says_what_it_is(name):
    value = getattr(gg, name)
    assert inspect.getdoc(value), name
    if inspect.isfunction(value) or isinstance(value, gg.Operation):
        assert inspect.signature(value).return_annotation != inspect.Signature.empty


@pytest.mark.parametrize("package", [gg.layers, gg.data, gg.training])
def test_the_packages_that_come_with_it_name_their_own(package):
    assert package.__all__ == sorted(
        package.__all__, key=lambda n: (not n.isupper(), n.islower(), n)
    )
    for name in package.__all__:
        assert hasattr(package, name)


WORDS = """sum mean max min where exp log tanh zeros ones zeros_like reshape transpose concatenate
stack softmax relu matmul grad adam sgd save load"""


@pytest.mark.parametrize("name", re.findall(r"\w+", WORDS))
def test_words_of_numpy_and_pytorch_are_there(name):
    assert callable(getattr(gg, name))
