"""Keeps the rates of products with a run, so that a resumed run has the same bits.

A product is computed by our own kernel or by NumPy's BLAS, whichever was faster when this machine
was measured (backends/numpy/product_choice.py), and the two round differently. The rates that a run
began with are in its folder, in `products.json`, and decide when it is resumed: also where those of
the machine have been measured anew, and on another machine, which is said.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphgrad.backends import Rates, read_rates
from graphgrad.compile import Compiled
from graphgrad.errors import DataError
from graphgrad.training.environment import processor_name
from graphgrad.training.run_folder import RunFolder

PRODUCTS = "products.json"


@dataclass
class KeptRates:
    """The rates of a run, and what is to be said of them."""

    folder: RunFolder
    rates: Rates | None = None
    note: str = ""

    @classmethod
    def read(cls, folder: RunFolder) -> KeptRates:
        """The rates that a run keeps; none if it has used none yet."""
        if not (folder.path / PRODUCTS).exists():
            return cls(folder)
        try:
            kept = folder.read_json(PRODUCTS)
        except DataError:
            kept = None
        rates = read_rates(kept.get("rates")) if isinstance(kept, dict) else None
        if rates is None:
            note = (
                f"note: {PRODUCTS} is damaged: products are computed as is fastest on this machine"
            )
            return cls(folder, None, f"{note}, and results may be rounded otherwise than before")
        here, there = processor_name(), kept.get("processor")
        if here == there:
            return cls(folder, rates)
        note = f"note: the run began on {there}, and this is {here}: products are computed by what"
        return cls(folder, rates, f"{note} was faster there, and results may be rounded otherwise")

    def keep(self, compiled: Compiled) -> None:
        """Writes the rates that the programs of a run go by, once they do."""
        if self.rates is None and compiled.product_rates is not None:
            self.rates = compiled.product_rates
            value = {"processor": processor_name(), "rates": dict(self.rates)}
            self.folder.write_json(PRODUCTS, value)
