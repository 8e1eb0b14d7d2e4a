"""Scopes prefix names; origins are the user's line; neither changes what a node is."""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import graphgrad as gg
from graphgrad.graph import Origin, declared_at
from graphgrad.graph.scope import current_origin


def here() -> int:
    """The line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def test_scopes_nest_and_end():
    with gg.scope("encoder"), gg.scope("0"):
        x = gg.input("x", 3)
        y = gg.tanh(x)
    assert x.name == "encoder.0.x" and y.name == "encoder.0.tanh"
    assert gg.input("x", 3).name == "x"


def test_a_scope_ends_with_an_error():
    with pytest.raises(RuntimeError), gg.scope("broken"):
        raise RuntimeError
    assert gg.input("x").name == "x"


def test_a_scope_is_no_part_of_what_a_node_is():
    x = gg.input("x", 3)
    with gg.scope("a"):
        first = gg.sin(x, name="wave")
    with gg.scope("b"):
        assert gg.sin(x, name="wave") is first
    assert first.names == ("a.wave", "b.wave")


def test_the_origin_is_the_users_line():
    x, line = gg.input("x", (2, 3)), here()
    assert x.origin == Origin(__file__, line)
    y, line = gg.softmax(gg.mean(x, 1)), here()  # through the fronts of two operations
    assert y.origin == Origin(__file__, line) and y.heads[0].origin == y.origin
    z, line = 1.0 - y, here()
    assert str(z.origin) == f"{__file__}:{line}"


def test_nodes_of_a_helper_have_the_helpers_line():
    def helper(x):
        return gg.tanh(x), here()

    y, line = helper(gg.input("x", 3))
    assert y.origin is not None and y.origin.line == line


def test_derived_nodes_inherit_line_and_scope():
    w = gg.parameter("w", 3)
    with gg.scope("layer"):
        loss, line = gg.sum(gg.exp(w * 2.0), name="loss"), here()
    graph = gg.derive(gg.Graph({"loss": loss}), "loss")
    made = graph.descendants([w]) - {w}  # constants are shared with whoever declared them first
    assert len(made) >= 4
    for node in made:
        assert node.origin is not None and node.origin.line == line, node
    assert graph.delta("w").name.startswith("layer.")


def test_placed_is_absolute_and_gives_its_origin():
    origin = Origin("elsewhere.py", 7)
    with gg.scope("outer"), declared_at("absolute", origin):
        x = gg.input("x")
        assert current_origin() == origin
    assert x.name == "absolute.x" and x.origin == origin


def test_threads_and_tasks_do_not_see_each_others_scopes():
    names: list[str] = []
    with gg.scope("outer"):
        thread = threading.Thread(target=lambda: names.append(gg.input("x").name))
        thread.start()
        thread.join()
    assert names == ["x"]

    async def declare(name: str) -> str:
        with gg.scope(name):
            await asyncio.sleep(0)
            return gg.input("x").name

    async def both() -> list[str]:
        return list(await asyncio.gather(declare("a"), declare("b")))

    with ThreadPoolExecutor(1) as executor:  # this thread may run a loop for another test's browser
        assert executor.submit(lambda: asyncio.run(both())).result() == ["a.x", "b.x"]


def test_a_command_is_no_user():
    """What a command declares itself has no line; what a model file declares for it has its own."""
    command = {"__name__": "graphgrad.tools.invented", "gg": gg}
    exec(
        compile(
            "def declare(): return gg.input('x', 3)\ndef ask(f): return f()",
            "/somewhere/tools/invented.py",
            "exec",
        ),
        command,
    )
    assert command["declare"]().origin is None
    model = command["ask"](lambda: gg.input("x", 3))
    assert model.origin is not None and model.origin.file == __file__


def test_a_name_is_a_text():
    for wrong in (5, None, ("a",)):
        with pytest.raises(gg.GraphgradError, match="a name is text"), gg.scope(wrong):
            pass
        with pytest.raises(gg.GraphgradError, match="a name is text"):
            gg.input(wrong)
