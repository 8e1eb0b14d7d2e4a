"""Recipes: a model with the settings of one experiment, as a TOML file.

    model = "gpt"                        the name of a built-in model
    about = "sort six digits …"          what it does, in a line
    published = "5000 of 5000 right"     what others report, if they do
    needs = ["text"]                     settings that a user has to give, where there are some

    [files]
    text = "input.txt"                   settings that `--data FOLDER` gives, and files in there

    [settings]
    steps = 2000                         as `--set steps=2000`

Everything in it is checked when it is read: an unknown key is an error that names the nearest.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.text import suggestion
from graphgrad.training.settings import with_values
from graphgrad.training.task import ModelFile, Task, load_model

_KINDS = {"model": str, "about": str, "published": str, "files": dict, "settings": dict}
KEYS = ("model", "about", "published", "needs", "files", "settings")


@dataclass(frozen=True)
class Recipe:
    """What the file says."""

    name: str
    model: str
    about: str
    published: str
    needs: tuple[str, ...]
    settings: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)


def read_recipe(name: str, text: str, where: str) -> Recipe:
    """The recipe of a TOML text. Raises ConfigurationError where it is none."""
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the recipe is not TOML: {error}", where, "correct it") from None
    for key in read:
        if key not in KEYS:
            raise ConfigurationError(
                f"a recipe has no key {key!r}", where, suggestion(key, KEYS, "keys")
            )
    values = {"published": "", "needs": [], "files": {}, "settings": {}} | read
    for key, kind in _KINDS.items():
        if not isinstance(values.get(key), kind):
            article = "a table" if kind is dict else "a text"
            raise ConfigurationError(f"the recipe's {key!r} is not {article}", where, "give one")
    needs = values["needs"]
    if not isinstance(needs, list) or not all(isinstance(need, str) for need in needs):
        raise ConfigurationError("the recipe's 'needs' is not a list of texts", where, "correct it")
    files = values["files"]
    if not all(isinstance(file, str) for file in files.values()):
        raise ConfigurationError("the recipe's 'files' are not texts", where, "correct it")
    return Recipe(
        name,
        values["model"],
        values["about"],
        values["published"],
        tuple(needs),
        values["settings"],
        files,
    )


def model_of_recipe(
    recipe: Recipe, builtin: Mapping[str, ModuleType], where: str = ""
) -> ModelFile:
    """The recipe's model with its settings. Raises ConfigurationError for unknown ones."""
    if recipe.model not in builtin:
        raise ConfigurationError(
            f"the recipe's model {recipe.model!r} is not built in",
            where,
            suggestion(recipe.model, builtin, "built-in models"),
        )
    model = load_model(recipe.model, builtin)
    settings = with_values(model.settings, recipe.settings, where)
    for need in (*recipe.needs, *recipe.files):
        with_values(model.settings, {need: getattr(model.settings, need, "")}, where)
    task = partial(_task_with_needs, recipe, model.task)
    return dataclasses.replace(
        model, settings=settings, task=task, recipe=recipe.name, files=recipe.files
    )


def _task_with_needs(
    recipe: Recipe,
    task: Callable[[Any, Mapping[str, str]], Task],
    settings: Any,
    files: Mapping[str, str],
) -> Task:
    """The model's task. ConfigurationError where a setting is not given that the recipe needs."""
    for need in recipe.needs:
        if not getattr(settings, need):
            folder = ", or the folder of all files: --data FOLDER" if recipe.files else ""
            raise ConfigurationError(
                f"the recipe {recipe.name} needs a {need}",
                fix=f"give one: --{need} FILE{folder}",
            )
    return task(settings, files)
