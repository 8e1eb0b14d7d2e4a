"""`graphgrad recipes`: lists the experiments that have settings."""

from __future__ import annotations

import argparse
import shutil
import textwrap

from graphgrad.models import BUILTIN, builtin_recipe, recipe_names
from graphgrad.tools.streams import say
from graphgrad.training.recipe import Recipe, model_of_recipe
from graphgrad.training.settings import meanings_of

HELP = "list the recipes, or one with its settings and their meaning"
DESCRIPTION = """A recipe is a model with the settings of one experiment, as a TOML file. `graphgrad
train NAME` trains it; `--set KEY=VALUE` changes a setting. One of your own is a .toml file, whose
path stands in the place of the name.

    graphgrad recipes
    graphgrad recipes sort
    graphgrad train sort
    graphgrad train names
    graphgrad train multi30k-tiny --data FOLDER
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    parser.add_argument(
        "recipe", nargs="?", help=f"show this one: {', '.join(recipe_names())} (default: list all)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints one recipe, or all; 0."""
    if arguments.recipe is not None:
        _show(builtin_recipe(arguments.recipe))
        return 0
    for name in recipe_names():
        recipe = builtin_recipe(name)
        say(f"{name}  ({recipe.model})")
        _tell(recipe, "    ")
    return 0


def _tell(recipe: Recipe, indent: str) -> None:
    """Prints what the recipe does, its published results, and its command."""
    say(f"{indent}{recipe.about}")
    if recipe.published:
        say(f"{indent}published: {recipe.published}")
    files = "".join(f" --{need} FILE" for need in recipe.needs)
    if recipe.files:
        files = f" --data FOLDER   with {', '.join(recipe.files.values())}"
    say(f"{indent}graphgrad train {recipe.name}{files}")


def _show(recipe: Recipe) -> None:
    """Prints the recipe with each of its settings and their meanings."""
    say(f"{recipe.name}: the model {recipe.model}")
    _tell(recipe, "")
    meanings = meanings_of(model_of_recipe(recipe, BUILTIN).settings)
    width = max(len(f"{key} = {value}") for key, value in recipe.settings.items())
    room = max(shutil.get_terminal_size().columns - width - 4, 30)
    say("")
    for key, value in recipe.settings.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        first, *others = textwrap.wrap(meanings[key], room)
        say(f"{f'{key} = {shown}':<{width}}  {first}")
        for line in others:
            say(f"{'':<{width}}  {line}")
