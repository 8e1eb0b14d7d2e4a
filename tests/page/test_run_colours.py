"""The colours of runs are told apart by everybody, and seen on the papers of both themes.

Colour vision is simulated by the matrices of Machado, Oliveira and Fernandes (2009) for severity 1;
distances are those of CIE 1976 L*a*b*; contrast is that of WCAG 2.
"""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from graphgrad.page.build import page_style

SIMULATED = {
    "all colours": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.3039],
        ]
    ),
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.072175],
        [0.0193339, 0.119192, 0.9503041],
    ]
)
WHITE = np.array([0.95047, 1.0, 1.08883])
STYLE = page_style()


def linear(colour: str) -> np.ndarray:
    """Linear RGB of #rrggbb."""
    raw = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(raw <= 0.04045, raw / 12.92, ((raw + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def run_colours() -> list[list[str]]:
    """The colours of runs, light and dark."""
    found = re.findall(r"--run-\d: light-dark\((#\w{6}), (#\w{6})\)", STYLE)
    assert len(found) == 6
    return [list(colours) for colours in zip(*found, strict=True)]


def papers(block: str) -> list[str]:
    found = re.search(re.escape(block) + r"[^}]*?--paper: (#\w+);[^}]*?--raised: (#\w+);", STYLE)
    assert found is not None
    return list(found.groups())


@pytest.mark.parametrize("sight", SIMULATED)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_no_two_look_alike(theme: int, sight: str) -> None:
    seen = [lab(SIMULATED[sight] @ linear(colour)) for colour in run_colours()[theme]]
    nearest = min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))
    assert nearest > 15


@pytest.mark.parametrize(("theme", "block"), [(0, ":root {"), (1, ':root[data-theme="dark"] {')])
def test_each_is_seen_on_its_papers(theme: int, block: str) -> None:
    for colour, paper in itertools.product(run_colours()[theme], papers(block)):
        light = sorted(float(TO_XYZ[1] @ linear(one)) + 0.05 for one in (colour, paper))
        assert light[1] / light[0] >= 3, (colour, paper)
