"""What of a graph is drawn, and what stands for what: the decisions before a picture.

- Drawn are the forward nodes; constants, and what is computed from nothing but constants, only
  where a value enters the rest of the graph. Scalar counters (the step) count as constants.
- `parameters="edges"` draws a network as the lecture does: where a parameter's only use is one
  product with one other head, the edge carries its name; where that product only enters a sum, it
  goes into the sum, and a sum of sums is one Σ. So is a sum of half squared errors.
- `parameters="inside"` writes a parameter that is used once into the box of the node that uses it.
- Sibling scopes with numbers for names and equal content (`encoder.0` … `encoder.5`) are drawn once
  when folded; scopes deeper than `depth` are one box each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from graphgrad.backprop.selection import Part, owner_of, parts_of
from graphgrad.errors import ConfigurationError
from graphgrad.graph import STATEFUL, Graph, Node, constant, input, parameter, state
from graphgrad.ops import add, half_squared_error, multiply

Path = tuple[str, ...]
"""A scope: `("encoder", "0")`."""
Key = Node | Path
"""What a box stands for: a node, or all of a scope."""

DEEPEST = 12  # scopes; further parts of a name belong to the name
MANY = 60  # boxes from which parameters go inside and repeated scopes are folded
MOST = 400  # boxes at most: deeper scopes become boxes
GLANCE = 60  # boxes at most where somebody asks for a folded picture

DELTAS = ("none", "contributions", "nodes")
PARAMETERS = ("auto", "nodes", "edges", "inside")
DIRECTIONS = ("auto", "down", "right", "up")


@dataclass(frozen=True, slots=True)
class View:
    """What a person asks to see; None and `auto` leave the choice to the size of the graph."""

    deltas: Literal["none", "contributions", "nodes"] | None = None
    """`contributions` sets δ_u beside u and an edge for what each tail sends back; `nodes` draws
    every node that the deltas are computed with. None: contributions where there are deltas."""
    parameters: Literal["auto", "nodes", "edges", "inside"] = "auto"
    constants: bool = False
    updates: bool = False
    """Whether the nodes that compute next values of parameters and states are drawn."""
    fold: bool | None = None
    """True draws equal layers once and the whole at a glance; None folds equal layers of a large
    graph; False folds nothing."""
    depth: int | None = None
    direction: Literal["auto", "down", "right", "up"] = "auto"
    """`up` sets the inputs below and the outputs above, as the paper's figure does."""

    def __post_init__(self) -> None:
        for name, choices in (("parameters", PARAMETERS), ("direction", DIRECTIONS)):
            if getattr(self, name) not in choices:
                raise ConfigurationError(
                    f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )
        if self.deltas is not None and self.deltas not in DELTAS:
            raise ConfigurationError(
                f"deltas must be one of {', '.join(DELTAS)}, not {self.deltas!r}"
            )
        if self.depth is not None and self.depth < 0:
            raise ConfigurationError(f"depth must be at least 0, not {self.depth}")


@dataclass
class Draft:
    """The decisions for one graph."""

    graph: Graph
    parts: dict[Node, Part]
    drawn: list[Node]
    """The nodes that boxes stand for, in order."""
    scopes: dict[Node, Path]
    deltas: str
    parameters: str = "nodes"
    stands_for: dict[Node, Key] = field(default_factory=dict)
    """For nodes without a box of their own, the box that has them."""
    weights: dict[Node, Node] = field(default_factory=dict)
    """For a product that is drawn as an edge, the parameter whose name the edge carries."""
    inside: dict[Node, list[Node]] = field(default_factory=dict)
    """The parameters that are written into a node's box."""
    repeated: dict[Path, tuple[Path, int]] = field(default_factory=dict)
    """For a scope that is drawn for all its siblings, the last of them and how many they are."""

    def key(self, node: Node) -> Key:
        """What stands for the node."""
        key: Key = node
        while isinstance(key, Node) and key in self.stands_for:
            key = self.stands_for[key]
        return key

    def path(self, key: Key) -> Path:
        """The scope that the box of this key is in."""
        return self.scopes[key] if isinstance(key, Node) else key[:-1]


