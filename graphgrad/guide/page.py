"""The guide as one HTML page that loads nothing: all topics, a list of them, and a search.

The text stands in the page as HTML, so it can be read, printed and searched by a browser without
its script, which shows one topic at a time and finds words in all of them.
"""

from __future__ import annotations

import html
import re
from importlib.resources import files

from graphgrad.guide.html import Renderer
from graphgrad.guide.topics import GROUPS, TOPICS, guide_file, text_of, title_of
from graphgrad.page.build import content_hash

_PLACE = re.compile(r"\{\{(\w+)\}\}")


def build_guide() -> str:
    """The page as one text."""
    renderer = _renderer()
    sections = []
    links: dict[str, list[str]] = {group: [] for group in GROUPS}
    for topic in TOPICS:
        text = text_of(topic)
        name, title = html.escape(topic.name), html.escape(title_of(text))
        sections.append(
            f'<section id="{name}" data-title="{title}">\n{renderer.page(topic.name, text)}'
            f"</section>\n"
        )
        links[topic.group].append(f'<li><a href="#{name}">{title}</a></li>')
    listed = "".join(
        f'<h2 id="{group}">{html.escape(heading)}</h2><ul>{"".join(links[group])}</ul>'
        for group, heading in GROUPS.items()
    )
    base = (files("graphgrad.page") / "assets" / "base.css").read_text(encoding="utf-8")
    style = base.replace("\r\n", "\n") + guide_file("assets/guide.css")
    script = guide_file("assets/guide.js")
    parts = {
        "style": style,
        "script": script,
        "style_hash": content_hash(style),
        "script_hash": content_hash(script),
        "links": listed,
        "sections": "".join(sections),
    }
    return _PLACE.sub(lambda place: parts[place[1]], guide_file("assets/guide.html"))


def dead_links() -> list[str]:
    """Links of all pages that lead to no topic, each as `page: link`."""
    renderer = _renderer()
    for topic in TOPICS:
        renderer.page(topic.name, text_of(topic))
    return renderer.dead


def _renderer() -> Renderer:
    return Renderer([*(topic.name for topic in TOPICS), *GROUPS], guide_file)
