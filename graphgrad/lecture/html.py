"""Writes a lesson as one offline HTML page that reads on a phone, light and dark.

Drawings keep their size, so that their text stays readable, and scroll inside their frame where the
screen is narrower; a shadow at its edge shows that there is more. Tables whose numbers are in a
drawing are left out. The page has no script and asks for nothing.
"""

from __future__ import annotations

import re
from html import escape

from graphgrad.lecture.blocks import Block, Formula, Lesson, Prose, Table
from graphgrad.lecture.notation import Notation, notation_html
from graphgrad.lecture.svg import DARK, LIGHT, STYLE, scene_svg

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_PAGE = """<!doctype html>
<html lang="en" data-ready>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body{{margin:0 auto;max-width:76rem;padding:1rem;font:16px/1.55 Arial,Helvetica,sans-serif;
color:{ink};background:{paper}}}
h1{{font-size:1.5rem}} p{{max-width:46rem}} h2{{font-size:1.05rem;margin:1.6rem 0 .4rem}}
sub,sup{{font-size:max(.76em,11px);line-height:0}}
.formula{{font:1.08rem/1.75 "STIX Two Text",Cambria,Georgia,"Liberation Serif",serif;
margin:.6rem 0 .8rem 1rem}} .formula span{{display:inline-block;margin-right:2.2rem}}
.formula div{{overflow-wrap:anywhere}}
figure,.table{{margin:.5rem 0 1rem;overflow-x:auto;--at:{paper};--edge:#0b162438;
background:linear-gradient(to right,var(--at) 2.5rem,transparent) 0/5rem 100% no-repeat local,
linear-gradient(to left,var(--at) 2.5rem,transparent) 100%/5rem 100% no-repeat local,
linear-gradient(to right,var(--edge),transparent) 0/1rem 100% no-repeat scroll,
linear-gradient(to left,var(--edge),transparent) 100%/1rem 100% no-repeat scroll}}
figure .lecture .page{{fill:none}} figure svg{{vertical-align:top}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums}}
th,td{{padding:.15rem .7rem .15rem 0;text-align:left;white-space:nowrap}}
th{{font-weight:600;border-bottom:1px solid {faint}}} .number{{text-align:right}}
@media (prefers-color-scheme: dark){{body{{color:{dark_ink};background:{dark_paper}}}
th{{border-color:{dark_faint}}} figure,.table{{--at:{dark_paper};--edge:#9fb4d080}}}}
{style}
</style>
</head>
<body>
<h1>{heading}</h1>
{blocks}
</body>
</html>
"""


def lesson_html(lesson: Lesson) -> str:
    """The page of a lesson."""
    return _PAGE.format(
        policy=_POLICY,
        title=escape(lesson.title),
        heading=notation_html(lesson.title),
        style=STYLE,
        blocks="\n".join(map(_block, lesson.blocks)),
        ink=LIGHT["ink"],
        paper=LIGHT["paper"],
        faint=LIGHT["faint"],
        dark_ink=DARK["ink"],
        dark_paper=DARK["paper"],
        dark_faint=DARK["faint"],
    )


def _block(block: Block) -> str:
    if isinstance(block, Prose):
        return f"<p>{notation_html(block.text)}</p>"
    if isinstance(block, Formula):
        return f'<div class="formula">{"".join(map(_line, block.lines))}</div>'
    if isinstance(block, Table):
        return "" if block.drawn else _table(block)
    scenes = block.parts or (block.scene,)
    drawings = "".join(scene_svg(scene, block.title, styled=False) for scene in scenes)
    return f"<h2>{notation_html(block.title)}</h2>\n<figure>{drawings}</figure>"


def _line(line: str) -> str:
    """A line of formulas; wide spaces separate those that may be on lines of their own."""
    parts = re.split(r" {4,}", line)
    return f"<div>{' '.join(f'<span>{notation_html(Notation(p))}</span>' for p in parts)}</div>"


def _table(table: Table) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        made = []
        for place, cell in enumerate(cells):
            kind = " class=number" if place >= table.numbers else ""
            made.append(f"<{tag}{kind}>{notation_html(cell)}</{tag}>")
        return f"<tr>{''.join(made)}</tr>"

    rows = "".join(row(tuple(each), "td") for each in table.rows)
    title = f"<h2>{notation_html(table.title)}</h2>" if table.title else ""
    return f'{title}<div class="table"><table>{row(table.headings, "th")}{rows}</table></div>'
