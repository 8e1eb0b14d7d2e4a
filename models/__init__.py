"""Built-in models, each declared from layers in one file; `BUILTIN` maps their names to them."""

from collections.abc import Mapping
from types import ModuleType

from graphgrad.models import attention, bert, feedforward, gpt, transformer

BUILTIN: Mapping[str, ModuleType] = {
    "transformer": transformer,
    "gpt": gpt,
    "bert": bert,
    "feedforward": feedforward,
    "attention": attention,
}
