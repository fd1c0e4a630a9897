"""Executed notebooks as web pages, and an index page with links to them and the tables."""

import base64
import re
from pathlib import Path

import jinja2
import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
p, li { max-width: 42rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #ccc; text-align: left; vertical-align: top; }
img { max-width: 100%; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>{{ summary }}</p>
{{ conclusion }}
{% if picture %}<img src="data:image/png;base64,{{ picture }}" alt="{{ described }}">
{% endif %}{% if claims %}<h2>What the paper claims</h2>
<div class="wide">{{ claims }}</div>
{% endif %}<h2>Chapters</h2>
<ul>{% for name, heading in chapters %}<li><a href="{{ name }}.html">{{ heading }}</a></li>
{% endfor %}</ul>
{% for caption, table in tables %}<h2>{{ caption }}</h2>
<div class="wide">{{ table }}</div>
{% endfor %}
</body>
</html>
"""
LADDER = (
    "For each activation that the paper reads: accuracy without a network, of null models, and of M"
)
CHAPTER = "06_controls"  # its conclusion is that of the study


def write_notebook_page(notebook: Path) -> str:
    """Write an executed notebook as a page beside it, with links to the pages of other notebooks.

    Returns:
        The notebook's first heading.
    """
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:  # leaves out progress bars, which print a line for each step
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if "\r" not in out.get("text", "")]
    html, _ = HTMLExporter(embed_images=True).from_notebook_node(content)
    notebook.with_suffix(".html").write_text(
        re.sub(r'href="(\w+)\.ipynb"', r'href="\1.html"', html)
    )
    return heading(notebook)


def heading(notebook: Path) -> str:
    """Return the first line of a notebook's first text cell, without its mark."""
    cells = nbformat.read(notebook, as_version=4).cells
    text = next((c.source for c in cells if c.cell_type == "markdown"), notebook.stem)
    return text.splitlines()[0].lstrip("# ")


def conclusion(notebook: Path) -> str:
    """Return the conclusion of an executed notebook as HTML: the output of its cells with ``conclusion(``."""
    if not notebook.exists():
        return ""
    texts = [
        output.data["text/markdown"]
        for cell in nbformat.read(notebook, as_version=4).cells
        if cell.cell_type == "code" and "conclusion(" in cell.source
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    ]
    return markdown2html("\n\n".join(texts))


def write_index(
    folder: Path,
    title: str,
    summary: str,
    figures: Path,
    claims: str,
    chapters: list[tuple[str, str]],
    shown: list[tuple[str, str]],
) -> Path:
    """Write ``index.html``: conclusion, ladder and claims first, then the chapters and the tables.

    Args:
        folder: Holds the executed notebooks and their pages.
        title: Heading of the page.
        summary: One sentence: profile, device, commit.
        figures: Holds the figure of the ladder, if the run made it.
        claims: A table as HTML, empty where no claim was decided.
        chapters: (name of the notebook, its heading).
        shown: (caption, table as HTML).
    """
    template = jinja2.Environment(autoescape=True).from_string(INDEX)
    safe = jinja2.filters.do_mark_safe
    ladder, path = figures / "controls_ladder.png", folder / "index.html"
    content = template.render(
        title=title,
        summary=summary,
        conclusion=safe(conclusion(folder / f"{CHAPTER}.ipynb")),
        picture=base64.b64encode(ladder.read_bytes()).decode() if ladder.exists() else "",
        described=LADDER,
        claims=safe(claims),
        chapters=chapters,
        tables=[(caption, safe(table)) for caption, table in shown],
    )
    path.write_text(content)
    return path
