"""The site of `make book`: Sphinx over the root of the repository. Nothing is executed or fetched."""

import re
import shutil
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = html_title = "What lets a Membership Inference Test tell"
author = "the authors of this study"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "book/**.md", "data_manifests/*.md", "figures/*/*.md", "notebooks/*"]
exclude_patterns = ["book/index.md", "**.ipynb_checkpoints"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_inherit_docstrings = False  # those of PyTorch
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # attributes of two classes may bear one name
toc_object_entries = False  # of a room there would be hundreds
default_role = "code"
html_theme = "sphinx_book_theme"
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],
    "use_download_button": False,
}
html_math_renderer = "mathml"
html_static_path = html_css_files = ["book.css"]
FILES = {"tables": "*.md", "figures": "*.png", "numbers": "*.csv", "record": "record.json"}


def _filled(app, docname, source):
    """Add to a page what the repository holds for it; a link to a folder leads to a page about it."""
    text, (folder, _, name) = source[0], docname.rpartition("/")
    if docname == root_doc:
        text += (ROOT / "book/index.md").read_text()
    elif docname == "data_manifests/README":
        for path in sorted((ROOT / folder).glob("*.yaml")):
            text += f"\n## {path.stem}\n\n```{{literalinclude}} {path.name}\n:language: yaml\n```\n"
    elif docname == "book/figures":
        text += "".join(_shown(p) for p in sorted((ROOT / name).iterdir()) if p.is_dir())
    elif folder == "book/api":
        package = ROOT / "mint_utils"
        found = package.glob("*.py") if name == "mint_utils" else (package / name).rglob("*.py")
        text += "".join(_module(path.relative_to(ROOT)) for path in sorted(found))
    elif folder.startswith("figures/"):
        text = f"---\norphan: true\n---\n\n# {folder.removeprefix('figures/')}: {name}\n\n{text}"
    text = re.sub(r"\]\((?:\.\./)*figures/(\w+)/?\)", r"](/book/figures.md#\1)", text)
    source[0] = text.replace("](data_manifests/)", "](data_manifests/README.md)")


def _shown(folder):
    text = f"\n({folder.name})=\n\n## {folder.name}\n\n"
    for what, pattern in FILES.items():
        links = [f"[{p.stem}](/{p.relative_to(ROOT)})" for p in sorted(folder.glob(pattern))]
        text += f"* {what}: {', '.join(links)}\n" if links else ""
    return text


def _module(path):
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    heading = "" if path.name == "__init__.py" else f"## {name}\n"
    return f"\n{heading}\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n"


def _described(app, doctree):
    """Give an image without a text alternative the paragraph before it."""
    before = "figure"
    for node in doctree.findall():
        if isinstance(node, nodes.paragraph):
            before = node.astext()
        elif isinstance(node, nodes.image) and not node.get("alt"):
            node["alt"] = before


def _formulas(as_block):
    """Return visitors that write formulas as MathML, which needs no script from elsewhere."""

    def visit(self, node):
        text = re.sub(r"\\dots\b", r"\\ldots", node.astext())
        text = re.sub(r"\\[bB]igg?[lrm]?(?![A-Za-z])", "", text)  # MathML stretches by itself
        if re.search(r"\\[td]frac|\\frac[^{]", text):  # they would become a number without a line
            logging.getLogger(__name__).warning(r"write \frac{1}{2}: %s", text, location=node)
        try:
            self.body.append(tex2mathml(text, as_block=as_block))
        except MathError as error:
            logging.getLogger(__name__).warning("%s, in %s", error, text, location=node)
        raise nodes.SkipNode

    return visit, None


def _plain(app, what, name, object_, options, lines):
    """Keep Sphinx from reading |w| in a docstring as a name to replace."""
    lines[:] = [re.sub(r"(`+[^`]*`+)|\|", lambda m: m[1] or r"\|", line) for line in lines]


def _begun_at_index(app, error):
    if error is None:
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")


def setup(app):
    """Connect the above."""
    app.connect("source-read", _filled)
    app.connect("doctree-read", _described)
    app.connect("autodoc-process-docstring", _plain)
    app.connect("build-finished", _begun_at_index)
    app.add_html_math_renderer("mathml", _formulas(False), _formulas(True))
