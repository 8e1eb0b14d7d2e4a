"""The one family of errors that a user is meant to read.

Every message answers three questions: what is wrong, where it was declared or read, and what the
likely fix is. The command line prints such an error without a traceback and exits with code 2;
anything else that escapes is a bug of graphgrad and keeps its traceback.
"""

import difflib
from collections.abc import Iterable

_NEAR = 0.65  # how alike two names are, from 0 to 1, before one is taken for the other


class GraphgradError(Exception):
    """Base of all errors with a message for the user.

    ``problem`` says what is wrong, ``where`` names the place (file and line, file name, node name)
    and ``fix`` the likely remedy; the last two may be empty.
    """

    def __init__(self, problem: str, where: str = "", fix: str = "") -> None:
        self.problem, self.where, self.fix = problem, where, fix
        parts = [problem]
        if where:
            parts.append(f"  where: {where}")
        if fix:
            parts.append(f"  fix:   {fix}")
        super().__init__("\n".join(parts))


class DeclarationError(GraphgradError):
    """A graph was declared wrongly: shapes that do not fit, a dtype that an operation refuses."""


class UnknownNameError(GraphgradError):
    """A node, parameter, setting or model was asked for by a name that nothing answers to."""


class PassError(GraphgradError):
    """An optimisation pass broke the graph or changed a value; the message names the pass."""


class NonFiniteError(GraphgradError):
    """A value or a delta became NaN or infinite; the message names the first such node."""


class DataError(GraphgradError):
    """A data file is missing, empty, misaligned or not text."""


class CheckpointError(GraphgradError):
    """A checkpoint is missing, truncated or damaged."""


class ConfigurationError(GraphgradError):
    """A setting is unknown or has a value that makes no sense."""


class EnvironmentLimitError(GraphgradError):
    """The machine cannot do what was asked: a full disk, a missing program, too little memory."""


def suggestion(name: str, known: Iterable[str], listed: str) -> str:
    """The fix for a name that nothing answers to: the nearest that is known, where one is near,
    else all of them (``listed`` is what they are called)."""
    names = list(known)
    lower = {each.lower(): each for each in reversed(names)}
    near = difflib.get_close_matches(name.lower(), lower, 1, _NEAR)
    return f"did you mean {lower[near[0]]!r}?" if near else f"{listed}: {', '.join(names)}"
