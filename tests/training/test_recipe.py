"""Recipes: those that are built in, and what is wrong in one of a user's own."""

import pytest

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.models import BUILTIN, builtin_recipe, gpt, recipe_names
from graphgrad.training.recipe import model_of_recipe, read_recipe

OURS = ("names", "multi30k-raw", "python-text", "shakespeare-char-fast")
"""Recipes whose results nobody else has published."""
GOOD = """
model = "gpt"
about = "a test"
[settings]
steps = 7
learning_rate = 1e-4
"""


@pytest.mark.parametrize("name", recipe_names())
def test_every_built_in_recipe_is_whole(name):
    recipe = builtin_recipe(name)
    model = model_of_recipe(recipe, BUILTIN)
    assert recipe.about and (recipe.published or name in OURS)
    assert model.short_name == name and model.name == recipe.model
    changed = {key: getattr(model.settings, key) for key in recipe.settings}
    assert changed == dict(recipe.settings)


def test_a_recipe_is_its_model_with_its_settings():
    model = model_of_recipe(read_recipe("mine", GOOD, "mine.toml"), BUILTIN)
    assert model.settings == gpt.Settings(steps=7, learning_rate=1e-4)
    assert model.recipe == "mine" and model.check == gpt.CHECK


def test_a_recipe_says_what_it_needs():
    text = GOOD.replace("[settings]", 'needs = ["text"]\n[settings]')
    model = model_of_recipe(read_recipe("mine", text, "mine.toml"), BUILTIN)
    with pytest.raises(ConfigurationError, match="mine needs a text") as caught:
        model.task(model.settings, {})
    assert caught.value.fix == "give one: --text FILE"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("about", "abuot"), "did you mean 'about'"),
        (("steps", "stesp"), "did you mean 'steps'"),
        (('"gpt"', '"gtp"'), "did you mean 'gpt'"),
        (("7", '"many"'), "steps: 'many' is not an integer"),
        (("1e-4", "-1.0"), "learning_rate"),
        (("1e-4", "1e-4]"), "not TOML"),
        (('"a test"', "3"), "'about' is not a text"),
        (("[settings]", "settings = 3\n[other]"), "did you mean|no key 'other'"),
        (("[settings]", "needs = 3\n[settings]"), "'needs' is not a list"),
        (("[settings]", 'needs = ["txet"]\n[settings]'), "did you mean 'text'"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(change, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        model_of_recipe(
            read_recipe("mine", GOOD.replace(*change), "mine.toml"), BUILTIN, "mine.toml"
        )
    assert caught.value.where in ("mine.toml", "")


def test_an_unknown_recipe_is_named_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'reverse'"):
        builtin_recipe("revers")
