"""Renders a plan as a Python program: one line a step, with the node's name as a comment.

    v4 = view(0, (64, 32), 'float32')

    def run(x0, w1):
        np.tanh(v3, out=v4)                              # hidden.z : float32[64, 32]

The upper part is executed once for each workspace and makes all views of its arena; `run` only
calls functions. (The views are globals and not closure variables: Python compiles thousands of
those in quadratic time.) The text contains generated names and numbers, names of operations that
are identifiers, and attributes that are numbers: nothing that a user wrote becomes code. Names of
nodes are in comments, with unprintable characters escaped.

A fused region is one call, with its nodes, outputs and inputs as a comment:

        op.kernel_0(0, 2)    # 7 nodes for hidden.z (in place of hidden.a), loss from hidden.a, x

Its arguments are rows of the call table, from the first to before the second; call_table.py
compiles the kernels and fills the table. Rendering needs no compiler.

A step that has a condition runs where it is true:

        if v9: op.kernel_7(40, 41)
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from graphgrad.backends.numpy.attention_text import render_attention
from graphgrad.backends.numpy.loop_text import LoopTextCache
from graphgrad.backends.numpy.product_groups import ProductGroup
from graphgrad.backends.numpy.product_text import ProductTextCache, ReadProduct, render_product
from graphgrad.backends.source import AttentionCall, KernelCall, Source
from graphgrad.fusion import LoopNest
from graphgrad.graph import Node, Operation, TensorType, constant
from graphgrad.graph.types import DTYPE_NAMES
from graphgrad.memory import size_text
from graphgrad.ops.collectives import wait
from graphgrad.plan import Plan, Step
from graphgrad.text import printable


def render_program(plan: Plan, overrides: Mapping[Operation, Callable[..., object]]) -> Source:
    """Renders the program of a plan; `overrides` replaces the computations of operations."""
    return _ProgramRenderer(plan, overrides).source()


class _ProgramRenderer:
    def __init__(self, plan: Plan, overrides: Mapping[Operation, Callable[..., object]]) -> None:
        self.plan, self.graph, self.overrides = plan, plan.graph, overrides
        self.kernels: dict[str, str] = {}
        self.kernel_names: dict[str, str] = {}
        self.constants: list[object] = []
        self.operations: dict[str, Callable[..., object]] = {}
        self.operation_names: dict[Operation, str] = {}
        self.symbols: dict[Node, str] = {}
        self.bind_lines: list[str] = []
        self.run_lines: list[str] = []
        self.bound: set[Node] = set()
        self.scratch_bound: set[str] = set()
        self.guarded, self.condition = False, ""
        self.layouts = plan.layouts
        self.loop_texts, self.product_texts = LoopTextCache(), ProductTextCache()
        self.calls: list[KernelCall | AttentionCall] = []
        self.line_positions: list[tuple[Node, bool, int]] = []
        """(node, whether its line is in `run`, the line's index there)."""

    def source(self) -> Source:
        """The program of the plan."""
        graph, plan = self.graph, self.plan
        leaves = [*graph.inputs.values(), *graph.states.values()]
        for number, leaf in enumerate(leaves):
            self.symbols[leaf] = f"{'x' if leaf in graph.inputs.values() else 'w'}{number}"
        for node in graph.nodes:
            if node.operation is constant:
                self._constant(node)
        for number, step in enumerate(plan.steps):
            self._guards(number)
            self._begin(step)
            if isinstance(step.group, ProductGroup):
                self._product_step(step, step.group)
            elif step.group.by_kernel:
                self._attention(step)
            elif step.group.nest is None:
                self._views_before(step.group.inputs)
                self._step(step)
            else:
                self._fused_step(step, step.group.nest)
        self._views_before([*graph.outputs.values(), *(node for _, node in plan.copies)])
        self._guards(len(plan.steps))
        for leaf, node in plan.copies:
            self._add_run_line(
                f"np.copyto({self.symbols[leaf]}, {self.symbols[node]})",
                node,
                f"next {printable(graph.name_of(leaf))}",
            )
        return self._source(leaves)

    def _begin(self, step: Step) -> None:
        """Sets the condition of the line that computes a step."""
        self.condition = ""
        if step.condition is not None:
            self._views_before([step.condition])
            self.condition = f"if {self.symbols[step.condition]}: "

    def _views_before(self, wanted: Iterable[Node]) -> None:
        """Adds the views that the next line reads and that are not made yet."""
        for root in wanted:
            stack = [root]
            while stack:
                node = stack[-1]
                if node in self.symbols:
                    stack.pop()
                elif self.plan.places[node].kind != "view":
                    self._output(node)
                elif node.heads[0] in self.symbols:
                    self._view(node)
                else:
                    stack.append(node.heads[0])

    def _constant(self, node: Node) -> None:
        self.symbols[node] = f"c{len(self.constants)}"
        self.bind_lines.append(
            f"{self.symbols[node]} = constants[{len(self.constants)}]{self._comment(node)}"
        )
        self.constants.append(node.attributes["value"].array)
        self.bound.add(node)

    def _view(self, node: Node) -> None:
        """Adds a view: of the arena or a constant once, of an input or state at every run."""
        symbol = self.symbols[node] = f"v{self.graph.position(node)}"
        # a view depends on its first head alone; the others matter for the derivation only
        heads = ", ".join([self.symbols[node.heads[0]], *("None" for _ in node.heads[1:])])
        call = f"{symbol} = {self._view_name(node)}({heads}{self._attributes(node)})"
        if node.heads[0] in self.bound:
            self.bound.add(node)
            self.line_positions.append((node, False, len(self.bind_lines)))
            self.bind_lines.append(call + self._comment(node))
        else:
            self._add_run_line(call, node)

    def _output(self, node: Node) -> str:
        """The symbol of a value that a step computes: a view of the arena, or a state."""
        place = self.plan.places[node]
        if place.kind == "state":
            self.symbols[node] = self.symbols[place.root]
        else:
            self.symbols[node] = f"v{self.graph.position(node)}"
            view = self._arena_view(place.offset, node.type)
            order = self.layouts.orders.get(node)
            if order is not None:
                sizes = tuple(node.type.sizes[axis] for axis in order)
                back = tuple(order.index(axis) for axis in range(len(order)))
                view = self._arena_view(place.offset, TensorType(sizes, node.dtype))
                view += f".transpose({back!r})"
            self.bind_lines.append(f"{self.symbols[node]} = {view}")
            self.bound.add(node)
        return self.symbols[node]

    def _fused_step(self, step: Step, nest: LoopNest) -> None:
        """Adds the call of a kernel: the rows of the call table that it runs."""
        number = {node: number for number, node in enumerate(nest.nodes)} if step.in_place else {}
        in_place = {number[output]: number[head] for output, head in step.in_place.items()}
        kernel = self.loop_texts.render(nest.loops, in_place)
        self._add_call(KernelCall(step, nest, kernel, self._end_row()), nest.inputs)

    def _product_step(self, step: Step, group: ProductGroup) -> None:
        """Adds the call of a kernel that computes products."""
        nest = group.nest
        if nest is None:
            (product,) = group.products
            kernel = render_product(product.shape.rows, product.shape.c_row)
        else:
            number = {node: number for number, node in enumerate(nest.nodes)}
            in_place = {number[output]: number[head] for output, head in step.in_place.items()}
            read = [ReadProduct(number[its.read_as], its.stored) for its in group.products]
            kernel = self.product_texts.render(nest.loops, in_place, read)
        self._add_call(KernelCall(step, nest, kernel, self._end_row()), group.inputs)

    def _attention(self, step: Step) -> None:
        """Adds the call of a kernel of attention."""
        call = render_attention(step, self.layouts.arrays, self._end_row())
        self._add_call(call, step.group.inputs)

    def _end_row(self) -> int:
        return self.calls[-1].end_row if self.calls else 0

    def _add_call(self, call: KernelCall | AttentionCall, inputs: Iterable[Node]) -> None:
        self.calls.append(call)
        text, nodes = call.kernel.text, call.step.group.nodes
        name = self.kernel_names.setdefault(text, f"kernel_{len(self.kernel_names)}")
        self.kernels[name] = text
        self._add_run_line(
            f"{self.condition}op.{name}({call.first_row}, {call.end_row})",
            nodes[-1],
            self._arrays(call, inputs),
        )
        for node in nodes[:-1]:
            self.line_positions.append((node, True, len(self.run_lines) - 1))

    def _arrays(self, call: KernelCall | AttentionCall, read: Iterable[Node]) -> str:
        """The comment of a kernel: the number of its nodes, its outputs and its inputs."""

        def shown(node: Node) -> str:
            return printable(self.graph.name_of(node), 60)

        group, heads = call.step.group, call.step.in_place
        outputs = [
            shown(node) + (f" (in place of {shown(heads[node])})" if node in heads else "")
            for node in group.outputs
        ]
        inputs = ", ".join(map(shown, read)) or "nothing"
        count = "1 node" if len(group.nodes) == 1 else f"{len(group.nodes)} nodes"
        return f"{count} for {', '.join(outputs)} from {inputs}"

    def _step(self, step: Step) -> None:
        for node in step.group.nodes:
            self._operation_of(step, node)

    def _operation_of(self, step: Step, node: Node) -> None:
        """Adds the line of one operation of a step."""
        out = self._output(node)
        heads = [self.symbols[head] for head in node.heads[: node.operation.reads]]
        override = self.overrides.get(node.operation)
        if _is_identifier(node.operation.ufunc) and override is None:
            call = f"np.{node.operation.ufunc}({', '.join([*heads, f'out={out}'])})"
        else:
            name = self._operation(node.operation, override)
            scratch = self._scratch(step, node)
            call = f"{name}({', '.join([out, *heads])}{self._attributes(node)}{scratch})"
        self._add_run_line(self.condition + call, node)

    def _scratch(self, step: Step, node: Node) -> str:
        """The keyword of the working arrays: the operations of a step share them."""
        wanted = node.operation.scratch
        if wanted is None or not step.scratch:
            return ""
        count = len(wanted(*(head.type for head in node.heads), **node.attributes))
        names = self._scratch_names(step)[:count]
        return f", scratch=({', '.join(names)},)" if names else ""

    def _scratch_names(self, step: Step) -> list[str]:
        names: list[str] = []
        for number, item in enumerate(step.scratch):
            names.append(f"t{self.graph.position(step.node)}_{number}")
            if names[-1] in self.scratch_bound:
                continue
            self.scratch_bound.add(names[-1])
            self.bind_lines.append(f"{names[-1]} = {self._arena_view(item.offset, item.type)}")
        return names

    def _guards(self, number: int) -> None:
        """Adds the guards, if the plan has them before the step of this number."""
        if number == self.plan.guard_position and not self.guarded:
            self.guarded = True
            self._views_before(self.plan.guards)
            for node in self.plan.guards:
                self._add_run_line(
                    f"guard({self.symbols[node]}, {self.graph.position(node)})", node
                )

    def _add_run_line(self, call: str, node: Node, note: str = "") -> None:
        self.line_positions.append((node, True, len(self.run_lines)))
        self.run_lines.append(f"{call:<58}{self._comment(node, note)}")

    def _comment(self, node: Node, note: str = "") -> str:
        over_ranks = ""
        if node.operation.collective and node.operation is not wait:
            sent = max(node.type.nbytes, node.heads[0].type.nbytes)
            over_ranks = f", {size_text(sent)} over the ranks"
        return f"  # {note or printable(self.graph.name_of(node))} : {node.type}{over_ranks}"

    def _arena_view(self, offset: int, type_: TensorType) -> str:
        return f"view({offset}, {tuple(type_.shape)!r}, {DTYPE_NAMES[type_.dtype]!r})"

    def _operation(self, operation: Operation, override: Callable[..., object] | None) -> str:
        if operation not in self.operation_names:
            base = operation.name if _is_identifier(operation.name) else "operation"
            name, number = base, 1
            while name in self.operations or name in ("np", "view", "guard", "run", "bind"):
                name, number = f"{base}_{number}", number + 1
            self.operation_names[operation] = name
            self.operations[name] = override or _partial(operation)
        return f"op.{self.operation_names[operation]}"

    def _view_name(self, node: Node) -> str:
        operation = node.operation
        key = f"view_{operation.name}" if _is_identifier(operation.name) else "view_operation"
        while key in self.operations and self.operations[key] is not operation.view:
            key += "_"
        assert operation.view is not None
        self.operations[key] = operation.view
        return f"op.{key}"

    def _attributes(self, node: Node) -> str:
        return "".join(
            f", {name}={self._literal(value)}"
            if _is_identifier(name)
            else f", **{{{name!r}: {self._literal(value)}}}"
            for name, value in node.attributes.items()
        )

    def _literal(self, value: object) -> str:
        """An attribute as Python text: numbers, booleans and tuples of them; others are
        constants."""
        if type(value) is float:
            return repr(value) if math.isfinite(value) else f"float('{value}')"
        if type(value) in (bool, int):
            return repr(value)
        if type(value) is tuple:
            return f"({''.join(self._literal(item) + ', ' for item in value)})"
        self.constants.append(value)
        return f"constants[{len(self.constants) - 1}]"

    def _source(self, leaves: list[Node]) -> Source:
        graph, plan = self.graph, self.plan
        outputs = [self.symbols[node] for node in graph.outputs.values()]
        header = (
            f"# {len(plan.steps)} steps, arena {plan.arena_bytes:,} bytes, peak {plan.peak_bytes:,}"
        )
        signature = f"def run({', '.join(self.symbols[leaf] for leaf in leaves)}):"
        lines = [header + " bytes", *self.bind_lines, "", "", signature]
        if self.kernels:
            lines.append(f"    set_addresses({', '.join(self.symbols[leaf] for leaf in leaves)})")
        bind_start, run_start = 2, len(lines) + 1
        lines += [f"    {line}" for line in self.run_lines]
        lines += [f"    return ({''.join(f'{name}.copy(), ' for name in outputs)})", ""]
        line_of = {
            node: (run_start if in_run else bind_start) + number
            for node, in_run, number in reversed(self.line_positions)
        }
        return Source(
            "\n".join(lines),
            self.operations,
            tuple(self.constants),
            line_of,
            self.kernels,
            tuple(self.calls),
        )


def _is_identifier(name: str) -> bool:
    """Whether a name is an identifier that the text may contain."""
    return name.isidentifier() and name.isascii() and not keyword.iskeyword(name)


def _partial(operation: Operation) -> Callable[..., None]:
    compute = operation.compute
    assert compute is not None

    def call(out: np.ndarray, *heads: np.ndarray, **keywords: object) -> None:
        compute(np, out, *heads, **keywords)

    return call
