"""`--data`: a built-in corpus by its name, or the folder of the files that a recipe names."""

from __future__ import annotations

from pathlib import Path

from graphgrad.errors import ConfigurationError
from graphgrad.text import suggestion
from graphgrad.tools.options import Option
from graphgrad.training.task import ModelFile

DATA_OPTION = Option(
    "--data",
    metavar="DATA",
    help="for a recipe that needs files: the folder that holds them; else the name of built-in "
    "data, such as names for transformer",
)


def data_assignments(model: ModelFile, data: str | None) -> list[str]:
    """What `--data` sets, as `key=value` texts; nothing without it.

    Raises ConfigurationError for a folder without the recipe's files, and for a model that has no
    choice of data.
    """
    if data is None:
        return []
    if model.files:
        return [f"{key}={path}" for key, path in _in_folder(model, Path(data)).items()]
    if not hasattr(model.settings, "data"):
        raise ConfigurationError(
            f"the model {model.short_name} has its own data only", fix="leave --data out"
        )
    return [f"data={data}"]


def _in_folder(model: ModelFile, folder: Path) -> dict[str, Path]:
    """The recipe's files by their settings, each as it is named, or with .gz, or without."""
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder} is not a folder",
            fix=f"the recipe {model.short_name} wants one with {', '.join(model.files.values())}",
        )
    found, missing = {}, []
    for key, name in model.files.items():
        plain = name.removesuffix(".gz")
        there = [path for each in (name, plain, f"{plain}.gz") if (path := folder / each).is_file()]
        if there:
            found[key] = there[0].absolute()
        else:
            missing.append(name)
    if missing:
        present = sorted(path.name for path in folder.iterdir())
        raise ConfigurationError(
            f"the folder has no {', '.join(missing)}",
            str(folder),
            suggestion(missing[0], present, "it has"),
        )
    return found


def text_options(settings: object) -> str:
    """The options that give a model its text, as the end of a fix; empty where it reads none."""
    if hasattr(settings, "source"):
        return ", or give two aligned files: --source FILE --target FILE"
    return ", or give --text FILE" if hasattr(settings, "text") else ""
