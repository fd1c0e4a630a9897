"""Executed notebooks as web pages, and one page that leads to them and shows the tables."""

import re
from pathlib import Path

import jinja2
import nbformat
from nbconvert import HTMLExporter

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #ccc; text-align: left; }
img { max-width: 100%; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>{{ summary }}</p>
<ul>{% for name, heading in chapters %}<li><a href="{{ name }}.html">{{ heading }}</a></li>
{% endfor %}</ul>
{% for caption, table in tables %}<h2>{{ caption }}</h2>
{{ table }}
{% endfor %}
</body>
</html>
"""


def write_notebook_page(notebook: Path) -> str:
    """Write an executed notebook as a page beside it, its links to other notebooks as links to their pages.

    Returns:
        The notebook's first heading.
    """
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:  # progress bars, a line for each of their steps
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


def write_index(
    folder: Path,
    title: str,
    summary: str,
    chapters: list[tuple[str, str]],
    shown: list[tuple[str, str]],
) -> Path:
    """Write ``index.html``.

    Args:
        folder: Where the pages of the notebooks are.
        title: Of the page.
        summary: One sentence: profile, device, date.
        chapters: (name of the notebook, its heading).
        shown: (caption, table as HTML).
    """
    template = jinja2.Environment(autoescape=True).from_string(INDEX)
    safe = [(caption, jinja2.filters.do_mark_safe(html)) for caption, html in shown]
    path = folder / "index.html"
    path.write_text(template.render(title=title, summary=summary, chapters=chapters, tables=safe))
    return path
