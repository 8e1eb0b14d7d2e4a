"""Trains a run on several ranks that are threads of the test."""

import io
import threading

from graphgrad.models import BUILTIN
from graphgrad.ranks import threads
from graphgrad.training.progress import Progress
from graphgrad.training.runs import open_run
from graphgrad.training.team import Team
from graphgrad.training.trainer import train


def train_on_ranks(folder, ranks, **values):
    """What each rank raised, or None; the run in the folder goes on with these settings."""
    raised = [None] * ranks

    def run(rank, communicator):
        try:
            opened = open_run(folder, BUILTIN, values, rank=rank, ranks=ranks)
            team = Team(opened, communicator)
            if rank:
                team.follow(opened)
                return
            shown = Progress(opened.settings.steps, stream=io.StringIO(), bar=False)
            train(opened, shown, team=team)
            team.end()
        except Exception as problem:
            raised[rank] = problem
            communicator.fail(str(problem))

    running = [threading.Thread(target=run, args=each) for each in enumerate(threads(ranks, 20.0))]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return raised
