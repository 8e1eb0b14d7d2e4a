"""What a run notes about the machine it was made on."""

import json
import sys

import numpy as np

from graphgrad.strict_json import format_json, parse_json
from graphgrad.training.environment import describe_environment


def test_it_is_json_and_tells_what_matters():
    environment = describe_environment()
    assert parse_json(format_json(environment, "environment").encode()) == environment
    assert environment["packages"]["numpy"] == np.__version__
    assert environment["packages"]["graphgrad"]
    assert environment["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert environment["processor"] and environment["blas"]["name"]
    assert environment["command"] == sys.orig_argv


def test_it_names_only_variables_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    environment = describe_environment()
    assert environment["threads"]["OMP_NUM_THREADS"] == "3"
    assert "hush" not in json.dumps(environment)
    assert all(name.endswith(("THREADS", "CORETYPE")) for name in environment["threads"])
