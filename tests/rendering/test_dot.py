"""DOT texts: well formed, stable, mirrored, and safe for any name."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Literal

import pytest

from graphgrad.backprop import derive
from graphgrad.graph import Graph, input, parameter, scope
from graphgrad.models import feedforward
from graphgrad.ops import multiply, sum, tanh
from graphgrad.rendering.dot import markup, quoted, write_dot
from graphgrad.rendering.image import draw_image
from graphgrad.rendering.paint import picture
from graphgrad.rendering.view import View
from graphgrad.text import printable

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
SVG = "{http://www.w3.org/2000/svg}"
TITLE = "{http://www.w3.org/1999/xlink}title"

HOSTILE = [
    "<script>alert(1)</script>",
    "<b>bold</b>",
    "quote \" and ' quote",
    "back\\slash\\",
    "\\N \\G \\E \\T \\H \\L \\n \\l \\r",
    "n0:port:ne",
    "line\nbreak\r\ttab",
    "&lt;not&gt; &amp; &#60;entity&#62; &amp;amp;",
    "right‮to left‏",
    "\x1b[2J\x00\x7f",
    "]]><!-- --> <?xml?>",
    'a -> b; } digraph { x [URL="javascript:alert(1)"]',
    "x" * 10_000,
    "�￾\ud800",
    "   spaces   ",
    "%s {0} ${x} #hash",
    ".".join("abcdefghijklmnopqrstuvwxyz" * 3),
    "…",
    "名前 δ→",
]


def hostile_graph(name: str) -> Graph:
    """The name as an input, a parameter on an edge, a scope and an operation's name."""
    x, w, v = input(name, 2), parameter(f"{name}.w->{name}", ()), parameter("plain", ())
    with scope(name):
        a = multiply(w, x) + multiply(v, x)
        z = tanh(a, name=name)
    return derive(Graph({name: sum(z, name=f"loss{name}")}), f"loss{name}")


def shown(svg: bytes) -> tuple[list[str], list[str]]:
    """The texts and the tooltips of an SVG."""
    root = ElementTree.fromstring(svg)
    texts = ["".join(item.itertext()) for item in root.iter(f"{SVG}text")]
    titles = [item.attrib[TITLE] for item in root.iter() if TITLE in item.attrib]
    return texts, titles


@needs_dot
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_shown_as_they_are(name: str) -> None:
    x = input("x", 2)
    graph = Graph({"y": tanh(x, name="y")})
    node = graph["y"]
    named = Graph({"y": node}, names={name: node, "x": x})
    texts, titles = shown(draw_image(write_dot(picture(named, View(depth=12))), "svg"))
    # spaces at the ends and runs of spaces are Graphviz's to close up
    label = " ".join(printable(name.split(".", 12)[-1], 48).split()) if name.count(".") < 12 else ""
    assert label in [" ".join(text.split()) for text in texts] or not label
    tip = printable(name).replace("\\", "∖")
    assert any(tip in title.replace("\xa0", " ") for title in titles)


@needs_dot
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("deltas", ["contributions", "nodes"])
def test_hostile_names_break_nothing(name: str, deltas: Literal["contributions", "nodes"]) -> None:
    graph = hostile_graph(name)
    found = picture(graph, View(deltas=deltas))
    text = write_dot(found)
    svg = draw_image(text, "svg")
    root = ElementTree.fromstring(svg)
    ids = [
        item.findtext(f"{SVG}title") for item in root.iter(f"{SVG}g") if item.get("class") == "node"
    ]
    assert sorted(ids) == sorted(box.id for box in found.boxes), "no node more, none less"
    tags = {item.tag.removeprefix(SVG) for item in root.iter()}
    assert tags <= {"svg", "g", "title", "text", "polygon", "path", "a", "ellipse", "polyline"}
    attributes = {key for item in root.iter() for key in item.attrib}
    assert not [key for key in attributes if "href" in key or key.startswith("on")]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_but_printable_text_and_our_own_identifiers(name: str) -> None:
    text = write_dot(picture(hostile_graph(name)))
    assert all(character.isprintable() or character == "\n" for character in text)
    outside = re.sub(r'"(\\.|[^"\\])*"', '""', re.sub(r"=<.*?>(?=[,\]])", "=<>", text))
    words = set(re.findall(r"(?m)^\s*(\w+)", outside))
    assert words <= {"digraph", "graph", "node", "edge", "subgraph"} | {f"n{n}" for n in range(40)}
    assert len(text) < 60_000


def test_markup_and_quotes() -> None:
    assert markup("<a> & \"b\" '\\N'") == "&lt;a&gt; &amp; &quot;b&quot; &#39;\\\\N&#39;"
    assert quoted('a"b\\\nc') == '"a\\"b∖\\nc"'
    assert markup("") == " "
    assert len(markup("y" * 999)) == 48 and markup("y" * 999).endswith("…")


# ---------------------------------------------------------------- the form of the text


def small() -> Graph:
    x, w = input("x", (2, 3)), parameter("w", (2, 3))
    with scope("outer"), scope("inner"):
        z = tanh(x * w, name="z")
    return derive(Graph({"loss": sum(z * z, name="loss")}), "loss")


def test_deltas_are_a_mirror_of_the_values() -> None:
    text = write_dot(picture(small()))
    assert re.search(r"n\d+ -> n\d+ \[dir=back, color=\"#C0355E\"", text)
    assert re.search(r"\{ rank=same; n\d+ -> n\d+ \[style=invis, weight=8\]; \}", text)
    whole = write_dot(picture(small(), View(deltas="nodes")))
    assert "constraint=false" in whole


def test_scopes_are_clusters_and_lonely_ones_share_a_title() -> None:
    text = write_dot(picture(small()))
    assert text.count("subgraph cluster_") == 1 and ">outer.inner</FONT>" in text
    assert text.startswith("digraph graphgrad {\n  graph [newrank=true, rankdir=TB")
    assert "rankdir=LR" in write_dot(picture(small(), View(direction="right")))


def test_the_lectures_network_names_its_weights() -> None:
    text = write_dot(picture(feedforward.neurons(feedforward.Settings())))
    assert 'headlabel=<w<SUB><FONT POINT-SIZE="9">x1→h2</FONT></SUB>>' in text
    sizes = [float(size) for size in re.findall(r'(?:POINT-SIZE="|fontsize=)([0-9.]+)', text)]
    assert len(sizes) > 50 and min(sizes) * 96 / 72 >= 11, "pixels of a browser"
    assert re.search(r"rank=same; edge \[style=invis\]; n0 -> n1 -> n2;", text)
    assert text.count("shape=ellipse") == len(re.findall(r"(?m)^ *n\d+ \[", text))


def test_the_same_graph_gives_the_same_bytes_in_every_process() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_dot;"
        "sys.stdout.write(test_dot.write_dot(test_dot.picture(test_dot.small())))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout.decode()
        for seed in ("1", "2")
    }
    assert texts == {write_dot(picture(small()))}


def test_a_node_declared_twice_is_one_box() -> None:
    x = input("x", 2)
    first, second = tanh(x, name="first"), tanh(x, name="second")
    assert first is second
    found = picture(Graph({"y": sum(first + second, name="y")}))
    tips = [box.tooltip for box in found.boxes]
    assert len([tip for tip in tips if tip.startswith("first, second\n")]) == 1
