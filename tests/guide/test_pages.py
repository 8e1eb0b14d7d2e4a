"""The guide's topics, links and commands; the pages that are generated."""

from __future__ import annotations

import html
import re
import shlex

import pytest

import graphgrad
from graphgrad.errors import UnknownNameError
from graphgrad.guide import GROUPS, TOPICS, Topic, build_guide, text_of, topics_called
from graphgrad.guide.html import Renderer, formula_html
from graphgrad.guide.page import dead_links
from graphgrad.guide.passes_page import pattern_text
from graphgrad.guide.topics import title_of
from graphgrad.ops import ALL_OPERATIONS, exp, log
from graphgrad.passes import (
    FUSING_PASSES,
    PASSES,
    PRECISION_PASSES,
    SPECIALISED_PASSES,
    simplify,
    stabilise,
)
from graphgrad.passes.pattern import any_node, number, pattern
from graphgrad.tools.main import parser

COMMAND = re.compile(r"^graphgrad .*$", re.MULTILINE)
PAGES = {topic.name: text_of(topic) for topic in TOPICS}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_a_page_has_one_title_and_says_something(topic: Topic):
    text = PAGES[topic.name]
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^# (.*)$", outside, re.MULTILINE) == [title_of(text)]
    assert len(text) > 1500 and text.endswith("\n") and "<BLANKLINE>" not in text
    assert text.count("```") % 2 == 0 and topic.group in GROUPS


def test_no_link_is_dead():
    assert dead_links() == []
    page = build_guide()
    targets = set(re.findall(r'\bid="([^"]+)"', page))
    links = re.findall(r'href="#([^"]*)"', page)
    assert len(links) > 30 and set(links) <= targets
    renderer = Renderer(["neuron"], lambda name: "")
    renderer.page("here", "[a](nowhere.md), [b](neuron.md), `graphgrad guide nothing`")
    assert renderer.dead == ["here: nowhere", "here: nothing"]


def test_every_command_that_a_page_shows_is_understood():
    lines = [
        line
        for text in PAGES.values()
        for block in re.findall(r"```sh\n(.*?)```", text, re.S)
        for line in COMMAND.findall(block)
    ]
    assert len(lines) > 15
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        assert parser().parse_args(words).command == words[0], line


def test_the_operations_page_has_every_block():
    text = PAGES["operations"]
    headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert sorted(headings) == sorted(operation.name for operation in ALL_OPERATIONS)
    for operation in ALL_OPERATIONS:
        block = text.split(f"### {operation.name}\n", 1)[1].split("\n###", 1)[0]
        assert f"y = {operation.formula}\n" in block
        assert f"→ {operation.delta_formula}\n" in block or not operation.delta_formula
    assert "float32[3, 4], float32[3, 4] → float32[3, 4]" in text


def test_the_passes_page_has_every_pass_and_every_rule():
    text = PAGES["passes"]
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    mixed = [passes[0] for passes in PRECISION_PASSES.values() if passes]
    every = dict.fromkeys([*PASSES, *SPECIALISED_PASSES, *mixed, *FUSING_PASSES])
    assert headings == ["The order", *(each.__name__ for each in every)]
    rules = [*sys_rules(simplify), *sys_rules(stabilise)]
    assert len(rules) > 40
    for rule in rules:
        assert f"| {rule.name.replace('|', chr(92) + '|')} |" in text
    assert "| log Σ eˣ | `log(sum(exp(x)))` |" in text


def sys_rules(function):
    """The rules of the module that a pass is in."""
    return function.__globals__["RULES"]


def test_a_pattern_reads_as_it_would_be_written():
    x = any_node("x")
    assert pattern_text(pattern(log, pattern(exp, x))) == "log(exp(x))"
    assert pattern_text(pattern(log, pattern(graphgrad.ops.add, number(1), x))) == "log(add(c, x))"


def test_the_api_page_has_every_public_name():
    headings = re.findall(r"^### (.*)$", PAGES["api"], re.MULTILINE)
    wanted = [f"gg.{name}" for name in graphgrad.__all__]
    assert sorted(name for name in headings if name.startswith("gg.")) == sorted(wanted)
    assert {"dense", "Task", "TrainingSettings", "clip"} <= set(headings)
    assert " at 0x" not in PAGES["api"], "an address differs from process to process"
    assert "- `learning_rate`: The largest η" in PAGES["api"]


def test_topics_are_found_by_name_and_by_group():
    assert [topic.name for topic in topics_called("neuron")] == ["neuron"]
    assert [topic.name for topic in topics_called("Tutorial")] == [
        "neuron",
        "network",
        "attention",
        "transformer",
        "gpt",
        "bert",
        "lecture",
    ]
    with pytest.raises(UnknownNameError, match="did you mean 'neuron'"):
        topics_called("nuron")


def test_names_of_topics_and_groups_are_different():
    names = [*(topic.name for topic in TOPICS), *GROUPS]
    assert len(names) == len(set(names))


def test_text_is_never_markup():
    renderer = Renderer([], lambda name: "")
    hostile = "<script>alert(1)</script>"
    page = renderer.page(
        "x",
        f"# {hostile}\n\n{hostile} `{hostile}`\n\n```math\n{hostile}\n```\n\n"
        f"```sh\n{hostile}\n```\n\n[a](javascript:alert)\n",
    )
    assert "<script" not in page and html.escape(hostile) in page
    assert "javascript:" not in re.findall(r'href="([^"]*)"', page)


def test_formulas_have_what_stands_lower_and_higher():
    assert formula_html("w_{h→t} z_h < e^(-a)") == (
        "w<sub>h→t</sub> z<sub>h</sub> &lt; e<sup>(-a)</sup>"
    )


def test_the_same_guide_gives_the_same_page():
    assert build_guide() == build_guide()
