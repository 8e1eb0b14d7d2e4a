"""Random programs in the loop language, over every kind of statement and expression.

Every number in them has a type, so that Python computes with NumPy's scalars as the language does.
"""

from __future__ import annotations

import numpy as np
from loop_texts import kernel


class RandomProgram:
    """A program over float64 and int64 variables: equal seeds give equal programs.

    It calls `halved` (of a float), `exact` (of two) and `divided` (of two integers), which the
    library that it is run with has to have.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.lines: list[str] = []
        self.counters = 0

    def one_of(self, *choices: str) -> str:
        return choices[int(self.random.integers(len(choices)))]

    def real(self, depth: int) -> str:
        if depth == 0:
            number = self.one_of("0.5", "-0.0", "3.0", "1e300", "1e-300", "inf")
            return self.one_of("x", "y", "z", f"a[{self.random.integers(8)}]", f"float64({number})")
        a, b = self.real(depth - 1), self.real(depth - 1)
        return self.one_of(
            f"({a} + {b})",
            f"({a} - {b})",
            f"({a} * {b})",
            f"({a} / {b})",
            f"max({a}, {b})",
            f"min({a}, {b})",
            f"abs({a})",
            f"-({a})",
            f"sqrt(abs({a}))",
            f"floor({a})",
            f"where({self.truth(depth - 1)}, {a}, {b})",
            f"({a} if {self.truth(depth - 1)} else {b})",
            f"float64({self.whole(depth - 1)})",
            f"halved({a})",
            f"exact({a}, {b})",
        )

    def whole(self, depth: int) -> str:
        if depth == 0:
            return self.one_of("k", "j", f"int64({self.random.integers(-9, 9)})")
        a, b, small = self.whole(depth - 1), self.whole(depth - 1), self.random.integers(1, 9)
        return self.one_of(
            f"({a} + {b})",
            f"({a} - {b})",
            f"({a} * {b})",
            f"({a} & {b})",
            f"({a} | {b})",
            f"({a} ^ {b})",
            f"({a} // int64({small}))",
            f"({a} % int64({small}))",
            f"~{a}",
            f"({a} >> int64({small}))",
            f"({a} << int64({small}))",
            f"int64({self.truth(depth - 1)})",
            f"min({a}, {b})",
            f"divided({a}, int64({small}))[{self.random.integers(2)}]",
        )

    def truth(self, depth: int) -> str:
        kind = self.one_of("real", "whole")
        a, b = (getattr(self, kind)(max(depth, 0)) for _ in range(2))
        relation = f"({a} {self.one_of('<', '<=', '>', '>=', '==', '!=')} {b})"
        if depth <= 0 or self.random.random() < 0.5:
            return relation
        return f"({relation} {self.one_of('and', 'or', 'and not')} {self.truth(depth - 1)})"

    def statements(self, count: int, depth: int, indent: str = "") -> None:
        for _ in range(count):
            match self.one_of("real", "whole", "store", "swap", "augmented", "if", "for", "while"):
                case "real":
                    self.lines.append(f"{indent}{self.one_of('x', 'y', 'z')} = {self.real(2)}")
                case "whole":
                    self.lines.append(f"{indent}{self.one_of('k', 'j')} = {self.whole(2)}")
                case "store":
                    self.lines.append(f"{indent}out[{self.random.integers(8)}] = {self.real(1)}")
                case "swap":
                    self.lines.append(f"{indent}x, z = {self.real(1)}, {self.real(1)}")
                case "augmented":
                    self.lines.append(f"{indent}out[{self.random.integers(8)}] += {self.real(1)}")
                case kind if depth:
                    self.block(kind, depth, indent)

    def block(self, kind: str, depth: int, indent: str) -> None:
        self.counters += 1
        counter = f"i{self.counters}"
        if kind == "while":
            self.lines += [
                f"{indent}{counter} = int64(0)",
                f"{indent}while {counter} < 3:",
                f"{indent}    {counter} = {counter} + 1",
            ]
        elif kind == "for":
            self.lines.append(f"{indent}for {counter} in range({self.random.integers(5)}):")
            self.lines.append(f"{indent}    k = k + int64({counter})")
        else:
            self.lines += [f"{indent}if {self.truth(1)}:", f"{indent}    x = x"]
        self.statements(3, depth - 1, f"{indent}    ")
        if kind == "if":
            self.lines += [f"{indent}else:", f"{indent}    y = y"]
            self.statements(2, depth - 1, f"{indent}    ")

    def text(self) -> str:
        self.lines = ["x, y, z = a[0], a[1], a[2]", "k, j = int64(3), int64(-5)"]
        self.statements(12, 2)
        self.lines += [
            "out[0] = x",
            "out[1] = y",
            "out[2] = z",
            "out[3] = float64(k)",
            "out[4] = float64(j)",
        ]
        return kernel("\n".join(self.lines), "out: float64, 8", "a: float64, 8")
