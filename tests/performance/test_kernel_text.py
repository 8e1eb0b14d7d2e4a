"""A kernel is shown with the lines that call it, what they take in, and its text."""

import platform

import pytest

import graphgrad as gg
from graphgrad.compile import compile
from graphgrad.errors import UnknownNameError
from graphgrad.performance.kernel_text import kernel_text

pytest.importorskip("llvmlite", reason="kernels are compiled by LLVM")
pytestmark = pytest.mark.usefixtures("small_kernels")


def program_of(fuse: bool = True):
    x, outputs = gg.input("x", (8, 16)), {}
    w = gg.parameter("w", (16, 16), gg.normal(1.0))
    for layer in ("first", "second\n<b>"):
        with gg.scope(layer.replace("\n<b>", "")):
            x = gg.tanh(gg.matmul(x, w) * 2.0, name="y")
        outputs[layer] = x
    return compile(gg.Graph(outputs), fuse=fuse).program()


def test_equal_layers_share_a_kernel_that_names_both():
    program = program_of()
    (name,) = program.kernels
    head, text = kernel_text(program, name).split("\n\n", 1)
    assert text == program.kernels[name]
    title, *calls = head.splitlines()
    assert title == f"# {name}, called by these lines of the program:"
    lines = program.source.splitlines()
    for call, layer in zip(calls, ("first", "second"), strict=True):
        line, _, rest = call.removeprefix("#   line ").partition(": ")
        assert f"op.{name}(" in lines[int(line) - 1]
        assert rest == f"{layer}.y  (multiply, tanh)"


def test_its_assembly_is_of_this_processor():
    program = program_of()
    (name,) = program.kernels
    code = program.assembly(name)
    assert "kernel:" in code
    if platform.machine() in ("x86_64", "AMD64"):
        assert "ret" in code and "mm" in code


def test_a_wrong_name_is_answered_with_the_right_ones():
    program = program_of()
    (name,) = program.kernels
    with pytest.raises(UnknownNameError, match=f"(?s)kernel_77.*did you mean '{name}'"):
        kernel_text(program, "kernel_77")
    with pytest.raises(UnknownNameError, match=f"(?s)'a'.*it calls {name}"):
        kernel_text(program, "a")
    with pytest.raises(UnknownNameError, match=r"(?s)without kernels"):
        kernel_text(program_of(fuse=False), name)
