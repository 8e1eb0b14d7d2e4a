"""Settings: every wrong key and value is refused by name, and what is right is read as meant."""

import math
from dataclasses import dataclass, fields, make_dataclass

import pytest

from graphgrad.errors import ConfigurationError
from graphgrad.models import BUILTIN
from graphgrad.training.settings import (
    TrainingSettings,
    meanings_of,
    with_assignments,
    with_values,
)


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """What a model adds: one of each type."""

    layers: int = 2
    tie: bool = False
    source: str = ""


def assigned(*texts):
    return with_assignments(Settings(), texts)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("steps=12", "steps", 12),
        (" steps = 12 ", "steps", 12),
        ("steps=1e3", "steps", 1000),
        ("steps=2.5E+2", "steps", 250),
        ("steps=7.0", "steps", 7),
        ("learning_rate=3e-4", "learning_rate", 3e-4),
        ("learning_rate=1", "learning_rate", 1.0),
        ("tie=true", "tie", True),
        ("tie=No", "tie", False),
        ("tie=1", "tie", True),
        ("source=a=b.txt", "source", "a=b.txt"),
        ("source=12", "source", "12"),
        ("source=", "source", ""),
    ],
)
def test_a_text_is_read_as_the_type_of_the_default(text, name, value):
    found = getattr(assigned(text), name)
    assert found == value and type(found) is type(value)


def test_the_last_assignment_of_a_key_counts_and_the_default_stays():
    before = Settings()
    assert with_assignments(before, ["steps=3", "steps=4"]).steps == 4
    assert before.steps == TrainingSettings().steps


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("layer", "layers"),
        ("learningrate", "learning_rate"),
        ("lr_rate", "learning_rate"),
        ("optimizer", "optimiser"),
        ("batchsize", "batch_size"),
    ],
)
def test_an_unknown_key_names_the_nearest(key, nearest):
    with pytest.raises(ConfigurationError) as error:
        assigned(f"{key}=1")
    assert repr(key) in error.value.problem
    assert error.value.fix == f"did you mean {nearest!r}?"


def test_a_key_like_no_other_gets_the_list():
    with pytest.raises(ConfigurationError) as error:
        assigned("zzzz=1")
    assert all(field.name in error.value.fix for field in fields(Settings))


@pytest.mark.parametrize("key", ["lr", "epochs", "rate", "source_file_of_mine", "gradients"])
def test_a_key_that_is_far_from_all_gets_no_guess(key):
    with pytest.raises(ConfigurationError) as error:
        assigned(f"{key}=1")
    assert "did you mean" not in error.value.fix
    assert all(field.name in error.value.fix for field in fields(Settings))