def decide(graph: Graph, view: View) -> Draft:
    """What is drawn of the graph, and what stands for what."""
    parts = parts_of(graph)
    has_deltas = any(part == "delta" for part in parts.values())
    deltas = view.deltas or ("contributions" if has_deltas else "none")
    drawn = _drawn(graph, parts, view, deltas)
    draft = Draft(graph, parts, drawn, _scopes(graph, drawn, parts), deltas)
    _place_parameters(draft, view)
    boxes = [node for node in draft.drawn if node not in draft.stands_for]
    neurons = draft.parameters == "edges"  # numbered like layers, yet each has its own weights
    if not neurons and (view.fold or (view.fold is None and len(boxes) > MANY)):
        _fold(draft)
    _collapse(draft, view.depth, GLANCE if view.fold else MOST)
    return draft


def _drawn(graph: Graph, parts: dict[Node, Part], view: View, deltas: str) -> list[Node]:
    wanted: set[str] = {"forward"}
    wanted |= {"delta"} if deltas == "nodes" else set()
    wanted |= {"update"} if view.updates else set()
    chosen = [node for node in graph.nodes if parts[node] in wanted]
    if view.constants:
        return chosen
    varying = graph.descendants(node for node in chosen if _varies(node))
    ends = set(graph.outputs.values())
    return [
        node
        for node in chosen
        if node in varying
        or (
            node.operation is not constant
            and node.operation not in STATEFUL
            and (
                node in ends
                or any(tail in varying and parts[tail] in wanted for tail in graph.tails(node))
            )
        )
    ]


def _varies(node: Node) -> bool:
    """Whether the leaf is data: an input, a parameter or a state, but no scalar counter."""
    if node.operation is state:
        return node.type.is_float or node.shape != ()
    return node.operation is input or node.operation is parameter


# ---------------------------------------------------------------- scopes


def path_of(name: str) -> Path:
    """The scope of a name."""
    return tuple(name.split(".", DEEPEST)[:-1])


def _scopes(graph: Graph, drawn: Sequence[Node], parts: dict[Node, Part]) -> dict[Node, Path]:
    """The scope of each drawn node; a leaf that its own scope does not use goes to its user.

    Deltas and what their rules compute stand in the scope of the node that they belong to.
    """
    scopes = {}
    for node in drawn:
        owner = owner_of(graph, node, parts) if parts[node] == "delta" else None
        scopes[node] = path_of(graph.name_of(node) if owner is None else owner.name)
    known = set(drawn)
    for node in drawn:
        tails = [tail for tail in graph.tails(node) if tail in known]
        if node.operation in (parameter, input) and scopes[node] and tails:
            size = len(scopes[node])
            if not any(scopes[tail][:size] == scopes[node] for tail in tails):
                scopes[node] = scopes[tails[0]]
    return scopes


# ---------------------------------------------------------------- parameters


def _place_parameters(draft: Draft, view: View) -> None:
    """Parameters as nodes, on edges, or inside the boxes that use them."""
    mode = view.parameters
    scalars = any(p.shape == () for p in draft.graph.parameters.values())
    if mode == "auto":
        mode = "edges" if scalars else "inside" if len(draft.drawn) > MANY else "nodes"
    draft.parameters = mode
    if mode == "edges":
        _weights_on_edges(draft)
    elif mode == "inside":
        for leaf in draft.graph.parameters.values():
            tails = _drawn_tails(draft, leaf)
            if leaf in draft.scopes and len(tails) == 1:
                draft.inside.setdefault(tails[0], []).append(leaf)
                draft.stands_for[leaf] = tails[0]


def _drawn_tails(draft: Draft, node: Node) -> list[Node]:
    return [
        tail
        for tail in draft.graph.tails(node)
        if tail in draft.scopes and draft.parts[tail] == "forward"
    ]


