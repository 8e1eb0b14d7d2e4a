"""Prints a loop nest as a kernel in CUDA C, statement by statement as loop_text.py does for the
CPU.

    extern "C" __global__ void __launch_bounds__(256) kernel(
        const long long rows,
        const long long height,
        const float* m1,                                   an argument, all of it
        float* r8)                                         an output, all of it
    {
        const int lane = threadIdx.x % 32;                 which thread of its group this is
        const long long group = …, first = …, last = …;    the rows of the group
        if (first >= rows) return;
        for (long long row = first; row < last; ++row) {
            const float* a1 = m1 + row * 128;              a row of the argument
            float* o8 = r8 + row * 128;
            float t4[4];                                   what a later loop reads back
            float v0 = -infinity(0.0f);
            for (int item = 0; item < 1; ++item) {
                const int column = (item * 32 + lane) * 4;
                const Pack<float, 4> x1 = load<4>(a1 + column);
                for (int k = 0; k < 4; ++k)
                    v0 = maximum(v0, x1.at[k]);
            }
            v0 = over_group<32>(v0, Larger(), nullptr);    the largest of all threads of the group
            …

A letter says what loop_text.py says it does; y is `width` elements of an output. All parameters
have 64 bits. `geometry.py` says which thread does what; where loops are flat, a thread finds its
row and column from its number.

The number of columns is in the text, that of the rows is not. Equal loops give equal text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphgrad.backends.arguments import Address, KernelArgument, MaskStream, PartialSums, RowTable
from graphgrad.backends.cupy.expressions import number
from graphgrad.backends.cupy.geometry import WARP, Geometry, geometry_of, merged
from graphgrad.backends.cupy.statement_text import StatementText, indented
from graphgrad.fusion.reading import Role
from graphgrad.fusion.statements import Argument, Loops, Mask


@dataclass(frozen=True)
class Kernel:
    """A kernel in CUDA C, called `kernel` in its text, and what it has to be given."""

    text: str
    words: tuple[KernelArgument, ...]
    geometry: Geometry


def print_nest(
    loops: Loops, in_place: Mapping[int, int] | None = None, aligned: bool = True
) -> Kernel:
    """The kernel of a loop nest; `in_place` maps an output to the argument whose memory it takes.

    `aligned` says that every array begins at a multiple of 16 bytes.
    """
    return _Printer(loops, in_place or {}, geometry_of(loops, aligned)).printed()


class _Printer:
    def __init__(self, loops: Loops, in_place: Mapping[int, int], geometry: Geometry) -> None:
        self.loops, self.in_place, self.geometry = loops, in_place, geometry
        self.columns, self.width = loops.columns, geometry.width
        self.text = StatementText(loops, in_place, geometry)
        self.words: list[KernelArgument] = []
        self.parameters: list[str] = []
        self.once: list[str] = []
        """What is done before all rows, for each row, behind all rows."""
        self.per_row: list[str] = []
        self.after: list[str] = []

    def printed(self) -> Kernel:
        geometry, loops = self.geometry, self.loops
        if self.text.by_number:
            self._parameter("const long long count", loops.rows * loops.columns)
        else:
            self._parameter("const long long rows", loops.rows)
        if geometry.chunk:
            self._parameter("const long long chunk", geometry.chunk)
        elif not geometry.flat:
            self._parameter("const long long height", geometry.height)
        for argument in loops.arguments:
            if isinstance(argument, Mask):
                self._mask(argument)
            else:
                self._argument(argument)
        for value in loops.kept:
            self._kept(value)
        for place, value in enumerate(loops.partial_sums):
            self._collected(value, place)
        body = [
            line
            for stage in loops.stages
            for statement, sums in merged(stage)
            for line in self.text.statement(statement, sums)
        ]
        form = self._totals if geometry.chunk else self._flat if geometry.flat else self._rows
        whole = form(body)
        # two blocks at once, where threads would take so many registers that one has room alone
        bounds = f"{geometry.block}, 2" if geometry.joined else str(geometry.block)
        head = f'extern "C" __global__ void __launch_bounds__({bounds}) kernel('
        parameters = ",\n".join(f"    {parameter}" for parameter in self.parameters)
        lines = [head, f"{parameters})", "{", *indented(whole), "}", ""]
        return Kernel("\n".join(lines), tuple(self.words), geometry)

    def _flat(self, body: Sequence[str]) -> list[str]:
        """One thread for `width` elements."""
        place = f"(blockIdx.x * {self.geometry.block}LL + threadIdx.x) * {self.width}"
        count = "count" if self.text.by_number else f"rows * {self.columns}"
        lines = [
            f"const long long element = {place};",
            f"if (element >= {count}) return;",
        ]
        if not self.text.by_number:
            lines.append(f"const long long row = element / {self.columns};")
            lines.append(f"const int column = int(element - row * {self.columns});")
        return [*lines, *self.once, *self.per_row, *body]

    def _totals(self, body: Sequence[str]) -> list[str]:
        """A stretch of elements for each block, `width` a thread and turn."""
        block = self.geometry.block
        return [
            f"__shared__ long long shared[{block // WARP}];",
            "const int lane = threadIdx.x;",
            "const long long group = blockIdx.x;",
            "const long long last = minimum((group + 1) * chunk, count);",
            f"const long long first = group * chunk + lane * {self.width};",
            *self.once,
            f"for (long long element = first; element < last; element += {block * self.width}) {{",
            *indented([*self.per_row, *body]),
            "}",
            *self.after,
        ]

    def _rows(self, body: Sequence[str]) -> list[str]:
        """A group of threads for each row."""
        geometry = self.geometry
        threads, groups = geometry.threads, geometry.groups
        lines = [f"const int lane = threadIdx.x % {threads};"]
        if any(", shared)" in line for line in (*body, *self.after)):
            lines.append(f"__shared__ long long shared[{threads // WARP}];")
        if threads > WARP:
            lines.append("const long long group = blockIdx.x;")
        else:
            place = f"blockIdx.x * {groups}LL + threadIdx.x / {threads}"
            lines.append(f"const long long group = {place};")
        lines += [
            "const long long first = group * height;",
            "const long long last = minimum(first + height, rows);",
            # whole groups leave, so no barrier waits for them
            *([] if geometry.joined else ["if (first >= rows) return;"]),
            *self.once,
            "for (long long row = first; row < last; ++row) {",
            *indented([*self.per_row, *body]),
            "}",
            *self.after,
        ]
        return lines

    def _parameter(self, declared: str, word: KernelArgument) -> None:
        self.parameters.append(declared)
        self.words.append(word)

    def _mask(self, mask: Mask) -> None:
        n = mask.value
        for what, value in (("seed", mask.seed), ("step", mask.step)):
            self._parameter(f"const {self.text.type_of(value)}* {what}{n}", Address(value))
        self._parameter(f"const long long stream{n}", MaskStream(n))

    def _argument(self, argument: Argument) -> None:
        n, form = argument.value, self.loops.role(argument.value)
        written = n in self.in_place.values()
        const = "" if written else "const "
        self._parameter(f"{const}{self.text.type_of(n)}* m{n}", Address(n))
        row = "row"
        if form in (Role.INDEXED, Role.INDEXED_ROW):
            self._parameter(f"const int* i{n}", RowTable(argument.leading, self.loops.space))
            row = f"i{n}[row]"
        if form == Role.SCALAR:
            self.once.append(f"const {self.text.type_of(n)} s{n} = m{n}[0];")
        elif form in (Role.ROW, Role.INDEXED_ROW):
            self.per_row.append(f"const {self.text.type_of(n)} s{n} = m{n}[{row}];")
        elif form == Role.VECTOR:
            self.once.append(f"const {self.text.type_of(n)}* a{n} = m{n};")
        elif not self.text.is_by_element(n):
            line = f"{const}{self.text.type_of(n)}* a{n} = m{n} + {row} * {self.columns}LL;"
            self.per_row.append(line)

    def _kept(self, value: int) -> None:
        if value in self.in_place:
            if not self.text.is_by_element(value):
                self.per_row.append(
                    f"{self.text.type_of(value)}* o{value} = a{self.in_place[value]};"
                )
            return
        self._parameter(f"{self.text.type_of(value)}* r{value}", Address(value))
        if self.loops.role(value) == Role.FULL and not self.text.is_by_element(value):
            line = f"{self.text.type_of(value)}* o{value} = r{value} + row * {self.columns}LL;"
            self.per_row.append(line)

    def _collected(self, value: int, place: int) -> None:
        kind, dtype = self.text.type_of(value), self.loops.values[value].dtype
        self._parameter(f"{kind}* q{value}", PartialSums(place))
        if self.loops.role(value) == Role.COLUMN:
            own = self.text.place_of_own()
            self.once.append(f"{kind} p{value}[{self.text.own}] = {{}};")
            if self.geometry.joined:
                self.after += self._joined_parts(value, kind)
                return
            self.after += self.text.over_columns(
                [f"q{value}[group * {self.columns}LL + column + k] = p{value}[{own}];"]
            )
        else:
            zero = number(0, dtype)
            self.once.append(f"{kind} total{value} = {zero}, lost{value} = {zero};")
            settled = f"settled(total{value}, lost{value})"
            self.after += [
                f"total{value} = {self.text.over_group(settled, 'Plus')};",
                f"if (lane == 0) q{value}[group] = total{value};",
            ]

    def _joined_parts(self, value: int, kind: str) -> list[str]:
        """Adds up what the groups of a block have collected, in their order, turn by turn."""
        geometry = self.geometry
        turn, groups = geometry.threads * self.width, geometry.groups
        place = f"item * {self.width} + k" if self.width > 1 else "item"
        return [
            f"__shared__ {kind} those{value}[{groups}][{turn}];",
            "#pragma unroll",
            f"for (int item = 0; item < {geometry.items}; ++item) {{",
            *indented(
                [
                    "#pragma unroll",
                    f"for (int k = 0; k < {self.width}; ++k)",
                    f"    those{value}[threadIdx.x / {geometry.threads}][lane * {self.width} + k] ="
                    f" p{value}[{place}];",
                    "__syncthreads();",
                    f"for (int its = threadIdx.x; its < {turn}; its += {geometry.block}) {{",
                    f"    {kind} sum = those{value}[0][its];",
                    f"    for (int each = 1; each < {groups}; ++each)",
                    f"        sum = added(sum, those{value}[each][its]);",
                    f"    const int column = item * {turn} + its;",
                    f"    if (column < {self.columns})",
                    f"        q{value}[blockIdx.x * {self.columns}LL + column] = sum;",
                    "}",
                    "__syncthreads();",
                ]
            ),
            "}",
        ]
