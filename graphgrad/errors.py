"""The errors for users: what is wrong, where, and the likely fix.

The command line prints such an error without a traceback and exits with code 2. Any other exception
that reaches a user is a bug of graphgrad and keeps its traceback.
"""


class GraphgradError(Exception):
    """The base class of all errors with a message for the user.

    `problem` describes what is wrong and `fix` the likely remedy (it may be empty). The text of
    `where` is the location: the origin of a node, a file, a name; None if it is unknown.

    >>> try:
    ...     gg.Graph({"y": gg.input("x")})["z"]
    ... except gg.GraphgradError as error:
    ...     print(error)
    no node is called 'z'
      fix:   print the graph to see its names
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
    """A declaration is not valid: shapes do not fit, or an operation does not support a dtype.

    >>> try:
    ...     gg.input("x", (3, 4)) @ gg.input("w", (3, 2))
    ... except gg.DeclarationError as error:
    ...     print(error.problem)
    matmul(x: float32[3, 4], w: float32[3, 2]): [3, 4] times [3, 2]: the inner sizes 4 and 3 differ
    """


class UnknownNameError(GraphgradError):
    """There is no node, parameter, setting or model of the given name.

    >>> try:
    ...     gg.Graph({"hidden": gg.exp(gg.input("x"), name="hidden")})["hiden"]
    ... except gg.UnknownNameError as error:
    ...     print(error.fix)
    did you mean 'hidden'?
    """


class PassError(GraphgradError):
    """A pass has broken the graph or changed a value; the message names the pass."""


class NonFiniteError(GraphgradError):
    """A value or a delta became NaN or infinite; the message names the first such node.

    >>> run = gg.compile(gg.Graph({"y": gg.log(gg.input("x"), name="y")}), guards="y")
    >>> try:
    ...     run(x=-1.0)
    ... except gg.NonFiniteError as error:
    ...     print(error.problem)
    y is nan; no parameter was changed
    """


class DataError(GraphgradError):
    """Data is not valid: a file is missing, empty or not text, or an index is out of range.

    >>> rows = gg.gather(gg.parameter("table", (5, 2)), gg.input("ids", 2, "int32"))
    >>> run = gg.compile(gg.Graph({"rows": rows}))
    >>> try:
    ...     run(gg.initial_state(run.graph), ids=[3, 7])
    ... except gg.DataError as error:
    ...     print(error.problem)
    gather...: an index lies outside [0, 5): they reach from 3 to 7
    """


class CheckpointError(GraphgradError):
    """A file of saved state is missing, truncated or damaged.

    >>> try:
    ...     gg.load("missing.safetensors")
    ... except gg.CheckpointError as error:
    ...     print(error.problem)
    there is no such file
    """


class ConfigurationError(GraphgradError):
    """A setting is unknown or its value is not valid."""


class RanksError(GraphgradError):
    """Ranks that train together have lost each other, or differ in what they do."""


class EnvironmentLimitError(GraphgradError):
    """The machine lacks something: space on the disk, a program, memory."""
