"""How a notebook shows an object and how a graph is drawn: by functions that stand far above both.

They offer themselves through entry points of the installed package (pyproject.toml), which are
looked up when something is to be shown. So nothing here imports upwards, no table of the process is
written to, and a package of somebody else may show its own objects, or these.

- `graphgrad.display`: a function from an object to its texts by MIME type; none where it does not
  know the object.
- `graphgrad.render`: what `Graph.render` calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from graphgrad.errors import EnvironmentLimitError

DISPLAY_GROUP = "graphgrad.display"
RENDER_GROUP = "graphgrad.render"


class Displayed:
    """What a notebook asks of an object; displaying never fails."""

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
    """What the first function that knows the object makes of it."""
    for entry in entry_points(group=DISPLAY_GROUP):
        texts = _shown_by(entry, item)
        if texts:
            return texts
    return {}


def _shown_by(entry: EntryPoint, item: object) -> dict[str, str]:
    try:
        return dict(entry.load()(item))
    except Exception:  # the notebook shows `repr` instead: a failing display is no failing cell
        return {}


def renderer() -> Callable[..., bytes | None]:
    """The function that `Graph.render` calls; EnvironmentLimitError where none is installed."""
    for entry in entry_points(group=RENDER_GROUP):
        return cast(Callable[..., bytes | None], entry.load())
    raise EnvironmentLimitError(
        "no installed package renders graphs: graphgrad is not installed, or was before it could",
        fix="install it (again): pip install -e . — or call graphgrad.formats.render(graph, to)",
    )
