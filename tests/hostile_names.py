"""Names that try to break out of a page: as markup, as script, as text that runs backwards."""

import graphgrad as gg
from graphgrad.graph import Graph

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "]]>",
    "<!--",
    "-->",
    "\"'`",
    "\\N",
    "n0:port",
    "javascript:alert(1)",
    "{{data}}",
    "{{script}}",
    "${alert(1)}",
    "\u202egnp.exe",
    "\u2066\u200f",
    "x" * 10_000,
    "&lt;b&gt;",
    "\u2028\u2029",
    "a\nb\tc",
    "\x00",
    "__proto__",
    "constructor",
    "toString",
    "%s%n",
    "\ud800",
    "😀",
    "#node=x&view=y",
]


def hostile_graph() -> Graph:
    """Every name of the corpus as that of an input, a scope and a value."""
    total = None
    w = gg.parameter("w<b>", (3,))
    for number, name in enumerate(HOSTILE):
        with gg.scope(name):
            value = gg.tanh(gg.input(f"x{100 + number} {name}", ("batch", 3)) * w, name=name)
        total = value if total is None else total + value
    assert total is not None
    return gg.derive(Graph({"loss": gg.sum(total, name="loss")}), "loss")
