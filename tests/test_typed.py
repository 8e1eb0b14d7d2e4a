"""A user's type checker sees what a function gives: `Node`, and not `Any`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHECKED = """
from typing import assert_type
import numpy as np
import graphgrad as gg

x = gg.input("x", ("batch", 3))
assert_type(gg.tanh(x), gg.Node)
assert_type(gg.softmax(x, axis=1), gg.Node)
assert_type(x.sum(1), gg.Node)
assert_type(x.T, gg.Node)
assert_type(2.0 * x @ x.T + 1.0, gg.Node)
assert_type(gg.grad(x.sum(), x), gg.Node)
assert_type(gg.grad(x.sum(), [x]), tuple[gg.Node, ...])
assert_type(gg.layers.dense(x, 3), gg.Node)
assert_type(gg.layers.shared(gg.layers.dense)(x, 3), gg.Node)
graph = gg.Graph({"loss": x.sum()})
assert_type(gg.adam(graph, 1e-3), gg.Graph)
assert_type(gg.compile(graph), gg.Compiled)
assert_type(gg.fit(gg.adam(graph), {"x": np.ones((2, 3))}), dict[str, np.ndarray])
arrays = {"x": np.ones((2, 3))}
assert_type(gg.compile(graph)(None, arrays), dict[str, np.ndarray])
gg.fit(graph, arrays)
gg.compile(graph)(None, {x: np.ones((2, 3))})
own = gg.elementwise("own", "x", "{0}", ufunc="positive")
assert_type(own(x), gg.Node)
assert_type(gg.Operation("own", lambda x: x, "x")(x), gg.Node)
assert_type(gg.softmax.delta_formula, str)
assert_type(gg.where(x > 0.0, x, 0.0, name="y"), gg.Node)
gg.softmax(x, axes=1)
gg.tanh(x, axis=1)
gg.where(x > 0, x)
gg.constant(1.0, dtpe="float64")
gg.layers.dense(x, widht=3)
gg.adam(graph, rate=1e-3)
gg.softmx(x)
"""
WRONG = (
    '"axes" for "__call__"',
    '"axis" for "__call__" of "Unary"',
    "Too few arguments",
    '"dtpe" for "__call__"',
    '"widht" for "dense"',
    '"rate" for "adam"',
    'no attribute "softmx"',
)


def test_mypy_sees_what_a_users_calls_give(tmp_path):
    (tmp_path / "users.py").write_text(CHECKED)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file=",
        "--follow-imports=silent",
        "--ignore-missing-imports",
        f"--cache-dir={tmp_path / 'cache'}",
        "users.py",
    ]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line for line in run.stdout.splitlines() if ": error:" in line]
    assert len(found) == len(WRONG), run.stdout + run.stderr
    for line, reason in zip(found, WRONG, strict=True):
        assert reason in line
