"""`graphgrad scale`: the table, as text and JSON, and what it refuses."""

import json

import pytest

from graphgrad.performance.scaling import WAYS
from graphgrad.tools.main import main


def test_the_table_follows_the_link_and_the_time_of_a_step(capsys):
    words = ["scale", "feedforward", "--ranks", "2,4", "--link", "100:0.001", "--steps", "1"]
    assert main([*words, "--step-ms", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["compute_seconds"] == pytest.approx(0.01) and found["collectives"] == 1
    first, second = found["rows"]
    for row, ranks in ((first, 2), (second, 4)):
        exchange = 2 * (ranks - 1) * (1e-4 + found["bytes"] / ranks / 1e6)
        exchange = min(exchange, 2 * (ranks // 2) * 1e-4 + 2 * found["bytes"] / 1e6)
        assert row["without overlap"] == pytest.approx(0.01 + exchange)
        assert 0.01 <= row["overlap"] <= row["without overlap"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(way in text for way in WAYS) and "MB of state a rank keeps" in text
    assert text.count("100:0.001") == 2


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--ranks", "2,x"], "no numbers of ranks"),
        (["--link", "token-ring"], "there is no link 'token-ring'"),
        (["--link", "1:0"], "a link has no rate"),
        (["--every", "0"], "no number of steps"),
        (["--step-ms", "-1"], "no time of a step"),
        (["--measure", "0"], "no numbers of ranks"),
        (["tiny", "--set", "width=8"], "tiny is a size of the bench"),
    ],
)
def test_what_it_refuses(words, problem, capsys):
    model = [] if words[0] == "tiny" else ["feedforward"]
    assert main(["scale", *model, *words]) == 2
    assert problem in capsys.readouterr().err
