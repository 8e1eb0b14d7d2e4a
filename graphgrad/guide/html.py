"""Converts the guide's Markdown to HTML.

Every character of a page is escaped, docstrings and formulas included: HTML in them is shown as
text. A link leads to a topic or to an https address.

A block ```` ```math ```` is a formula: `_x` and `_{h→t}` are subscripts, `^x` is a superscript, as
they are in running text after a letter (δ_h, W^Q).
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Collection, Mapping

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

_LEXERS = {"python": "pycon", "sh": "text", "llvm": "llvm", "": "text"}
_SHIFTED = re.compile(r"([_^])(?:\{([^}]*)\}|(\([^)]*\)|[^\W_]+|⊤))")
_INDEXED = re.compile(r"(?<![\w`.])([^\W\d_](?:[_^](?:\{[^}]*\}|\([^)]*\)|[^\W_]|⊤)+)+)(?![\w`(])")
_COMMAND = re.compile(r"graphgrad guide ([\w-]+)")


class Renderer:
    """Converts pages to HTML and collects links to topics that do not exist.

    `topics` are the names to which a link or a command can lead; `picture` returns the text of an
    SVG file.
    """

    def __init__(self, topics: Collection[str], picture: Callable[[str], str]) -> None:
        self.topics, self.picture = topics, picture
        self.dead: list[str] = []
        self._topic = ""
        self._used: set[str] = set()
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        rules: Mapping[str, Callable[..., str]] = {
            "fence": self._fence,
            "image": self._image,
            "code_inline": self._code,
            "text": lambda token, **_: _text(token.content),
            "link_open": self._link,
            "heading_open": self._heading,
            "table_open": lambda *_, **__: '<div class="wide"><table>\n',
            "table_close": lambda *_, **__: "</table></div>\n",
        }
        for name, rule in rules.items():
            self._markdown.add_render_rule(name, _bound(rule))

    def page(self, topic: str, text: str) -> str:
        """The page of a topic as HTML."""
        self._topic, self._used = topic, set()
        return str(self._markdown.render(text))

    def _fence(self, token: Token, **_: object) -> str:
        language, options = [*token.info.split(" ", 1), ""][:2]
        if language == "math":
            return _formulas(token.content)
        label = f'<span class="of">{html.escape(options)}</span>' if options else ""
        return f'<pre class="code">{label}{_highlighted(language, token.content)}</pre>\n'

    def _code(self, token: Token, **_: object) -> str:
        shown = f"<code>{html.escape(token.content)}</code>"
        command = _COMMAND.fullmatch(token.content)
        if command is None:
            return shown
        return f'<a href="#{self._target(command[1])}">{shown}</a>'

    def _image(self, token: Token, **_: object) -> str:
        source, alternative = str(token.attrs["src"]), html.escape(token.content)
        data = base64.b64encode(self.picture(source).encode()).decode()
        return f'<img src="data:image/svg+xml;base64,{data}" alt="{alternative}">'

    def _link(self, token: Token, **_: object) -> str:
        address = str(token.attrs["href"])
        if address.startswith("https://"):
            return f'<a href="{html.escape(address)}" rel="noreferrer">'
        return f'<a href="#{self._target(address.removesuffix(".md"))}">'

    def _heading(self, token: Token, following: Token, **_: object) -> str:
        if token.tag == "h1":
            return "<h1>"
        name = re.sub(r"\W+", "-", following.content.lower()).strip("-") or "part"
        unique, number = name, 1
        while unique in self._used:
            number += 1
            unique = f"{name}-{number}"
        self._used.add(unique)
        return f'<{token.tag} id="{self._topic}.{unique}">'

    def _target(self, name: str) -> str:
        if name not in self.topics:
            self.dead.append(f"{self._topic}: {name}")
        return html.escape(name)


def _bound(rule: Callable[..., str]) -> Callable[..., str]:
    """`rule` as a render rule of markdown-it, which calls it with the renderer and all tokens."""

    def called(_: RendererHTML, tokens: list[Token], position: int, *__: object) -> str:
        following = tokens[position + 1] if position + 1 < len(tokens) else tokens[position]
        return rule(tokens[position], following=following)

    return called


def formula_html(text: str) -> str:
    """A formula with its subscripts and superscripts as HTML."""

    def shifted(found: re.Match[str]) -> str:
        tag = "sub" if found[1] == "_" else "sup"
        return f"<{tag}>{found[2] or found[3]}</{tag}>"

    return _SHIFTED.sub(shifted, html.escape(text, quote=False))


def _formulas(text: str) -> str:
    """Lines of formulas as a table; three spaces or more separate columns."""
    rows = (re.split(r" {3,}", line) for line in text.rstrip("\n").split("\n"))
    cells = ("".join(f"<td>{formula_html(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<div class="math"><table>{body}</table></div>\n'


def _text(text: str) -> str:
    """Running text; a letter with an index, as δ_h or W^Q, is a small formula."""
    pieces = _INDEXED.split(text)
    return "".join(
        formula_html(piece) if number % 2 else html.escape(piece)
        for number, piece in enumerate(pieces)
    )


def _highlighted(language: str, text: str) -> str:
    wanted = _LEXERS.get(language, language)
    if language == "python" and not text.lstrip().startswith(">>>"):
        wanted = "python"
    try:
        lexer = get_lexer_by_name(wanted, stripnl=False)
    except ClassNotFound:
        return html.escape(text)
    return str(highlight(text, lexer, HtmlFormatter(nowrap=True, classprefix="p-")))
