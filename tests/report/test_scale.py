"""The ladder of scale: from small tables, written here, to its lines."""

import json

import pytest

from mint_utils.errors import DataError
from mint_utils.report import scale

LADDER = """row,step,accuracy,low,high
Conv Layer #1,"M, the paper's protocol",0.1,0.1,0.1
All Conv Layers,best blind baseline,0.7,0.6,0.8
All Conv Layers,network that saw other images,0.66,0.64,0.68
All Conv Layers,"M, the paper's protocol",0.67,0.65,0.69
All Conv Layers,"M, held out",0.49,0.47,0.51
"""
BETTER = """row,column,protocol,accuracy,low,high
Class centres,Baseline,paper,0.2,0.2,0.2
Class centres,Baseline,held_out,0.61,0.59,0.63
Class centres,x1,held_out,0.2,0.2,0.2
"""
PEOPLE = """reading,head,photographs,used,control,auc,low,high
largest cosine,yes,5,no,none,0.89,0.81,0.96
largest cosine,yes,5,yes,none,0.2,0.2,0.2
largest cosine,yes,5,no,permuted,0.2,0.2,0.2
largest cosine,yes,10,no,none,0.2,0.2,0.2
similarity,no,5,no,none,0.2,0.2,0.2
"""


def write(folder, network, pixels, **tables):
    folder.mkdir()
    config = {"audited": {"network": network}, "databases": {"image_size": pixels}}
    (folder / "record.json").write_text(json.dumps({"config": config}))
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)


def test_rungs_stand_in_their_order_and_what_is_missing_is_left_out(tmp_path):
    write(tmp_path / "faces", "ir_50", 112, people=PEOPLE)
    tables = {"controls_ladder": LADDER, "better_test": BETTER, "people": PEOPLE}
    write(tmp_path / "faces_small", "ir_tiny", 40, **tables)
    write(tmp_path / "quick", "ir_tiny", 32, **tables)
    (tmp_path / "faces_medium").mkdir()
    found = scale.scale_table(tmp_path)
    assert found["network"].tolist() == ["ir_tiny"] * 5 + ["ir_50"]
    assert found["pixels"].tolist() == [40] * 5 + [112]
    assert found["row"].tolist() == [*scale.ROWS, list(scale.ROWS)[4]]
    assert found["value"].tolist() == [0.67, 0.66, 0.49, 0.61, 0.89, 0.89]
    assert found.loc[0, ["low", "high"]].tolist() == [0.65, 0.69]
    assert found["measure"].tolist() == ["accuracy"] * 4 + ["AUC"] * 2
    assert scale.scale_figure(found).get_figwidth() == 6


def test_nothing_computed_is_an_empty_table(tmp_path):
    assert scale.scale_table(tmp_path).columns.tolist() == scale.COLUMNS
    assert len(scale.scale_table(tmp_path)) == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PEOPLE.replace("auc", "area"), "people.csv lacks the column auc"),
        (PEOPLE.replace("no,none,0.89", "no,other,0.89"), "has 0 lines of largest cosine, yes, 5"),
    ],
)
def test_a_table_that_lacks_its_line_is_named(tmp_path, text, told):
    write(tmp_path / "faces", "ir_50", 112, people=text)
    with pytest.raises(DataError, match=told):
        scale.scale_table(tmp_path)
