"""The before and after in the docstring of every pass is what the pass does."""

from __future__ import annotations

import doctest
import sys

import pytest

from graphgrad.passes import (
    FUSING_PASSES,
    PASSES,
    SPECIALISED_PASSES,
    mixed_precision,
    specialise,
)
from graphgrad.passes.surgery import surgery

EVERY = dict.fromkeys(
    [*PASSES, *SPECIALISED_PASSES, *FUSING_PASSES, specialise, surgery, mixed_precision]
)


@pytest.mark.parametrize("rewrite", EVERY, ids=lambda rewrite: rewrite.__name__)
def test_the_graphs_before_and_after(rewrite):
    module = sys.modules[rewrite.__module__]
    assert "efore and after" in module.__doc__
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    example = doctest.DocTestParser().get_doctest(
        module.__doc__, vars(module).copy(), module.__name__, module.__file__, 0
    )
    assert len(example.examples) >= 4
    report: list[str] = []
    assert not runner.run(example, out=report.append).failed, "".join(report)
