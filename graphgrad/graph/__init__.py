"""Nodes, operations, graphs: the one representation that every stage works on."""

from graphgrad.graph.alias import alias
from graphgrad.graph.arrays import Literal
from graphgrad.graph.deltas import DELTA
from graphgrad.graph.dimension import Dimension, dimension
from graphgrad.graph.graph import Graph
from graphgrad.graph.initial import ONES, ZEROS, Initial, full, glorot_uniform, normal, uniform
from graphgrad.graph.initial_state import initial_state
from graphgrad.graph.leaves import (
    LEAVES,
    STATEFUL,
    input,
    iota,
    leaf_name,
    parameter,
    state,
)
from graphgrad.graph.node import Node, Operation, constant, extent
from graphgrad.graph.samples import Sample, sample
from graphgrad.graph.scope import Origin, default_dtype, placed, scope
from graphgrad.graph.types import Shape, TensorType
from graphgrad.graph.verify import verify

__all__ = [
    "DELTA",
    "LEAVES",
    "ONES",
    "STATEFUL",
    "ZEROS",
    "Dimension",
    "Graph",
    "Initial",
    "Literal",
    "Node",
    "Operation",
    "Origin",
    "Sample",
    "Shape",
    "TensorType",
    "alias",
    "constant",
    "default_dtype",
    "dimension",
    "extent",
    "full",
    "glorot_uniform",
    "initial_state",
    "input",
    "iota",
    "leaf_name",
    "normal",
    "parameter",
    "placed",
    "sample",
    "scope",
    "state",
    "uniform",
    "verify",
]
