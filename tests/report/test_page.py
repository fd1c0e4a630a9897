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
