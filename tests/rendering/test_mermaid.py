"""Mermaid: what is drawn, that nothing of a name is read as Mermaid's own, and its limits."""

import re
from pathlib import Path

import pytest

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError
from graphgrad.formats import render
from graphgrad.graph import Graph, input, normal, parameter, scope
from graphgrad.models import feedforward, transformer
from graphgrad.ops import matmul, sum, tanh
from graphgrad.rendering import View
from graphgrad.rendering.mermaid import MOST_CHARACTERS, escaped

HOSTILE = (
    "<script>alert(1)</script>",
    "a\"b'c`d`",
    "end",
    "]]>",
    "%%{init: {}}%%",
    "**b** _em_",
    'click n0 "javascript:alert(1)"',
    "1. list",
    "- list",
    "style: #f00;x",
    "\\N n:port",
    "A --> B",
    "#35; &lt;",
    "\u202ertl",
    "x" * 10_000,
    "graph TD;",
    "a;b\nc",
    "$$x$$",
    "[link](http://x)",
)


def text(graph: Graph, **view: object) -> str:
    return render(graph, "mermaid", View(**view)).decode()  # type: ignore[arg-type]


def small() -> Graph:
    x = input("x", ("batch", 3))
    with scope("hidden"):
        w = parameter("w", (3, 2), normal(1.0))
        z = tanh(matmul(x, w, name="a"), name="z")
    return derive(Graph({"loss": sum(z, name="loss")}), "loss")


def test_a_graph_is_a_flowchart_with_its_scopes_and_deltas() -> None:
    shown = text(small())
    lines = [line.strip() for line in shown.splitlines()]
    assert lines[0] == "flowchart TB" and 'subgraph s0["hidden"]' in lines
    assert lines.count("end") == 1 and shown.endswith("\n")
    boxes = {match[2]: match[1] for match in re.finditer(r'(n\d+)[(\[]+"([^"<]*)', shown)}
    assert f"{boxes['a']} --> {boxes['z']}" in shown
    assert f'{boxes["δ#91;z#93;"]} -.->|"δ · (1 - z#178;)"| {boxes["δ#91;a#93;"]}' in shown or (
        f'{boxes["δ#91;z#93;"]} -.->|"δ · (1 - z²)"| {boxes["δ#91;a#93;"]}' in shown
    )
    assert "classDef deltaBox" in shown and "linkStyle" in shown


def test_the_same_graph_gives_the_same_text() -> None:
    assert text(small()) == text(small())


def test_neurons_are_circles_from_left_to_right() -> None:
    shown = text(derive(feedforward.network(feedforward.Settings()), "loss"))
    assert shown.startswith("flowchart LR") and '(("x1"))' in shown
    assert '|"w#91;x1→h2#93;"|' in shown


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_and_nothing_else(name: str) -> None:
    label = escaped(name)
    bare = re.sub(r"#\d+;", "", label)
    assert not set(bare) & set("\"'`<>[]{}#&;:%*$\\\n\x1b|") - {"|"} and len(bare) <= 48
    assert not re.search(r"\.( |$)", bare) and not bare.startswith(("-", "+"))
    decoded = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label)
    assert (
        decoded[:20]
        == (name.encode("unicode_escape").decode() if not name.isprintable() else name)[:20]
    )


def test_a_hostile_graph_keeps_its_structure() -> None:
    y = input("x", 3)
    for name in HOSTILE:
        y = tanh(y, name=name)
    with scope('<b>"]\nend'):
        y = tanh(y, name="inner")
    shown = text(Graph({"loss": sum(y, name="loss")}))
    allowed = re.compile(
        r'(flowchart TB|  (  )*(n\d+[(\[]{1,2}"[^"]*"[)\]]{1,2}|subgraph s\d+\["[^"]*"\]|end'
        r"|style s\d+ [\w:#,]+|n\d+ --> n\d+|classDef \w+ [\w:#,]+|class [n\d,]+ \w+))"
    )
    assert all(allowed.fullmatch(line) for line in shown.splitlines())


def test_what_mermaid_would_refuse_is_refused_with_advice() -> None:
    y = input("x", 3)
    for number in range(501):
        y = tanh(y, name=f"layer{number}")
    long = Graph({"y": y})
    with pytest.raises(ConfigurationError, match=r"501 edges[\s\S]*--depth 2"):
        text(long, depth=9, parameters="nodes", fold=False)
    settings = transformer.Settings(layers=6)
    graph = derive(transformer.training_graph(settings, 50, 50), "loss")
    with pytest.raises(ConfigurationError, match="Mermaid draws at most"):
        text(graph, deltas="nodes", fold=False, depth=9)
    assert len(text(graph, depth=2)) < MOST_CHARACTERS


def test_a_file_ending_means_the_format(tmp_path: Path) -> None:
    content = render(small(), tmp_path / "graph.mmd")
    assert content == (tmp_path / "graph.mmd").read_bytes() and content.startswith(b"flowchart")
