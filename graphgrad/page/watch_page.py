"""Builds the page around a watched page: a bar that says what is shown, and the page in a frame.

The page in the frame is a page of a run as it is saved, byte for byte, so it asks for nothing. This
one around it asks its own server every second whether there is a newer one (`state`), loads that
in a second frame behind the first, and shows it when it is ready and the reader does nothing with
the old one (`assets/watch/watch.js`).
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from graphgrad.page.build import filled, page_script, page_style, policy_of
from graphgrad.text import printable

SCRIPT = "watch/watch.js"
STYLES = ("base.css", "watch/watch.css")
_ITSELF = ("connect-src 'self'", "frame-src 'self'", "frame-ancestors 'none'")
_NAME = 60  # characters


def watch_page(names: Sequence[str]) -> bytes:
    """The page around the page of runs with these names, as UTF-8."""
    title = ", ".join(printable(name, _NAME) for name in names)
    script, style = page_script(SCRIPT), page_style(STYLES)
    parts = {"title": html.escape(f"{title} – watched"), "style": style, "script": script}
    return filled("watch/watch.html", parts).encode()


def watch_policy() -> str:
    """The content security policy of that page: its requests and its frame are its own server's."""
    return policy_of(page_script(SCRIPT), page_style(STYLES), *_ITSELF)


def framed_policy() -> str:
    """The policy of the page in the frame: that of a saved page, and only its server frames it."""
    return policy_of(page_script(), page_style(), "frame-ancestors 'self'")
