"""What the tests of the page read of it and do on it, by the `open_page` of page/conftest.py.

    page = open_page(html); follow(page, "encoder.0.y"); assert title(page) == "y"

What a page shows is read from its texts, as a reader sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Open = Callable[..., Any]


def title(page: Any) -> str:
    return page.inner_text("#details h2")


def visible_boxes(page: Any) -> int:
    return page.locator("#canvas .box").count()


def follow(page: Any, name: str) -> None:
    """Follows the deep link of a node."""
    page.evaluate("name => { location.hash = '#node=' + encodeURIComponent(name); }", name)


def chosen_lines(page: Any) -> dict[str, list[str]]:
    """The lines that are chosen in each of the three linked texts."""
    return {
        pane: page.locator(f'[data-pane="{pane}"] .line.chosen .code').all_inner_texts()
        for pane in ("source", "optimised", "program")
    }


def number(text: str) -> float:
    """What a cell says: 1,024, −3.2e−5, 12 %, ∞, and – where there is none."""
    plain = text.replace("−", "-").replace("–", "nan").replace(",", "").replace("∞", "inf").strip()
    return float(plain[:-1]) / 100 if plain.endswith("%") else float(plain)


def close(text: str, wanted: float, digits: int = 4) -> bool:
    return number(text) == pytest.approx(float(wanted), rel=10.0 ** (1 - digits), abs=1e-30)
