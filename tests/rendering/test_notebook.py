"""What a notebook shows: tables of escaped text and pictures, by whoever offers them."""

import re
import shutil
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from xml.etree import ElementTree

import pytest

import graphgrad as gg
from graphgrad import display
from graphgrad.graph.text import summary
from graphgrad.rendering import notebook
from graphgrad.rendering.notebook import draw, show

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "a\n\x1b[31m\u202e",
    "x" * 10_000,
    "]]>",
)
DISPLAY = EntryPoint("notebook", "graphgrad.rendering.notebook:show", display.DISPLAY_GROUP)
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """What is installed to show objects; the package's own, unless a test says otherwise."""
    found = [DISPLAY]
    monkeypatch.setattr(display, "entry_points", lambda group: found)
    return found


def network(*names: str) -> gg.Graph:
    x = gg.input("x", ("batch", 3))
    with gg.scope("hidden"):
        y = gg.tanh(x * gg.parameter("w", 3, gg.normal(1.0)), name="z")
    for name in names:
        y = gg.exp(y, name=name)
    return gg.derive(gg.Graph({"loss": gg.sum(y, name="loss")}), "loss")


def graphs_only(item: object) -> dict[str, str]:
    """What another package might offer."""
    return {"text/html": "<b>theirs</b>"} if isinstance(item, gg.Graph) else {}


def parsed(text: str) -> ElementTree.Element:
    """The HTML as XML, which it must be to be well-formed here."""
    return ElementTree.fromstring(re.sub(r"<details open>", "<details>", text))


@pytest.mark.usefixtures("no_graphviz")
def test_a_graph_is_a_table_of_its_nodes_by_scope() -> None:
    graph = network()
    shown = graph._repr_html_()
    root = parsed(shown)
    assert root.findtext("details/summary") == (
        f"graph of {len(graph)} nodes: inputs x; parameters hidden.w; outputs loss"
    )
    cells = [cell.text or "" for cell in root.iter("td")]
    assert any("hidden.z.delta" in cell for cell in cells) and "float32[batch, 3]" in cells
    assert "<details open>" in shown and "<img" not in shown
    assert repr(graph).startswith("<graph of ") and "inputs x" in repr(graph)


@pytest.mark.usefixtures("no_graphviz")
def test_nodes_and_programs_are_tables() -> None:
    graph = network()
    node = parsed(graph["hidden.z"]._repr_html_())
    cells = [cell.text for cell in node.iter("td")]
    assert "tanh" in cells and "δ · (1 - y²)" in cells
    compiled = gg.compile(graph)
    assert "batch" in compiled._repr_html_() and "prune" in compiled._repr_html_()
    program = compiled.program(batch=2)._repr_html_()
    assert "def run" in program and "bytes at the peak" in program
    assert parsed(program).find("details/pre") is not None


@pytest.mark.usefixtures("no_graphviz")
@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(name: str) -> None:
    graph = network(name)
    for shown in (
        graph._repr_html_(),
        graph[name]._repr_html_(),
        gg.compile(graph).program(batch=2)._repr_html_(),
    ):
        assert {item.tag for item in parsed(shown).iter()} <= {
            "div",
            "details",
            "summary",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "pre",
        }
        assert "\x1b" not in shown and "\u202e" not in shown


def test_large_graphs_are_cut() -> None:
    y = gg.input("x", 3)
    for number in range(5_000):
        with gg.scope(f"layer{number % 7}"):
            y = gg.tanh(y, name=f"z{number}")
    shown = gg.Graph(y)._repr_html_()
    assert len(shown) < 200_000 and "more: print(graph) shows all" in shown
    assert shown.count("<tr>") < 330


@needs_dot
def test_a_picture_stands_in_an_image() -> None:
    graph = network(HOSTILE[0])
    bundle = graph._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "image/svg+xml"}
    assert bundle["image/svg+xml"].lstrip().startswith("<?xml")
    assert 'src="data:image/svg+xml;base64,' in bundle["text/html"]
    assert "<script" not in bundle["text/html"] and "<details>" in bundle["text/html"]
    assert set(graph._repr_mimebundle_(include=["text/plain"])) == {"text/plain"}
    assert "text/html" not in graph._repr_mimebundle_(exclude={"text/html"})
    assert "image/svg+xml" in gg.compile(graph)._repr_mimebundle_()


def test_a_picture_that_fails_is_no_failing_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(graph: gg.Graph, view: object) -> None:
        raise RuntimeError("a fault of the painter")

    monkeypatch.setattr(notebook, "picture", fail)
    monkeypatch.setattr("shutil.which", lambda program: program)
    assert set(network()._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_what_cannot_be_loaded_or_fails_is_passed_over(offered: list[EntryPoint]) -> None:
    group = display.DISPLAY_GROUP
    offered[:] = [
        EntryPoint("broken", "graphgrad.rendering.notebook:no_such_name", group),
        EntryPoint("missing", "no_such_package_at_all:show", group),
        EntryPoint("failing", "graphgrad.rendering.notebook:_program_parts", group),
    ]
    graph = network()
    assert graph._repr_mimebundle_() == {"text/plain": repr(graph)}
    assert graph._repr_html_() is None
    offered.append(DISPLAY)
    assert "text/html" in graph["loss"]._repr_mimebundle_()


def test_the_first_that_knows_an_object_shows_it(offered: list[EntryPoint]) -> None:
    assert show("a text") == {}, "not an object of the package"
    offered.insert(0, EntryPoint("theirs", f"{__name__}:graphs_only", display.DISPLAY_GROUP))
    graph = network()
    assert graph._repr_html_() == "<b>theirs</b>"
    assert "<table" in str(graph["loss"]._repr_html_())


@pytest.mark.usefixtures("no_graphviz")
@pytest.mark.parametrize("item", ["node", "graph", "compiled", "program"])
def test_everything_shows_itself_as_text_and_html(item: str) -> None:
    graph = network()
    compiled = gg.compile(graph)
    shown = {
        "node": graph["loss"],
        "graph": graph,
        "compiled": compiled,
        "program": compiled.program(batch=2),
    }[item]
    bundle = shown._repr_mimebundle_()
    assert bundle == {"text/plain": repr(shown), "text/html": shown._repr_html_()}


def test_what_cannot_be_drawn_quickly_is_not() -> None:
    y = gg.input("x", 3)
    for number in range(400):
        y = gg.tanh(y, name=f"z{number}")
    assert draw(gg.Graph(y)) is None, "no scopes to fold"


@pytest.mark.usefixtures("no_graphviz")
def test_without_graphviz_there_is_no_picture() -> None:
    assert draw(network()) is None


def test_the_package_offers_what_shows_its_objects() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][display.DISPLAY_GROUP] == {DISPLAY.name: DISPLAY.value}
    assert DISPLAY.load() is show


def test_a_summary_names_no_more_than_a_few() -> None:
    inputs = [gg.input(f"x{number}", 3) for number in range(9)]
    total = inputs[0]
    for item in inputs[1:]:
        total = total + item
    text = summary(gg.Graph({"y": total}))
    assert text.endswith("inputs x0, x1, x2, x3 and 5 more; outputs y")
