"""Built-in models, each declared from layers in one file; `BUILTIN` maps their names to them."""

from collections.abc import Mapping
from types import ModuleType

from graphgrad.models import attention, feedforward, transformer

BUILTIN: Mapping[str, ModuleType] = {
    "transformer": transformer,
    "feedforward": feedforward,
    "attention": attention,
}
