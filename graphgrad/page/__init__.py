"""Builds one self-contained HTML page, in which a graph can be explored offline."""

from graphgrad.page.build import build_page

__all__ = ["build_page"]
