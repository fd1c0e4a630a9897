import nbformat
from nbformat.v4 import new_markdown_cell, new_notebook

from mint_utils.report import page


def test_a_page_leads_to_the_pages_of_other_notebooks_and_keeps_other_links(tmp_path):
    text = "# First\n\nNext: [two](02_two.ipynb), [choices](../CHOICES.md)."
    notebook = tmp_path / "01_one.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), notebook)
    assert page.write_notebook_page(notebook) == "First"
    html = notebook.with_suffix(".html").read_text()
    assert 'href="02_two.html"' in html and 'href="../CHOICES.md"' in html
    assert ".ipynb" not in html


def test_a_page_shows_results_and_no_progress_bars(tmp_path):
    bar = nbformat.v4.new_output("stream", name="stderr", text="\rMINT Models:  50%|")
    told = nbformat.v4.new_output("stream", name="stdout", text="a result")
    cell = nbformat.v4.new_code_cell("x", outputs=[bar, told])
    path = tmp_path / "a.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A"), cell]), path
    )
    page.write_notebook_page(path)
    html = path.with_suffix(".html").read_text()
    assert "a result" in html and "MINT Models" not in html


def test_the_first_page_begins_with_conclusion_ladder_and_claims(tmp_path):
    told = nbformat.v4.new_output("display_data", {"text/markdown": "T is right for **.49**."})
    other = nbformat.v4.new_output("display_data", {"text/markdown": "a list of files"})
    cells = [
        new_markdown_cell("# 6. Controls"),
        nbformat.v4.new_code_cell("tables.say(c.conclusion())", outputs=[told]),
        nbformat.v4.new_code_cell("tables.say(c.files())", outputs=[other]),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "06_controls.ipynb")
    (tmp_path / "controls_ladder.png").write_bytes(b"png")
    chapters, shown = [("06_controls", "6. Controls")], [("Table 1", "<table>one</table>")]
    given = tmp_path, "T", "Profile <x>", tmp_path, "<table>claims</table>", chapters, shown
    text = page.write_index(*given).read_text()
    parts = [
        "Profile &lt;x&gt;",
        "<strong>.49</strong>",
        "base64,cG5n",
        ">claims<",
        "6. Controls<",
        ">one<",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places) and "a list of files" not in text
    assert text.count("<img") == text.count(" alt=") == 1


def test_the_first_page_of_a_run_without_controls_is_made_all_the_same(tmp_path):
    text = page.write_index(tmp_path, "T", "S", tmp_path, "", [], []).read_text()
    assert "<img" not in text and "claims" not in text
