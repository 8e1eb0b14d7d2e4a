"""A small training by `graphgrad train`: its data, its words, and the error of a refused one."""

from graphgrad.tools.main import main

SOURCE = ["one", "two", "three", "four", "five", "six"]
TARGET = dict(zip(SOURCE, ["eins", "zwei", "drei", "vier", "fünf", "sechs"], strict=True))
LINES = [" ".join(SOURCE[(n * k + k) % 6] for k in range(1, n % 4 + 2)) for n in range(60)]
SMALL = [
    "layers=1",
    "width=16",
    "heads=2",
    "inner=16",
    "batch_size=4",
    "steps=12",
    "warmup=2",
    "checkpoint_every=5",
    "tokens=whitespace",
]


def write_lines(folder):
    translated = [" ".join(TARGET[word] for word in line.split()) for line in LINES]
    (folder / "train.en").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    (folder / "train.de").write_text("\n".join(translated) + "\n", encoding="utf-8")


def sets(*values):
    return [part for value in values for part in ("--set", value)]


def begin(*values, folder="run"):
    """The words of a training on the two files, with these settings."""
    files = ["--source", "train.en", "--target", "train.de"]
    return ["train", "transformer", *files, "--run", folder, *sets(*SMALL, *values)]


def refused(capsys, arguments):
    """The one error of a command that ends with 2."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"graphgrad {arguments[0]}: ")
    assert error.count("graphgrad train: ") == 1
    assert "Traceback" not in error
    assert "\n  fix:   " in error
    return error


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
