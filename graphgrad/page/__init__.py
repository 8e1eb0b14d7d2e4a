"""One self-contained HTML page: a graph to walk around in, offline, with nothing to load."""

from graphgrad.page.build import build_page

__all__ = ["build_page"]
