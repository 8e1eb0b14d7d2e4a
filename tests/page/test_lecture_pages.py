"""The lessons in a browser: all drawings of all topics are measured on one page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from drawn_measures import MEASURED

from graphgrad.lecture import TOPICS, Lesson, Picture, Request, lesson_html, topic_called
from graphgrad.lecture.decoding_pictures import Step, output_scene, probability_bars, ways_scenes
from graphgrad.lecture.head_lines import lines_scenes
from graphgrad.lecture.scene import Scene
from graphgrad.lecture.sentences import SentenceAttention

WORDS = (
    "Donaudampfschifffahrtsgesellschaft",
    "动物",
    "חתול",
    "<b>it</b>",
    "'quoted'",
    "a_b^c",
    "␣",
)
OTHER = {
    "neuron": {"x": "1,-2,3,-4,5,-6,7,-0.00008", "w": "1,1,1,1,1,1,1,12345678"},
    "network": {"phi": "linear", "x": "-1234,0.000123,77.7", "truth": "-0.01,1,2"},
    "lookup": {"scores": "112,96,-1000,0.001", "values": "1,2,-3,123456"},
    "activations": {"range": "-0.001,20000"},
    "update": {"eta": "0.001", "steps": "1"},
    "positions": {"length": "200", "width": "2"},
    "encoder": {"norm": "pre"},
    "layers": {"layers": "3", "width": "16", "inner": "8"},
    "heads": {"heads": "2", "width": "128", "word": "all"},
}
"""Numbers that are longer, or more, than those by default."""


def lesson(name: str, **options: str) -> Lesson:
    topic = topic_called(name)
    return topic.lesson(Request({**topic.options, **options}, topic.text))


def of_sentences() -> list[Scene]:
    """The drawings that need a run, of words that a user may type."""
    count = len(WORDS)
    found = []
    strengths = np.random.default_rng(0).dirichlet(np.ones(count), (9, count))
    for word in (None, 3):
        item = SentenceAttention("a", strengths, strengths, WORDS, WORDS)
        found += lines_scenes(item, range(9), word=word)
    forced = [Step(word, word, 0.5, bool(n % 2)) for n, word in enumerate(WORDS)]
    found += ways_scenes(forced, forced[:4], 2)
    found.append(output_scene(10**6, WORDS[0]))
    found.append(probability_bars([(w, -1234.5, -12.25, 0.5**n) for n, w in enumerate(WORDS)]))
    return found


def test_all_drawings_read_on_desktop_and_phone(open_page):
    lessons = [lesson(topic.name) for topic in TOPICS if not topic.needs_run]
    lessons += [lesson(name, **options) for name, options in OTHER.items()]
    blocks = [block for each in lessons for block in each.blocks]
    html = lesson_html(Lesson("all", (*blocks, Picture.of("sentences", *of_sentences()))))
    page = open_page(html, "", False, 1400, 900)
    smallest, wrong = page.evaluate(MEASURED)
    assert smallest > 10.99 and not wrong, (smallest, wrong)
    page = open_page(html, "", True, 390, 900)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 27, 34)"


def test_what_is_wrong_with_a_drawing_is_found(open_page):
    scene = Scene()
    scene.text(0, 0, "one over")
    scene.text(6, 3, "the other")
    scene.line((-40, 80), (40, 80))
    scene.text(0, 80, "crossed", turn=30)
    box = scene.box(0, 140, ["x"])
    scene.items[-1] = replace(box, width=3)
    page = open_page(lesson_html(Lesson("wrong", (Picture("wrong", scene),))), "", False, 1400, 900)
    _, wrong = page.evaluate(MEASURED)
    kinds = {each.partition(":")[0] for each in wrong}
    assert kinds == {"over each other", "a line through", "outside its box"}
