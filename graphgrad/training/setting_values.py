"""Reads the values of settings, and says which of them make sense."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.text import suggestion

_DIGITS = 30  # of a whole number that is written as 1e3


def read_value(key: str, value: Any, default: Any, where: str) -> Any:
    """The value of a setting, from a text or of JSON, as the type of its default."""
    wanted = type(default)
    try:
        if wanted is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
                str(value).lower()
            ]
        if wanted is int and isinstance(value, float) and value != int(value):
            raise ValueError
        if isinstance(value, bool) or (wanted is str and not isinstance(value, str)):
            raise ValueError
        if wanted is int and isinstance(value, str):
            return _integer(value)
        return wanted(value)
    except (KeyError, ValueError, TypeError, ArithmeticError):
        raise ConfigurationError(
            f"setting {key}: {value!r} is not {_article(wanted)}",
            where,
            f"the default is {default!r}",
        ) from None


def _integer(text: str) -> int:
    """A whole number, written out or as `1e3`. Raises ValueError for anything else."""
    try:
        return int(text)
    except ValueError:
        number = Decimal(text) if len(text) < _DIGITS else None
    if number is None or not number.is_finite() or number.adjusted() >= _DIGITS:
        raise ValueError
    if number != number.to_integral_value():
        raise ValueError
    return int(number)


def _article(wanted: type) -> str:
    return {int: "an integer", float: "a number", bool: "true or false"}.get(wanted, "a text")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """ConfigurationError unless the value is one of the choices."""
    if value not in choices:
        raise ConfigurationError(
            f"{name} must be one of {', '.join(choices)}, not {value!r}",
            fix=suggestion(value, choices, "choose of"),
        )


def at_least(name: str, value: float, least: float) -> None:
    """ConfigurationError unless value >= least (NaN is not)."""
    if not value >= least:
        raise out_of_range(name, f"at least {least}", value, str(least))


def below(name: str, value: float, limit: int) -> None:
    """ConfigurationError unless value < limit."""
    if not value < limit:
        raise out_of_range(name, f"below {limit:,}", value, "3")


def below_one(name: str, value: float) -> None:
    """ConfigurationError unless 0 <= value < 1, as rates of decay and of dropout are."""
    if not 0 <= value < 1:
        raise out_of_range(name, "at least 0 and below 1", value, "0.1")


def out_of_range(name: str, wanted: str, value: float, example: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} must be {wanted}, not {value}", fix=f"for example --set {name}={example}"
    )
