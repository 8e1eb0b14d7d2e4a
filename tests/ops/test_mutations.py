"""The delta check can fail: every broken rule is noticed. The table is `python tests/mutate.py`."""

from __future__ import annotations

import pytest
from delta_check import has_deltas
from mutate import mutants

from graphgrad.ops import ALL_OPERATIONS

MUTANTS = list(mutants())


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=lambda m: f"{m.operation.name}-{m.place}-{m.change.replace(' ', '_')}"
)
def test_a_broken_delta_rule_is_noticed(mutant):
    assert mutant.is_noticed()


def test_every_rule_has_mutants():
    with_deltas = {
        operation
        for operation in ALL_OPERATIONS
        if any(has_deltas(operation, number) for number in range(len(operation.samples)))
    }
    assert {mutant.operation for mutant in MUTANTS} == with_deltas
