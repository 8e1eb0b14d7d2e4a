"""The lecture, row by row: each topic as a lesson of text, formulas, tables and pictures.

topic(name).lesson(Request(…)) -> Lesson     computed by graphs that are declared, derived, run
lesson_text, lesson_html, lesson_picture     what `graphgrad show` prints and writes
"""

from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table
from graphgrad.lecture.html import lesson_html
from graphgrad.lecture.image import lesson_picture
from graphgrad.lecture.request import Request
from graphgrad.lecture.terminal import lesson_text
from graphgrad.lecture.topics import TOPICS, Topic, topic_called

__all__ = [
    "TOPICS",
    "Formula",
    "Lesson",
    "Picture",
    "Prose",
    "Request",
    "Table",
    "Topic",
    "lesson_html",
    "lesson_picture",
    "lesson_text",
    "topic_called",
]
