"""What a library does to a matrix product in the same launch: the epilogues of cublasLt, as data.

    BIAS             D = A·B + bias, one number of it for each row of D
    RELU, GELU       D = φ(A·B); with BIAS, φ(A·B + bias). GELU is the tanh form, gelu_tanh
    …_AUX            and keeps what the delta needs: of ReLU one bit for each element, of GELU φ's
                     argument
    DRELU, DGELU     D = φ'(argument) · A·B, by what AUX kept; with BGRAD also the sum of each row
                     of D, which is the delta of the bias
    BGRADA, BGRADB   D = A·B, and the sums of A over its columns, or of B over its rows

D, A and B are matrices as BLAS reads them, column by column: what is a row there is a feature of a
layer's output, whose elements lie row by row. Names and numbers are those of `cublasLtEpilogue_t`.
"""

from __future__ import annotations

from enum import IntEnum

AUX_BITS = 128
"""The columns of ReLU's bits begin at multiples of so many."""


class Epilogue(IntEnum):
    """An epilogue; the bits of its number are its parts."""

    DEFAULT = 1
    RELU = 2
    RELU_AUX = 130
    BIAS = 4
    RELU_BIAS = 6
    RELU_AUX_BIAS = 134
    DRELU = 136
    DRELU_BGRAD = 152
    GELU = 32
    GELU_AUX = 160
    GELU_BIAS = 36
    GELU_AUX_BIAS = 164
    DGELU = 192
    DGELU_BGRAD = 208
    BGRADA = 256
    BGRADB = 512

    @property
    def adds_bias(self) -> bool:
        """Whether a bias is read."""
        return bool(self & 4)

    @property
    def activation(self) -> str:
        """The operation whose value or delta it computes; empty where there is none."""
        return "relu" if self & 10 else "gelu_tanh" if self & 96 else ""

    @property
    def is_delta(self) -> bool:
        """Whether it computes the delta of the activation."""
        return bool(self & 72)

    @property
    def has_aux(self) -> bool:
        """Whether there is an auxiliary buffer: written with a value, read with a delta."""
        return bool(self & 128)

    @property
    def sums(self) -> str:
        """What is added up: "result", "left" or "right"; empty where nothing is."""
        return {16: "result", 256: "left", 512: "right"}.get(self & 784, "")

    @property
    def has_vector(self) -> bool:
        """Whether there is a vector: a bias that is read, or sums that are written."""
        return self.adds_bias or bool(self.sums)


def aux_leading(rows: int) -> int:
    """How many bits lie between the columns of ReLU's."""
    return -(-rows // AUX_BITS) * AUX_BITS


def aux_bytes(rows: int, columns: int) -> int:
    """The bytes of ReLU's bits."""
    return aux_leading(rows) * columns // 8
