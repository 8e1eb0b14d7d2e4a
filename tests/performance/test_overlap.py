"""What hides an exchange: by hand, and as ranks over a slow link do it."""

import threading
import time

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.performance.line_profile import profile, runs_of
from graphgrad.performance.overlap import Line, Observed, allowed
from graphgrad.ranks import Exchange, Link, Timed, over, threads

STEPS = 3


def test_what_an_order_allows():
    lines = [
        Line("a", 2.0),
        Line("start", 0.0, starts=0),
        Line("b", 3.0),
        Line("start", 0.0, starts=1),
        Line("c", 1.0),
        Line("wait", 99.0, waits=0),
        Line("d", 0.5),
        Line("wait", 99.0, waits=1),
        Line("both", 99.0, starts=2, waits=2),
    ]
    whole, hidden = allowed(lines, {0: 2.5, 1: 4.0, 2: 7.0})
    # 0 goes from 2 to 4.5 and is hidden; 1 from 5 to 9, and from 6.5 on it is waited for
    assert whole == 2.0 + 3.0 + 1.0 + 0.5 + (9.0 - 6.5) + 7.0
    assert hidden == {0: 2.5, 1: 1.5, 2: 0.0}
    whole, hidden = allowed(lines, {0: 6.0, 1: 1.0, 2: 0.0})
    # 0 goes from 2 to 8, the wait for it from 6 on; 1 begins only then and ends with the other wait
    assert whole == 9.0 and hidden == {0: 4.0, 1: 0.5, 2: 0.0}


NAP = 0.008


def _nap(xp, out, x):
    time.sleep(NAP)
    out[...] = x


nap = gg.elementwise("nap", "x", "{0}", compute=_nap, delta=lambda delta, y, x: (delta,))


def sleeper():
    """A graph whose computation is sleep, and whose sums over the batch are read at the end."""
    z, sums = gg.input("x", ("batch", 64)), []
    for _ in range(4):
        z = nap(z)
        sums.append(gg.sum(z, axis=0))
    for _ in range(2):
        z = nap(z)
    norm = sum(gg.sum(each**2.0) for each in sums)
    return gg.split_batch(gg.Graph({"norm": norm, "z": gg.sum(z)}), bucket_bytes=1)


def measured(link, **options):
    """The overlap on the first of two ranks, and its program."""
    found = {}

    def run(rank, communicator):
        timed = Timed(over(communicator, link))
        compiled = gg.compile(sleeper(), communicator=timed, **options)
        program, feeds = compiled.program(batch=2), {"x": np.ones((2, 64), np.float32)}
        if rank:
            for _ in range(runs_of(STEPS)):
                program({}, **feeds)
            return
        observed = Observed(program)
        profile(program, {}, lambda step: feeds, STEPS, lambda m: observed.add(m, timed.exchanges))
        found.update(overlap=observed.result(2), program=program)

    running = [threading.Thread(target=run, args=each) for each in enumerate(threads(2, 30.0))]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return found["overlap"], found["program"]


def test_a_step_hides_what_its_order_allows():
    link = Link(latency=0.001, rate=64 * 4 / 0.004)
    overlap, program = measured(link)
    assert overlap.ranks == 2 and len(overlap.collectives) == 5
    assert overlap.bytes == 4 * 64 * 4 + 4
    for each in overlap.collectives:
        assert each.seconds >= link.reduce_seconds(each.bytes, 2)
        assert 0.0 <= each.hidden <= each.seconds * 1.001
        assert sum(seconds for _, seconds in each.by) <= each.hidden * 1.001
        assert 0.0 <= each.allowed <= each.seconds * 1.001
    sums = overlap.collectives[:4]
    assert overlap.hidden >= 0.8 * overlap.allowed
    assert sum(each.allowed for each in sums) > 0.9 * sum(each.seconds for each in sums)
    assert {each.by[0][0] for each in sums} == {"nap"}
    plain, other = measured(link, without="overlap")
    assert plain.hidden == plain.allowed == 0.0 and plain.seconds > 0.02
    assert program.peak_bytes <= other.peak_bytes
    assert [each["name"] for each in overlap.to_dict()["collectives"]][:2] == ["sum", "sum_1"]


def test_exchanges_of_other_steps_are_left_aside():
    _, program = measured(Link())
    observed = Observed(program)
    (line,) = [program.line_of(node) for node in program.graph if node.operation is nap][:1]
    marks = [(line, 1000), (line + 1, 5000)]
    wanted = Exchange(0, 8, 2000, 4000)
    observed.add(marks, [Exchange(0, 8, 10, 900), Exchange(0, 8, 4500, 6000)])
    with pytest.raises(KeyError):  # the order of such a step has no start
        observed.add(marks, [wanted])
