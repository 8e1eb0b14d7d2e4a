"""Built-in models, each declared from layers in one file; `BUILTIN` maps their names to them."""

from collections.abc import Mapping
from types import ModuleType

from graphgrad.models import attention, feedforward, gpt, transformer

BUILTIN: Mapping[str, ModuleType] = {
    "transformer": transformer,
    "gpt": gpt,
    "feedforward": feedforward,
    "attention": attention,
}
