"""Writes the section `effects` of a page: what values contribute to the difference of two texts.

lines    what the effects are of, and what their signs mean
values   [name of a node, effect], in the order of the graph; an effect that is not finite is null
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphgrad.page.encoding import number


def effects_section(effects: Mapping[str, float], lines: Sequence[str]) -> dict[str, Any]:
    """The section for effects by the names of nodes (`interpret.attribution`)."""
    values = [[name, number(effect)] for name, effect in effects.items()]
    return {"lines": list(lines), "values": values}
