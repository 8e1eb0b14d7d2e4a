"""The one family of errors that a user is meant to read.

Every message answers three questions: what is wrong, where it was declared or read, and what the
likely fix is. The command line prints such an error without a traceback and exits with code 2;
anything else that escapes is a bug of graphgrad and keeps its traceback.
"""


class GraphgradError(Exception):
    """Base of all errors with a message for the user.

    `problem` says what is wrong and `fix` the likely remedy, which may be empty. `where` is
    anything whose text names the place: the origin of a node, a file, a name; None is unknown.
    """

    def __init__(self, problem: str, where: object = None, fix: str = "") -> None:
        self.problem, self.fix = problem, fix
        self.where = "" if where is None else str(where)
        parts = [problem]
        if self.where:
            parts.append(f"  where: {self.where}")
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