def test_an_assignment_has_an_equals_sign():
    with pytest.raises(ConfigurationError, match="'steps' has no value") as error:
        assigned("steps")
    assert error.value.fix == "--set steps=VALUE"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("steps=many", "an integer"),
        ("steps=1.5", "an integer"),
        ("steps=nan", "an integer"),
        ("steps=inf", "an integer"),
        ("steps=1e-3", "an integer"),
        ("steps=1e400000000", "an integer"),
        ("steps=", "an integer"),
        ("learning_rate=fast", "a number"),
        ("learning_rate=", "a number"),
        ("tie=maybe", "true or false"),
        ("tie=2", "true or false"),
    ],
)
def test_a_value_of_another_type_is_refused(text, kind):
    key, _, value = text.partition("=")
    with pytest.raises(ConfigurationError) as error:
        assigned(text)
    assert f"setting {key}: {value!r} is not {kind}" in error.value.problem
    assert "default" in error.value.fix


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": -1}, "batch_size"),
        ({"evaluate_every": 0}, "evaluate_every"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"keep_last": 0}, "keep_last"),
        ({"warmup": -1}, "warmup"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"clip_norm": -0.1}, "clip_norm"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"beta1": 1.0}, "beta1"),
        ({"beta2": -0.1}, "beta2"),
        ({"momentum": 1.5}, "momentum"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": -1e-3}, "learning_rate"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"learning_rate": 1e300}, "learning_rate must be within the range of float32"),
        ({"learning_rate": 1e-60}, "learning_rate must be within the range of float32"),
        ({"epsilon": 1e-46}, "epsilon must be within the range of float32"),
        ({"clip_norm": 1e39}, "clip_norm must be within the range of float32"),
        ({"beta1": 0.999999999}, "beta1 must be below 1 in float32"),
        ({"beta2": 0.99999999}, "beta2 must be below 1 in float32"),
        ({"batch_size": 10**9}, "batch_size"),
        ({"optimiser": "adm"}, "optimiser"),
        ({"schedule": "liner"}, "schedule"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(values, named):
    with pytest.raises(ConfigurationError, match=named) as error:
        Settings(**values)
    assert error.value.fix


def test_the_precision_of_the_run_counts():
    read = Settings(dtype="float64", learning_rate=1e-60, beta2=0.99999999, epsilon=1e-46)
    assert (read.learning_rate, read.beta2, read.epsilon) == (1e-60, 0.99999999, 1e-46)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize(
    "name",
    [
        field.name
        for field in fields(Settings)
        if field.type == "float" or isinstance(field.default, float)
    ],
)
def test_no_number_is_nan_or_infinite(name, number):
    """A run's configuration is JSON, which has no such number, and none would train."""
    with pytest.raises(ConfigurationError, match=name):
        Settings(**{name: number})
    with pytest.raises(ConfigurationError, match=name):
        assigned(f"{name}={number}")


def test_a_wrong_choice_names_the_nearest_and_all():
    with pytest.raises(ConfigurationError) as error:
        assigned("optimiser=adma")
    assert "sgd, momentum, adam, adamw" in error.value.problem
    assert error.value.fix == "did you mean 'adam'?"


def test_json_values_are_read_as_strictly():
    read = with_values(Settings(), {"steps": 3, "clip_norm": 2, "tie": True, "learning_rate": 0.5})
    assert (read.steps, read.clip_norm, read.tie, read.learning_rate) == (3, 2.0, True, 0.5)
    assert type(read.clip_norm) is float
    assert with_values(Settings(), {"steps": 3.0}).steps == 3
    for wrong in (
        {"steps": True},
        {"steps": 2.5},
        {"steps": None},
        {"clip_norm": False},
        {"source": True},
        {"source": None},
        {"source": ["a"]},
        {"tie": 0.5},
    ):
        (name,) = wrong
        with pytest.raises(ConfigurationError, match=name):
            with_values(Settings(), wrong)


def test_the_place_of_a_wrong_value_is_named():
    with pytest.raises(ConfigurationError) as error:
        with_values(Settings(), {"steps": "x"}, "runs/a/configuration.json")
    assert error.value.where == "runs/a/configuration.json"


# ---------------------------------------------------------------- meanings


@dataclass(frozen=True)
class Described(Settings):
    """Fields with a text below them, and one without."""

    steps: int = 5
    layers: int = 3
    """Layers of
    the encoder."""
    plain: float = 1.0
    note = "no field"
    """Not a meaning either."""


def test_meanings_are_the_texts_below_the_fields_of_the_last_class_that_has_one():
    found = meanings_of(Described())
    assert list(found) == [field.name for field in fields(Described)]
    assert found["layers"] == "Layers of the encoder." and found["plain"] == ""
    assert found["steps"] == meanings_of(TrainingSettings())["steps"] != ""


def test_every_setting_of_every_built_in_model_has_a_meaning():
    for name, module in BUILTIN.items():
        without = [key for key, text in meanings_of(module.Settings()).items() if not text]
        assert not without, name


def test_a_class_without_a_source_has_no_meanings():
    made = make_dataclass("Made", [("size", int, 3)], bases=(Settings,), frozen=True)
    found = meanings_of(made())
    assert found["size"] == "" and found["steps"] != ""
