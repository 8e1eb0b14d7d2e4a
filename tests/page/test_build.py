"""The page as text: the same bytes for the same graph, and nothing in it that a name can break."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hostile_names import HOSTILE, hostile_graph

import graphgrad as gg
from graphgrad.errors import ConfigurationError
from graphgrad.formats import render
from graphgrad.graph import Graph
from graphgrad.page import build_page
from graphgrad.page.build import json_block, page_script, page_style
from graphgrad.rendering import View


def data_of(html: str) -> dict[str, Any]:
    """The data of a page, read as a browser finds them."""
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', html, re.S)
    assert found is not None
    return json.loads(found[1])


class Elements(HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_same_graph_gives_the_same_bytes() -> None:
    first, second = build_page(hostile_graph()), build_page(hostile_graph())
    assert first == second
    assert render(hostile_graph(), "html") == first.encode()


def test_names_are_data_and_nothing_else() -> None:
    html = build_page(hostile_graph(), title="</title><script>alert(1)</script>")
    plain = build_page(Graph({"y": gg.input("x", 3)}))
    assert Elements(html).found[3:] != []
    tags = [tag for tag, _ in Elements(html).found]
    assert tags == [tag for tag, _ in Elements(plain).found]
    assert all(ord(mark) < 128 for mark in re.findall("page-data.*?</script>", html, re.S)[0])
    data = data_of(html)
    known = {name for node in data["nodes"] for name in (node["name"], *node.get("names", ()))}
    for name in HOSTILE:
        assert any(name in other for other in known), name[:80]
    assert data["title"] == "</title><script>alert(1)</script>"


def test_json_in_a_page_has_no_mark_that_html_reads() -> None:
    block = json_block({"a": "</script><!--&\u2028\u2029\u00e9"})
    assert not set("<>&") & set(block) and block.isascii()
    assert json.loads(block) == {"a": "</script><!--&\u2028\u2029\u00e9"}


def test_the_policy_allows_the_script_and_the_style_by_hash_and_nothing_else() -> None:
    html = build_page(hostile_graph())
    policy = next(a["content"] for _, a in Elements(html).found if "http-equiv" in a)
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    assert set(rules) == {
        "default-src",
        "script-src",
        "style-src",
        "img-src",
        "base-uri",
        "form-action",
    }
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, text in (("script", page_script()), ("style", page_style())):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
        assert f"<{kind}>{text}</{kind}>" in html
        assert f"</{kind}" not in text


def test_the_script_writes_no_markup_and_runs_no_text() -> None:
    script = re.sub(r"/\*.*?\*/", "", page_script(), flags=re.S)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
        "createContextualFragment",
        "fetch(",
        "XMLHttp",
        "import(",
        "WebSocket",
        "http://",
        "https://",
        "window.open",
        "location =",
    ):
        allowed = script.count('"http://www.w3.org/') if word == "http://" else 0
        assert script.count(word) == allowed, word


def test_sections_reach_the_page_and_odd_numbers_are_texts() -> None:
    figures = {"mean": float("nan"), "max": float("inf"), "list": (1, -float("inf"), None)}
    html = build_page(Graph({"y": gg.input("x", 3)}), sections={"run": figures})
    assert data_of(html)["sections"] == {
        "run": {"mean": "NaN", "max": "Infinity", "list": [1, "-Infinity", None]}
    }


@pytest.mark.parametrize("bad", [{"a": {1: 2}}, {"a": object()}, {"a": [b"x"]}])
def test_sections_that_are_no_json_are_refused_by_name(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="sections"):
        build_page(Graph({"y": gg.input("x", 3)}), sections=bad)


def test_a_section_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ConfigurationError, match="nested"):
        build_page(Graph({"y": gg.input("x", 3)}), sections={"loop": loop})


def test_the_view_says_how_the_page_opens(tmp_path: Path) -> None:
    graph = hostile_graph()
    opened = [
        data_of(render(graph, "html", View(deltas=deltas)).decode()).get("view")
        for deltas in (None, "none", "contributions", "nodes")
    ]
    assert opened == [None, "forward", "mirror", "backward"]
    folded = data_of(render(graph, tmp_path / "a.html", View(fold=True, depth=1)).decode())
    assert folded["folds"] is True and folded["depth"] == 1


def test_a_large_graph_is_a_page_soon(deep: str) -> None:
    assert len(data_of(deep)["nodes"]) == 20_002
    assert len(deep) < 8_000_000
