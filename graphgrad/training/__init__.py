"""Tasks, optimisers, the loop, and how a run lives on disk.

What is imported here is what a user's own code needs: the optimisers by name and their states in a
file, `fit` for arrays, and what a model file is made of. The loop of a run and its folder are for
the commands, and stand in modules of their own.
"""

from graphgrad.training.by_name import adam, adamw, momentum, sgd
from graphgrad.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from graphgrad.training.fit import fit
from graphgrad.training.optimisers import optimised, randomness_of_run, training_step
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.state_file import load, save
from graphgrad.training.task import Task

__all__ = [
    "Checkpoint",
    "Task",
    "TrainingSettings",
    "adam",
    "adamw",
    "fit",
    "load",
    "load_checkpoint",
    "momentum",
    "optimised",
    "randomness_of_run",
    "save",
    "save_checkpoint",
    "sgd",
    "training_step",
]
