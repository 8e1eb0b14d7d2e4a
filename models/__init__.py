"""Built-in models, each declared from layers in one file; `BUILTIN` maps their names to them.

Beside them, in `recipes`, lie the settings of experiments with them.
"""

from collections.abc import Mapping
from importlib.resources import files
from types import ModuleType

from graphgrad.errors import UnknownNameError
from graphgrad.models import attention, bert, feedforward, gpt, transformer
from graphgrad.text import suggestion
from graphgrad.training.recipe import Recipe, read_recipe

BUILTIN: Mapping[str, ModuleType] = {
    "transformer": transformer,
    "gpt": gpt,
    "bert": bert,
    "feedforward": feedforward,
    "attention": attention,
}

_RECIPES = files("graphgrad.models") / "recipes"


def recipe_names() -> tuple[str, ...]:
    """The names of the built-in recipes."""
    found = (file.name for file in _RECIPES.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def builtin_recipe(name: str) -> Recipe:
    """The built-in recipe of a name. Raises UnknownNameError with the nearest one."""
    if name not in recipe_names():
        raise UnknownNameError(
            f"there is no recipe {name!r}", fix=suggestion(name, recipe_names(), "recipes")
        )
    text = (_RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    return read_recipe(name, text, f"{name}.toml")
