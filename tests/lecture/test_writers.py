"""The writers of lessons: no small text, hostile words stay text, every format is what it says."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from hostile_names import HOSTILE

from graphgrad.errors import ConfigurationError
from graphgrad.lecture import (
    TOPICS,
    Lesson,
    Picture,
    Request,
    Table,
    lesson_html,
    lesson_picture,
    lesson_text,
    topic_called,
)
from graphgrad.lecture.image import scene_image
from graphgrad.lecture.scene import LEAST, Scene, index_size, stacked
from graphgrad.lecture.svg import scene_svg

ALONE = [topic for topic in TOPICS if not topic.needs_run]


def lesson(name: str) -> Lesson:
    topic = topic_called(name)
    return topic.lesson(Request(topic.options, topic.text))


@pytest.mark.parametrize("topic", ALONE, ids=lambda topic: topic.name)
def test_every_topic_is_written_in_every_text_format(topic):
    found = lesson(topic.name)
    text = lesson_text(found, "graphgrad show x")
    assert found.title in text and max(map(len, text.splitlines())) < 130
    page = lesson_html(found)
    ElementTree.fromstring(lesson_picture(found, "svg"))
    for picture in found.pictures:
        assert picture.title in page and picture.title in text
        for item in picture.scene.texts():
            assert item.size >= LEAST and (not item.index or index_size(item.size) >= LEAST)
    assert lesson_html(lesson(topic.name)) == page, "the same bytes"


def test_hostile_words_stay_text():
    scene = Scene()
    for number, name in enumerate(HOSTILE):
        scene.box(0, 40 * number, [name])
        scene.text(300, 40 * number, name, index=name)
    found = Lesson("x", (Picture("drawing", scene), Table(HOSTILE[:2], [HOSTILE[:2]])))
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
