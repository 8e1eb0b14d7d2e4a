"""The lessons in a browser: texts are in their boxes, over no other text, and large enough."""

from __future__ import annotations

import pytest

from graphgrad.lecture import TOPICS, Request, lesson_html

ALONE = [topic for topic in TOPICS if not topic.needs_run]
SCREENS = ((1400, False), (390, True))
MEASURED = """() => {
  const wrong = [];
  for (const group of document.querySelectorAll("g.boxed")) {
    const box = group.firstElementChild.getBoundingClientRect();
    for (const text of group.querySelectorAll("text")) {
      const at = text.getBoundingClientRect();
      if (at.left < box.left - 1 || at.right > box.right + 1 || at.top < box.top - 2
          || at.bottom > box.bottom + 2) wrong.push(`outside: ${text.textContent}`);
    }
  }
  for (const drawing of document.querySelectorAll("svg")) {
    const texts = [...drawing.querySelectorAll("text")];
    const places = texts.map((text) => text.getBoundingClientRect());
    for (let i = 0; i < texts.length; i++) for (let j = 0; j < i; j++) {
      const [a, b] = [places[i], places[j]];
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 4)
        wrong.push(`over each other: ${texts[i].textContent} | ${texts[j].textContent}`);
    }
  }
  const sizes = [...document.querySelectorAll("svg text, svg tspan")].map(
    (text) => parseFloat(getComputedStyle(text).fontSize) * text.getCTM().a);
  return [Math.min(...sizes), document.documentElement.scrollWidth <= innerWidth, wrong];
}"""


@pytest.mark.parametrize("topic", ALONE, ids=lambda topic: topic.name)
def test_a_lesson_reads_on_desktop_and_phone(topic, open_page):
    html = lesson_html(topic.lesson(Request(topic.options, topic.text)))
    for width, dark in SCREENS if topic.name in ("network", "mask") else SCREENS[:1]:
        page = open_page(html, "", dark, width, 900)
        smallest, fits, wrong = page.evaluate(MEASURED)
        assert smallest >= 10.99 and fits and not wrong, (topic.name, width, smallest, wrong)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (colour != "rgb(255, 255, 255)") == dark
