"""`render`: every format, as bytes or into a file, the same every time, and nothing half done."""

import json
import shutil
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from graphgrad import display
from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError, EnvironmentLimitError
from graphgrad.formats import FORMATS, render, render_options
from graphgrad.graph import Graph, input, parameter, scope
from graphgrad.ops import sum, tanh
from graphgrad.rendering import View
from graphgrad.rendering.document import document
from graphgrad.strict_json import parse_json

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def network() -> Graph:
    x, w = input("x", ("batch", 3)), parameter("w", 3)
    with scope("hidden"):
        z = tanh(x * w, name="z")
    return derive(Graph({"loss": sum(z * z, name="loss")}), "loss")


@needs_dot
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_the_same_as_bytes_and_in_a_file(form: str, tmp_path: Path) -> None:
    graph, path = network(), tmp_path / f"graph.{form}"
    content = render(graph, form)
    assert isinstance(content, bytes) and len(content) > 200
    assert render(graph, path) == content == path.read_bytes()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_the_format_is_the_ending_or_said_apart(tmp_path: Path) -> None:
    graph = network()
    render(graph, str(tmp_path / "a.TXT"))
    render(graph, tmp_path / "b", format="txt")
    assert (tmp_path / "a.TXT").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_path_called_like_a_format_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    render(network(), Path("svg"), format="txt")
    assert Path("svg").read_text().startswith("6 forward nodes")


@pytest.mark.parametrize("to", ["graph.jpg", "graph", "folder/"])
def test_unknown_formats_are_refused_with_the_known_ones(to: str) -> None:
    with pytest.raises(ConfigurationError, match="format") as caught:
        render(network(), to)
    assert "txt, dot, svg, png, pdf, json" in str(caught.value)


@pytest.mark.usefixtures("no_graphviz")
def test_without_graphviz_nothing_is_written_but_text_works(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLimitError):
        render(network(), tmp_path / "graph.svg")
    assert not list(tmp_path.iterdir())
    for form in ("txt", "dot", "json"):
        assert render(network(), form)


def test_the_view_reaches_the_picture() -> None:
    assert b"dir=back" in render(network(), "dot")
    assert b"dir=back" not in render(network(), "dot", View(deltas="none"))


# ---------------------------------------------------------------- data


def test_the_document_says_all_of_a_node() -> None:
    graph = network()
    found = parse_json(render(graph, "json"))
    assert found == json.loads(json.dumps(document(graph)))
    nodes = {node["name"]: node for node in found["nodes"]}
    z = nodes["hidden.z"]
    assert z["operation"] == "tanh" and z["shape"] == ["batch", 3] and z["dtype"] == "float32"
    assert z["formula"] == "tanh hidden.multiply" and z["part"] == "forward"
    assert z["delta_formula"] == "δ[multiply] · z + δ[multiply] · z"
    assert found["nodes"][z["delta"]]["name"] == "hidden.z.delta"
    assert [found["nodes"][c["tail"]]["name"] for c in z["contributions"]] == ["multiply"] * 2
    assert z["origin"]["file"] == __file__
    assert found["nodes"][found["outputs"]["loss"]]["name"] == "loss"
    heads = [found["nodes"][place]["name"] for place in z["heads"]]
    assert heads == ["hidden.multiply"]


def test_names_in_the_document_are_whole() -> None:
    name = '<script>\n"\\\u202e' + "x" * 10_000
    found = parse_json(render(Graph({"y": tanh(input(name, 2))}), "json"))
    assert name in {node["name"] for node in found["nodes"]}


# ---------------------------------------------------------------- Graph.render


def test_a_graph_renders_itself_with_the_options_of_a_view(tmp_path: Path) -> None:
    graph, path = network(), tmp_path / "graph.txt"
    assert graph.render("txt") == render(graph, "txt")
    assert graph.render("dot", deltas="none", direction="up") == render(
        graph, "dot", View(deltas="none", direction="up")
    )
    assert graph.render(path) is None and path.read_bytes() == render(graph, "txt")
    assert graph.render(tmp_path / "other", format="json") is None
    assert (tmp_path / "other").read_bytes() == render(graph, "json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fould": True}, "no option 'fould'\n  fix:   did you mean 'fold'?"),
        ({"q": 1}, "no option 'q'\n  fix:   options: deltas, parameters, "),
        ({"direction": "left"}, "direction must be one of auto, down, right, up"),
        ({"format": "bmp"}, "there is no format 'bmp'"),
    ],
)
def test_an_unknown_option_is_named(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        network().render(tmp_path / "graph.txt", **options)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_package_offers_its_renderer() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    entry = EntryPoint("graph", "graphgrad.formats:render_options", display.RENDER_GROUP)
    assert f'[project.entry-points."{entry.group}"]\ngraph = "{entry.value}"' in text
    assert entry.load() is render_options
    assert [found.value for found in entry_points(group=entry.group)] == [entry.value]


def test_without_an_installed_package_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(display, "entry_points", lambda group: [])
    with pytest.raises(EnvironmentLimitError, match=r"graphgrad\.formats\.render"):
        network().render("txt")
