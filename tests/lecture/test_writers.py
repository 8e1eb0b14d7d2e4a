"""The writers of lessons: no small text, hostile words stay text, every format is what it says."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hostile_names import HOSTILE

from graphgrad import page
from graphgrad.errors import ConfigurationError
from graphgrad.lecture import (
    TOPICS,
    Lesson,
    Picture,
    Prose,
    Request,
    Table,
    lesson_html,
    lesson_picture,
    lesson_text,
    topic_called,
)
from graphgrad.lecture.image import scene_figure, scene_image, text_advance
from graphgrad.lecture.notation import Notation, Piece, notation_html, pieces
from graphgrad.lecture.scene import HEADS, LEAST, Circle, Scene, flowed, index_size, stacked
from graphgrad.lecture.svg import DARK, LIGHT, scene_svg

ASSETS = Path(page.__file__).parent / "assets"
ALONE = [topic for topic in TOPICS if not topic.needs_run]


def lesson(name: str) -> Lesson:
    topic = topic_called(name)
    return topic.lesson(Request(topic.options, topic.text))


@pytest.mark.parametrize("topic", ALONE, ids=lambda topic: topic.name)
def test_every_topic_is_written_in_every_text_format(topic):
    found = lesson(topic.name)
    text = lesson_text(found, "graphgrad show x")
    assert found.title in text and max(map(len, text.splitlines())) < 130
    html = lesson_html(found)
    ElementTree.fromstring(lesson_picture(found, "svg"))
    for picture in found.pictures:
        assert notation_html(picture.title) in html
        assert picture.title in " ".join(text.split())
        for item in picture.scene.texts():
            assert item.size >= LEAST and index_size(item.size) >= LEAST
    assert lesson_html(lesson(topic.name)) == html, "the same bytes"


def test_hostile_words_stay_text():
    scene = Scene()
    for number, name in enumerate(HOSTILE):
        scene.box(0, 40 * number, [name])
        scene.text(300, 40 * number, Notation(f"x_{{{name}}}"))
    marked = [Notation(f"a^{{{name}}}") for name in HOSTILE[:2]]
    tables = (Table(HOSTILE[:2], [HOSTILE[:2]]), Table(marked, [marked]))
    found = Lesson("x", (Picture("drawing", scene), Prose(marked[0]), *tables))
    for text in (scene_svg(scene), lesson_html(found)):
        assert "<script" not in text and "onerror=" not in text.replace("&quot;", '"').split("<")[0]
        body = text[text.index("<svg") : text.index("</svg>") + 6]
        root = ElementTree.fromstring(body)
        kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert kinds <= {"svg", "style", "rect", "g", "text", "tspan", "circle", "polyline"}
    assert "\x1b" not in lesson_text(found)


def test_png_and_pdf_are_drawn_by_matplotlib():
    pytest.importorskip("matplotlib")
    found = lesson("lookup")
    assert lesson_picture(found, "png").startswith(b"\x89PNG")
    scene = stacked([("title", found.pictures[0].scene)])
    assert scene_image(scene, "pdf").startswith(b"%PDF")


def test_wrong_formats_are_named():
    with pytest.raises(ConfigurationError, match="cannot be written as 'jpg'"):
        lesson_picture(lesson("lookup"), "jpg")
    with pytest.raises(ConfigurationError, match="has no picture"):
        lesson_picture(Lesson("x", ()), "svg")


def test_indices_are_set_only_in_notation():
    assert pieces("snake_case^2") == (Piece("snake_case^2"),)
    found = pieces(Notation("w_{h→t}^2 = D_k"))
    levels = [("w", 0), ("h→t", -1), ("2", 1), (" = D", 0), ("k", -1)]
    assert [(piece.text, piece.level) for piece in found] == levels
    assert notation_html(Notation("a_{<b>} & 1")) == "a<sub>&lt;b&gt;</sub> &amp; 1"
    assert notation_html("a_b") == "a_b"
    scene = Scene()
    text = scene.text(0, 0, Notation("x^{2i}_k y"), 20)
    drawn = scene_svg(scene)
    shifts = [float(shift) for shift in re.findall(r' dy="([-0-9.]+)"', drawn)]
    assert sum(shifts) == pytest.approx(0) and len(shifts) == 3, "the last part is on the line"
    assert text.width < scene.text(0, 0, "x2ik y", 20).width


def test_drawings_are_set_in_rows():
    def block(width):
        scene = Scene()
        scene.line((5, 7), (5 + width, 27))
        return scene

    left, top, right, bottom = flowed(
        [block(30), block(40), block(50)], widest=100, gap=10
    ).extent()
    assert (right - left, bottom - top) == (80, 50)


def luminance(colour):
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_are_seen_on_their_paper(colours):
    paper = luminance(colours["paper"])
    for role, colour in colours.items():
        light, dark = sorted((paper, luminance(colour)), reverse=True)
        contrast = (light + 0.05) / (dark + 0.05)
        least = {"paper": 1.0, "faint": 1.2}.get(role, 3.0 if role in HEADS else 4.5)
        assert contrast >= least, (role, contrast)


def test_heads_have_the_colours_of_the_page():
    css = (ASSETS / "base.css").read_text(encoding="utf-8")
    light, dark, *_ = re.findall(r"--s1: .*", css)
    for colours, line in ((LIGHT, light), (DARK, dark)):
        assert [colours[role] for role in HEADS] == re.findall(r"#[0-9a-f]{6}", line)


def test_texts_of_a_png_are_in_their_boxes():
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for name in ("network", "mask", "layers"):
        scene = lesson(name).pictures[0].scene
        figure = scene_figure(scene)
        renderer = FigureCanvasAgg(figure).get_renderer()
        axes = figure.axes[0]
        places = {t.get_text(): t.get_window_extent(renderer).width for t in axes.texts}
        for item in scene.items:
            for text in getattr(item, "texts", ()):
                if len(text.pieces) == 1:
                    room = 2 * item.radius if isinstance(item, Circle) else item.width
                    assert places[text.text] <= room, (name, text.text)


def test_an_index_follows_its_letter_in_a_png():
    pytest.importorskip("matplotlib")
    scene = Scene()
    scene.text(50, 0, Notation("WWW^O end"), 20, anchor="middle", bold=True)
    texts = scene_figure(scene).axes[0].texts
    assert [text.get_text() for text in texts] == ["WWW", "O", "end"]
    first, second, third = (text.get_position()[0] for text in texts)
    assert first < second < third and texts[1].get_position()[1] < texts[0].get_position()[1]
    whole = text_advance("WWW end", 20, bold=True) + text_advance("O", index_size(20), bold=True)
    assert 50 - first == pytest.approx(whole * 0.92 / 2, rel=0.01)


def test_characters_that_no_font_has_are_told(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("graphgrad.lecture.image.set_fonts", lambda figure: "猫")
    scene, told = Scene(), []
    scene.text(0, 0, "cat")
    scene_image(scene, "png", told=told.append)
    assert len(told) == 1 and "no font here has 1" in told[0]
