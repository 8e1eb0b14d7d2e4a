"""Every figure on the page of a run on the built-in dates.

What the page shows is read from the texts of its cells and compared with an evaluation of the graph
by `graphgrad.ops.evaluate` and plain NumPy.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from page_driver import Open, number, title
from page_runs import DATES, Trained

from graphgrad.page import build_page
from graphgrad.page.section_run import run_section


def figures(array: np.ndarray) -> dict[str, float]:
    """In double precision, as plainly as it can be said; masks hold -inf on purpose."""
    flat = np.asarray(array, np.float64).ravel()
    zeros = (flat == 0).mean()
    flat = flat[np.isfinite(flat)]
    return {
        "mean": flat.mean(),
        "std": flat.std(),
        "norm": np.sqrt((flat * flat).sum()),
        "minimum": flat.min(),
        "maximum": flat.max(),
        "zeros": zeros,
    }


def assert_shows(text: str, name: str, array: np.ndarray) -> None:
    wanted = figures(array)
    size = max(abs(wanted["minimum"]), abs(wanted["maximum"]), 1e-30)
    tolerance = 0.006 if name == "zeros" else 1e-5 * size  # sums of single precision cancel
    assert number(text) == pytest.approx(wanted[name], rel=6e-3, abs=tolerance), name


def test_every_cell_of_the_table_equals_numpy(dates: Trained, open_page: Open) -> None:
    page = open_page(dates.html, "#tab=figures")
    page.locator("button.more").click()
    rows = page.evaluate(
        "[...document.querySelectorAll('.all-figures tbody tr')].map((row) => ["
        "  row.cells[0].innerText, Object.fromEntries([...row.cells].slice(1)"
        "    .map((cell) => [cell.dataset.column ?? '', cell.innerText]))])"
    )
    nodes = dates.sections["run"]["nodes"]
    assert len(rows) > 300
    compared = 0
    for name, cells in rows:
        assert number(cells["size"]) == dates.values[name].size
        for kind, owner in (("z", name), ("d", f"{name}.delta")):
            for figure in ("mean", "std", "norm", "minimum", "maximum", "zeros"):
                text = cells[f"{kind}.{figure}"]
                assert bool(text) == (kind == "z" or "delta" in nodes[name]), (name, figure)
                if text:
                    assert_shows(text, figure, dates.values[owner])
                    compared += 1
    assert compared > 3000
    loss = page.inner_text('[data-output="loss"]')
    assert number(loss) == pytest.approx(float(dates.values["loss"]), rel=1e-3)


def test_contributions_of_branches_equal_numpy(dates: Trained, open_page: Open) -> None:
    name = "encoder.0.attention_norm.y"  # residual against the branch of the feed-forward network
    page = open_page(dates.html, f"#node={name}")
    delta = dates.values[f"{name}.delta"].astype(np.float64).ravel()
    sent = dates.sections["run"]["nodes"][name]["contributions"]
    arrays = [
        dates.values[f"{name}.delta<-{item['tail']}"].astype(np.float64).ravel() for item in sent
    ]
    np.testing.assert_allclose(np.sum(arrays, axis=0), delta, rtol=1e-4, atol=1e-8)
    norms = [np.linalg.norm(array) for array in arrays]
    rows = page.locator("table.contributions tbody tr")
    assert rows.count() == len(sent) == 2
    for place, array in enumerate(arrays):
        norm, share, cosine, along = (
            number(text.strip()) for text in rows.nth(place).locator("td").all_inner_texts()
        )
        assert norm == pytest.approx(norms[place], rel=1e-3)
        assert share == pytest.approx(norms[place] / sum(norms), abs=6e-3)
        assert cosine == pytest.approx(
            array @ delta / norms[place] / np.linalg.norm(delta), abs=2e-3
        )
        assert along == pytest.approx(array @ delta / (delta @ delta), abs=6e-3)
    pair = number(page.inner_text('.panel-figures-node [data-pair="1.0"]'))
    assert pair == pytest.approx(arrays[0] @ arrays[1] / (norms[0] * norms[1]), abs=2e-3)
    page.locator("table.contributions .node-link").nth(1).click()
    assert title(page) == sent[1]["tail"].rpartition(".")[2]


def test_dead_units_and_histograms_equal_numpy(dates: Trained, open_page: Open) -> None:
    name = "encoder.1.feed_forward.z"
    page = open_page(dates.html, f"#node={name}")
    panel = page.locator(".panel-figures-node")
    z = dates.values[name].reshape(-1, DATES["inner"])
    dead = int((z == 0).all(axis=0).sum())
    assert f"{dead} of {DATES['inner']} units are dead" in panel.inner_text()
    titles = panel.locator(".histogram .catch").count()
    bins = page.evaluate(
        "[...document.querySelectorAll('.panel-figures-node .histogram g > title')]"
        ".map((one) => one.textContent)"
    )
    assert titles == len(bins) > 10
    pattern = re.compile(r"2\^(-?\d+) ≤ \|(.)\| < 2\^-?\d+: ([\d,]+) positive, ([\d,]+) negative")
    for kind, array in (("z", z), ("δ", dates.values[f"{name}.delta"])):
        found = [match for text in bins if (match := pattern.fullmatch(text)) and match[2] == kind]
        lowest = min(int(match[1]) for match in found)
        for match in found:
            low = 2.0 ** int(match[1]) if int(match[1]) > lowest else 0.0
            size = np.abs(array.astype(np.float64))
            inside = (size >= low) & (size < 2.0 ** (int(match[1]) + 1)) & (size > 0)
            assert number(match[3]) == (inside & (array > 0)).sum()
            assert number(match[4]) == (inside & (array < 0)).sum()


def test_the_first_value_that_is_not_finite_is_named(dates: Trained, open_page: Open) -> None:
    run = dates.run
    state = {name: array.copy() for name, array in run.state.items()}
    state["decoder.0.feed_forward.inner.w"][:] = 3e38
    section = run_section(run.graph, run.task.feeds(run.step), state, "planted", run.step, run.step)
    page = open_page(build_page(run.graph, sections={"run": section}), "#tab=figures")
    card = page.locator(".card.bad", has_text="Not finite")
    named = card.locator(".first").inner_text()
    assert "decoder.0.feed_forward.inner.product" in named
    assert card.locator("ol li").count() > 3
    card.locator("li .node-link").first.click()
    assert page.locator(".panel-figures-node td.bad").count() >= 1


def test_the_graph_is_coloured_by_every_statistic(dates: Trained, open_page: Open) -> None:
    page = open_page(dates.html)
    page.focus("#colour-by")
    names = page.eval_on_selector_all("#colour-by option", "all => all.map((one) => one.value)")
    assert len(names) > 25
    for name in filter(None, names):
        page.select_option("#colour-by", name)
        assert page.locator("#legend").is_visible()
        if "non_finite" not in name:  # of which there are none but those of masks
            assert page.locator("#canvas .body[style*=fill]").count() > 0, name
