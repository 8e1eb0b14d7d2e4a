"""A fused kernel of a program: what calls it, the nodes that it takes in, its text, its code.

The text is in the loop language (graphgrad/loops/translate.py), and is what is compiled. Equal
layers share one kernel, so several lines of a program may call it.
"""

from __future__ import annotations

from collections import Counter

from graphgrad.backends import Program
from graphgrad.errors import UnknownNameError
from graphgrad.plan import Step
from graphgrad.text import did_you_mean, printable


def kernel_text(program: Program, name: str) -> str:
    """The kernel that `program.source` calls by this name: its calls as comments, then its text.

    Raises `UnknownNameError` where the program calls no such kernel.
    """
    kernels = program.kernels
    if name not in kernels:
        none = "it was compiled without kernels; is `fuse` off, or llvmlite not installed?"
        listed = f"it calls {', '.join(kernels)}" if kernels else none
        raise UnknownNameError(
            f"the program calls no kernel {name!r}", fix=did_you_mean(name, kernels, listed, 3)
        )
    lines = [f"# {name}, called by these lines of the program:"]
    source = program.source.splitlines()
    for step in program.plan.steps:
        line = program.line_of(step.node)
        if line and source[line - 1].lstrip().startswith(f"op.{name}("):
            lines.append(_call_text(program, step, line))
    return "\n".join([*lines, "", kernels[name]])


def _call_text(program: Program, step: Step, line: int) -> str:
    """A line of the program: what comes out, and how many of which operations are done."""
    outputs = ", ".join(printable(program.graph.name_of(node), 60) for node in step.group.outputs)
    counts = Counter(node.operation.name for node in step.group.nodes)
    operations = ", ".join(
        f"{count} {each}" if count > 1 else each for each, count in counts.items()
    )
    return f"#   line {line}: {outputs}  ({operations})"
