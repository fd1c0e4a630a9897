"""The site of `make book`: it builds without a warning, and every link within it leads somewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from mint_utils.paths import NOTEBOOKS, ROOT


class Page(HTMLParser):
    """What a page links to, what can be linked to in it, and its images without a text alternative."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.links, self.ids, self.silent = path, [], {""}, []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        self.links += [found[name] for name in ("href", "src") if found.get(name)]
        if tag == "img" and not found.get("alt"):
            self.silent.append(found.get("src"))


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    """Return the folder of the site, built once."""
    folder = tmp_path_factory.mktemp("book")
    command = f"-q -W --keep-going -c book -d {folder}/trees . {folder}/html".split()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(book) -> dict[Path, Page]:
    return {path: Page(path) for path in book.rglob("*.html") if "_static" not in path.parts}


def test_every_link_leads_to_a_page_of_the_site_and_a_place_in_it(pages):
    broken, followed = [], 0
    for page in pages.values():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            missing = target in pages and unquote(parts.fragment) not in pages[target].ids
            if missing or not target.is_file():
                broken.append(f"{page.path.name}: {link}")
            followed += 1
    assert not broken
    assert followed > 1000


def test_every_chapter_is_there_with_its_stored_figures(pages, book):
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        page = pages[book / "notebooks" / f"{notebook.stem}.html"]
        stored = len(re.findall(r'"image/png":', notebook.read_text()))
        assert sum("_images" in link for link in page.links) >= stored, notebook.stem


def test_images_have_text_alternatives_and_nothing_comes_from_elsewhere(pages):
    assert not [page.silent for page in pages.values() if page.silent]
    for path in pages:
        assert not re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="https?:', path.read_text())


def test_every_module_is_described_and_the_manifests_are_there(book):
    told = "".join(path.read_text() for path in (book / "book/api").glob("*.html"))
    for path in (ROOT / "mint_utils").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        assert f'id="module-{name}"' in told
    manifests = (book / "data_manifests/README.html").read_text()
    for path in (ROOT / "data_manifests").glob("*.yaml"):
        assert f">{path.stem}<" in manifests
