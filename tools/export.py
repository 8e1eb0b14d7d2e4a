"""`graphgrad export`: writes the weights of a trained run for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from graphgrad.errors import ConfigurationError
from graphgrad.models import bert, gpt
from graphgrad.models.huggingface import CONFIGURATION, write_weights
from graphgrad.tools.opening import add_trained_options, trained_run
from graphgrad.tools.streams import say

HELP = "write the weights of a run of gpt or bert in Hugging Face's layout"
DESCRIPTION = """Writes config.json and model.safetensors into FOLDER, which `from_pretrained` of
Hugging Face's transformers loads: GPT2LMHeadModel of a run of gpt, BertForMaskedLM of one of bert.
The vocabulary stays in the run: transformers computes with ids.

    graphgrad export runs/gpt-001 gpt2-of-mine
"""
EMBEDDINGS = {gpt.Settings: "decoder.embedding", bert.Settings: "encoder.embedding"}
"""The parameter with one row for each token, by the settings of the model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    parser.add_argument("run", help="a run folder")
    add_trained_options(parser)
    parser.add_argument("folder", metavar="FOLDER", help="where to; a model that is there stays")


def run(arguments: argparse.Namespace) -> int:
    """Writes the weights and prints what was written."""
    folder = Path(arguments.folder)
    if (folder / CONFIGURATION).exists():
        raise ConfigurationError(
            f"{arguments.folder} holds a model already",
            fix="another folder; nothing is overwritten",
        )
    opened = trained_run(arguments)
    settings = opened.settings
    if not isinstance(settings, gpt.Settings | bert.Settings):
        raise ConfigurationError(
            f"the model {opened.model.short_name} has no layout there",
            fix="use a run of gpt or bert",
        )
    vocabulary = len(opened.weights[EMBEDDINGS[type(settings)]])
    write_weights(folder, settings, vocabulary, opened.weights)
    say(f"written {arguments.folder}: step {opened.step}, a vocabulary of {vocabulary}")
    return 0
