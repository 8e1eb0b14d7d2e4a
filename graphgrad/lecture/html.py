"""Writes a lesson as one offline HTML page that reads on a phone, light and dark.

Drawings keep their size, so that their text stays readable, and scroll inside their frame where the
screen is narrower. The page has no script and asks for nothing.
"""

from __future__ import annotations

from html import escape

from graphgrad.lecture.blocks import Block, Formula, Lesson, Prose, Table
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
body{{margin:0 auto;max-width:64rem;padding:1rem;font:16px/1.55 Arial,Helvetica,sans-serif;
color:{ink};background:{paper}}}
h1{{font-size:1.5rem}} h2{{font-size:1.05rem;margin:1.6rem 0 .4rem}}
pre{{font:15px/1.6 ui-monospace,Consolas,monospace;overflow-x:auto;margin:.6rem 0 .6rem 1rem}}
figure,.table{{margin:.5rem 0 1rem;overflow-x:auto}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums}}
th,td{{padding:.15rem .7rem .15rem 0;text-align:left;white-space:nowrap}}
th{{font-weight:600;border-bottom:1px solid {faint}}} .number{{text-align:right}}
@media (prefers-color-scheme: dark){{body{{color:{dark_ink};background:{dark_paper}}}
th{{border-color:{dark_faint}}}}}
{style}
</style>
</head>
<body>
<h1>{title}</h1>
{blocks}
</body>
</html>
"""


def lesson_html(lesson: Lesson) -> str:
    """The page of a lesson."""
    return _PAGE.format(
        policy=_POLICY,
        title=escape(lesson.title),
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
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Formula):
        return f"<pre>{escape(chr(10).join(block.lines))}</pre>"
    if isinstance(block, Table):
        return _table(block)
    drawing = scene_svg(block.scene, block.title, styled=False)
    return f"<h2>{escape(block.title)}</h2>\n<figure>{drawing}</figure>"


def _table(table: Table) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        made = [
            f"<{tag}{' class=number' if place >= table.numbers else ''}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(made)}</tr>"

    rows = "".join(row(tuple(each), "td") for each in table.rows)
    title = f"<h2>{escape(table.title)}</h2>" if table.title else ""
    return f'{title}<div class="table"><table>{row(table.headings, "th")}{rows}</table></div>'