def _weights_on_edges(draft: Draft) -> None:
    outputs = set(draft.graph.outputs.values())
    for node in draft.drawn:
        tails = _drawn_tails(draft, node)
        if node in outputs or len(tails) != 1:
            continue
        (tail,) = tails
        if node.operation is add and tail.operation is add and _same_scope(draft, node, tail):
            draft.stands_for[node] = tail  # a sum of sums is one Σ
        elif node.operation is half_squared_error and _sums_errors(tail):
            draft.stands_for[node] = tail  # the errors of all output neurons are one loss
        elif (
            node.operation is multiply
            and tail.operation is add
            and (weight := _weight(draft, node)) is not None
        ):
            draft.stands_for[node] = tail
            draft.stands_for[weight] = tail
            draft.weights[node] = weight
    _offsets_inside(draft)


def _sums_errors(node: Node) -> bool:
    """Whether the node is a sum of squared errors and nothing else."""
    if node.operation is not add:
        return False
    return all(head.operation is half_squared_error or _sums_errors(head) for head in node.heads)


def _offsets_inside(draft: Draft) -> None:
    """A neuron's offset b stands in its Σ: a parameter whose only use is a term of that sum."""
    for node in draft.drawn:
        tails = _drawn_tails(draft, node)
        if node.operation is parameter and node not in draft.stands_for and len(tails) == 1:
            total = draft.key(tails[0])
            if not isinstance(total, Node) or total not in draft.drawn:
                continue
            if tails[0].operation is add and draft.weights:
                draft.stands_for[node] = total
                draft.inside.setdefault(total, []).append(node)


def _weight(draft: Draft, product: Node) -> Node | None:
    """The parameter of a product of a parameter, used nowhere else, and something drawn."""
    for head, other in (product.heads, product.heads[::-1]):
        if (
            head.operation is parameter
            and other.operation is not parameter
            and other in draft.scopes
            and _drawn_tails(draft, head) == [product]
        ):
            return head
    return None


def _same_scope(draft: Draft, node: Node, tail: Node) -> bool:
    return draft.scopes[node] == draft.scopes[tail]


# ---------------------------------------------------------------- repeated and deep scopes


def _fold(draft: Draft) -> None:
    """Draws the first of equal numbered sibling scopes for all of them, outer scopes first."""
    while True:
        content: dict[Path, list[Node]] = {}
        for node in draft.drawn:
            if isinstance(draft.key(node), Node) and draft.key(node) is node:
                for size in range(1, len(draft.scopes[node]) + 1):
                    content.setdefault(draft.scopes[node][:size], []).append(node)
        run = _first_run(content, draft)
        if run is None:
            return
        first, *others = run
        draft.repeated[first] = (run[-1], len(run))
        for other in others:
            for node, model in zip(content[other], content[first], strict=True):
                draft.stands_for[node] = model


def _first_run(content: dict[Path, list[Node]], draft: Draft) -> list[Path] | None:
    """The longest run of equal siblings from the first scope on that starts one."""
    for path in sorted(content, key=len):
        if not path[-1].isdecimal() or path in draft.repeated:
            continue
        run, number = [path], int(path[-1]) + 1
        mark = _signature(content[path])
        while (after := (*path[:-1], str(number))) in content:
            if _signature(content[after]) != mark:
                break
            run.append(after)
            number += 1
        if len(run) > 1:
            return run
    return None


def _signature(nodes: Sequence[Node]) -> list[tuple[str, object]]:
    return [(node.operation.name, node.type) for node in nodes]


def _collapse(draft: Draft, depth: int | None, most: int) -> None:
    """Makes one box of each scope deeper than `depth`; without one, as deep as `most` allows. At a
    glance a neuron is one box as well."""
    own = [node for node in draft.drawn if draft.key(node) is node]
    forward = [node for node in own if draft.parts[node] == "forward"]
    deepest = max((len(draft.scopes[node]) for node in own), default=0)
    if depth is None:
        depth = deepest - 1 if most == GLANCE and draft.parameters == "edges" else deepest
        while depth > 0 and len({_cut(draft, node, depth) for node in forward}) > most:
            depth -= 1
    for node in own:
        key = _cut(draft, node, depth)
        if key is not node:
            draft.stands_for[node] = key


def _cut(draft: Draft, node: Node, depth: int) -> Key:
    path = draft.scopes[node]
    return path[: depth + 1] if len(path) > depth else node
