"""Parses the formulas of operations to trees, which the page turns into MathML.

An operation writes its formula as a line of text (`δ · (1 - y²)`, `eˣ / Σ eˣ`), in which x and x₁,
x₂, … are the heads, y the result and δ its delta. The parser returns a tree of plain lists:

    ["row", …]  ["/", above, below]  ["^", base, above]  ["√", inside]  ["(", …]
    ["x", n]    head number n (-1: the head that the rule is for)     ["*"]  all heads
    ["y"]  ["δ"]  ["i", name]  ["f", function]  ["n", number]  ["o", operator]  ["t", words]

The page replaces x, y and δ by nodes, so a formula is stored once for all nodes that share it, and
a name in it is a link. The parser is lenient: text that is not mathematics becomes words, and every
formula has a tree. Nothing is computed from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Tree = list[object]

_TOKEN = re.compile(
    r"\s*(?:(?P<heads>x₁, x₂, …)|(?P<number>\d+(?:\.\d+)?)|(?P<head>x[₁-₉ᵢ])|(?P<power>[²³ᵀˣʸ])"
    r"|(?P<named>[A-Z]_[a-z])|(?P<word>[^\W\d_²³ᵀˣʸ]+)|(?P<sign>.))"
)
_LETTERS = frozenset("nqstpwcμσεπΦ")
_FUNCTIONS = frozenset(
    [
        "exp",
        "log",
        "tanh",
        "sin",
        "cos",
        "erf",
        "sign",
        "max",
        "min",
        "mean",
        "softmax",
        "sigmoid",
        "relu",
        "sqrt",
    ]
)
_OPERATORS = {
    "-": "−",
    "·": "·",
    "+": "+",
    "=": "=",
    "<": "<",
    ">": ">",
    "≤": "≤",
    "≥": "≥",
    "≠": "≠",
    "∧": "∧",
    "∨": "∨",
    "¬": "¬",
    "Σ": "Σ",
    "∂": "∂",
    "|": "|",
}
_SUMS = frozenset("+-=<>≤≥≠∧∨")
_POWERS: dict[str, Tree] = {
    "²": ["n", "2"],
    "³": ["n", "3"],
    "ᵀ": ["o", "⊤"],
    "ˣ": ["x", -1],
    "ʸ": ["y"],
}
_DEEPEST = 20  # nested brackets, roots, fractions and powers; deeper ones become text


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    tight: bool
    """Whether no space is before it."""


def formula_tree(text: str) -> Tree:
    """The tree of a formula as an operation writes it."""
    tokens = [
        _Token(match.lastgroup or "sign", match[match.lastgroup or 0], match[0][:1].strip() != "")
        for match in _TOKEN.finditer(text)
    ]
    parser = _FormulaParser(tokens)
    parts: list[Tree] = []
    while parser.left:
        parts += parser.line(0)
        if parser.left:  # a closing bracket without an opening one
            parts.append(["o", parser.take().text])
    return _row(parts)


class _FormulaParser:
    """A recursive descent parser: a line is a sum, a sum has products, a product has factors."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens, self.position = tokens, 0

    @property
    def left(self) -> bool:
        """Whether there are more tokens."""
        return self.position < len(self.tokens)

    @property
    def next(self) -> _Token:
        """The next token, which is not consumed."""
        return self.tokens[self.position] if self.left else _Token("end", "", False)

    def take(self) -> _Token:
        """Consumes the next token."""
        token = self.next
        self.position += 1
        return token

    def line(self, depth: int) -> list[Tree]:
        """Everything up to a closing bracket or the end."""
        parts: list[Tree] = []
        while self.left and self.next.text != ")":
            if self.next.text in _SUMS:
                parts.append(["o", _OPERATORS[self.take().text]])
            elif self.next.text in (",", ";"):
                parts.append(["t", self.take().text])
            else:
                parts += self.product(depth)
        return parts

    def product(self, depth: int) -> list[Tree]:
        """Adjacent factors; a division with spaces around it divides all factors before it."""
        parts: list[Tree] = []
        fractions = 0
        while self.left and not self._ends_product():
            token = self.next
            if token.text == "/" and fractions < _DEEPEST:
                self.take()
                fractions += 1
                wide = not token.tight
                below = self.factors(depth) if wide else [self.power(depth)]
                start = 0 if wide else max(len(parts) - 1, 0)
                parts[start:] = [["/", _row(_open(parts[start:])), _row(_open(below))]]
            elif token.text == "·":
                self.take()
                parts.append(["o", "·"])
            else:
                parts.append(self.power(depth))
        return parts

    def factors(self, depth: int) -> list[Tree]:
        """The denominator of a division with spaces: factors without a dot between them."""
        parts: list[Tree] = []
        while self.left and not self._ends_product() and self.next.text not in ("·", "/"):
            parts.append(self.power(depth))
        return parts

    def power(self, depth: int) -> Tree:
        base = self.factor(depth)
        for _ in range(_DEEPEST):
            if self.next.kind != "power" and self.next.text != "^":
                break
            token = self.take()
            above = _POWERS[token.text] if token.kind == "power" else self._exponent(depth)
            base = ["^", base, above]
        return base

    def _exponent(self, depth: int) -> Tree:
        signs: list[Tree] = [["o", "−"]] if self.next.text == "-" and self.take() else []
        return _row([*signs, *_open([self.factor(depth)])])

    def factor(self, depth: int) -> Tree:
        """One factor: a symbol, a number, a bracket, a root."""
        token = self.take()
        if token.kind == "heads":
            return ["*"]
        if token.kind == "head":
            return ["x", "₁₂₃₄₅₆₇₈₉".find(token.text[1])]
        if token.kind == "number":
            return ["n", token.text]
        if token.kind == "power":
            return ["t", token.text]
        if token.kind == "named":
            return ["i", token.text]
        if token.kind == "word":
            return _word(token.text)
        if token.text == "√" and depth < _DEEPEST:
            return ["√", _row(_open([self.power(depth + 1)]))]
        if token.text == "(" and depth < _DEEPEST:
            inside = self.line(depth + 1)
            if self.left:
                self.take()
            return ["(", *inside]
        return ["o", _OPERATORS[token.text]] if token.text in _OPERATORS else ["t", token.text]

    def _ends_product(self) -> bool:
        token = self.next
        return token.text in _SUMS or token.text in (")", ",", ";")


def _word(text: str) -> Tree:
    if text == "x":
        return ["x", -1]
    if text in ("y", "δ"):
        return [text]
    if text == "Σ":
        return ["o", "Σ"]
    if text in _LETTERS or text == "e":
        return ["i", text]
    return ["f", text] if text in _FUNCTIONS else ["t", text]


def _open(parts: list[Tree]) -> list[Tree]:
    """Removes the brackets of a numerator or denominator that is one bracket."""
    if len(parts) != 1 or parts[0][0] != "(":
        return parts
    return [part for part in parts[0][1:] if isinstance(part, list)]


def _row(parts: list[Tree]) -> Tree:
    """Combines several trees into one; adjacent words become one text."""
    joined: list[Tree] = []
    for part in parts:
        if joined and part[0] == joined[-1][0] == "t" and part[1] not in (",", ";"):
            joined[-1] = ["t", f"{joined[-1][1]} {part[1]}"]
        else:
            joined.append(part)
    parts = joined
    return parts[0] if len(parts) == 1 else ["row", *parts]
