"""Explains delta rules: for each operation one sentence with the reason for its rule.

The rules themselves are declared with the operations. An operation without a sentence is explained
by its rule alone.
"""

from __future__ import annotations

from graphgrad import ops
from graphgrad.graph import Operation
from graphgrad.ops import (
    add,
    divide,
    exp,
    gather,
    gelu,
    identity,
    log,
    maximum,
    multiply,
    negative,
    relu,
    sigmoid,
    sign,
    silu,
    sqrt,
    stop_gradient,
    subtract,
    tanh,
    where,
)
from graphgrad.ops.composite import (
    cross_entropy,
    half_squared_error,
    log_softmax,
    softmax,
    standardise,
)
from graphgrad.ops.contraction import matmul
from graphgrad.ops.frames import unslice_all
from graphgrad.ops.movement import broadcast_to, reshape, transpose
from graphgrad.ops.reduction import logsumexp, mean, variance
from graphgrad.ops.slices import concatenate, unslice

_UNCHANGED = "the same elements are at other positions, and so are those of δ"

REASONS: dict[object, str] = {
    add: "a sum grows as each of its terms: ∂(a + b)/∂a = 1",
    subtract: "∂(a - b)/∂a = 1 and ∂(a - b)/∂b = -1",
    identity: "φ(x) = x, so φ' = 1",
    negative: "∂(-x)/∂x = -1",
    multiply: "∂(a · b)/∂a = b",
    divide: "∂(a / b)/∂a = 1 / b and ∂(a / b)/∂b = -(a / b) / b",
    exp: "(eˣ)' = eˣ, which is y itself",
    log: "(log x)' = 1 / x",
    sqrt: "(√x)' = 1 / (2 √x)",
    tanh: "φ' = 1 - φ² for φ = tanh",
    sigmoid: "φ' = φ · (1 - φ) for the sigmoid φ",
    relu: "φ' is 1 where the neuron is active, 0 where it is not",
    gelu: "φ(x) = x Φ(x), so φ' = Φ + x Φ', where Φ' is the normal density",
    silu: "φ(x) = x s(x), so φ' = s + x s (1 - s)",
    sign: "it is constant wherever it is continuous",
    maximum: "only the larger one moves the maximum",
    where: "an element that was not chosen has no influence, so nothing is sent back to it",
    stop_gradient: "the value counts as a constant here",
    ops.sum: "each term moves the sum by as much as it moves itself, so each gets the whole δ",
    mean: "each of the n elements moves their mean by 1/n of its own change",
    variance: "∂σ²/∂xᵢ = 2/n · (xᵢ - μ); what xᵢ does to μ cancels",
    ops.max: "only the largest element moves the maximum",
    logsumexp: "∂ log Σ eˣ / ∂xᵢ = eˣⁱ / Σ eˣ, the softmax",
    matmul: "Y = A B is linear in both: y_ij = Σ_k a_ik b_kj, so δ Bᵀ is sent back to A and Aᵀ δ "
    "to B",
    softmax: "every weight depends on every score of its row: ∂y_i/∂x_j = y_i · ([i = j] - y_j); "
    "summed over i this is y_j · (δ_j - Σ_i δ_i y_i)",
    log_softmax: "∂ log p_i / ∂x_j = [i = j] - p_j",
    standardise: "x moves its own y, and through μ and σ every y of its row: the two means are "
    "what μ and σ take away; σ² = 1/n Σ (x - μ)², with the 1/n that the lecture's slide leaves out",
    cross_entropy: "the loss of a row is log Σ eˣ - Σ q x; its first part has the derivative "
    "eˣ / Σ eˣ = softmax(x) = p, its second -q: together p - q",
    half_squared_error: "(½ e²)' = e for every error e = x₁ - x₂: the ½ is there for that",
    gather: "a row that was looked up several times gets the sum of all that is sent back",
    reshape: _UNCHANGED,
    transpose: _UNCHANGED,
    concatenate: "each part gets back its part of δ",
    ops.slice: "elements outside the window have no influence",
    unslice: "only the window is x",
    unslice_all: "each value moves its own window, by as much as it moves itself",
    broadcast_to: "one number used many times gets the sum of all that is sent back",
}


NOTES: dict[Operation, str] = {
    standardise: "μ = 1/n Σ x, σ² = 1/n Σ (x - μ)²: the lecture's slide leaves out the 1/n of σ²",
}
"""What the symbols of a formula stand for, where the formula does not say it."""


def note_of(operation: Operation) -> str:
    """The note to the formula of an operation; empty if it has none."""
    return NOTES.get(operation, "")


def reason(operation: Operation) -> str:
    """The sentence for an operation; empty if it has none."""
    return REASONS.get(operation, "")
