"""Displays objects in notebooks and renders graphs, by functions of higher layers.

The functions are entry points of the installed package (pyproject.toml), which are looked up when
an object is displayed. So nothing here imports upwards, there is no global table to write to, and
other packages can display their own objects, or these.

- `graphgrad.display`: functions from an object to its texts by MIME type, none for an unknown type
  of object.
- `graphgrad.render`: the function that `Graph.render` calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from graphgrad.errors import EnvironmentLimitError

DISPLAY_GROUP = "graphgrad.display"
RENDER_GROUP = "graphgrad.render"


class Displayed:
    """The methods that a notebook calls to display an object; they never raise an error."""

    __slots__ = ()

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        bundle = {"text/plain": repr(self), **_texts(self)}
        return {
            kind: text
            for kind, text in bundle.items()
            if (not include or kind in include) and kind not in (exclude or ())
        }

    def _repr_html_(self) -> str | None:
        return _texts(self).get("text/html")


def _texts(item: object) -> Mapping[str, str]:
    """The texts of the object from the first function that supports it."""
    for entry in entry_points(group=DISPLAY_GROUP):
        texts = _texts_from(entry, item)
        if texts:
            return texts
    return {}


def _texts_from(entry: EntryPoint, item: object) -> dict[str, str]:
    try:
        return dict(entry.load()(item))
    except Exception:  # the notebook shows `repr` instead: the cell must not fail
        return {}


def renderer() -> Callable[..., bytes | None]:
    """The function that `Graph.render` calls; raises EnvironmentLimitError if there is none."""
    for entry in entry_points(group=RENDER_GROUP):
        return cast(Callable[..., bytes | None], entry.load())
    raise EnvironmentLimitError(
        "no installed package renders graphs: graphgrad is not installed, or an older version is",
        fix="install it (again): pip install -e . — or call graphgrad.formats.render(graph, to)",
    )
