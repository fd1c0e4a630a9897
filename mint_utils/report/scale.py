"""The ladder of scale: a table and a figure of results for a small network, a larger one and the paper's own.

They come from the committed tables of profiles that differ only in the network and its image size.
"""

import json
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mint_utils.config import PROTOCOL_NAMES
from mint_utils.errors import DataError
from mint_utils.report import style

RUNGS = ("faces_small", "faces_medium", "faces")  # real faces, framed alike
ROW = "All Conv Layers"  # what T reads
OTHER, SAME = style.PROTOCOL_LOOKS.values()
KEYS = "reading", "head", "photographs", "used", "control"  # columns of the table of persons
# Row -> (file, the values that identify its line, its look).
ROWS = {
    "All Conv Layers, other databases": (
        "controls_ladder",
        {"row": ROW, "step": "M, the paper's protocol"},
        OTHER,
    ),
    "network that saw other images": (
        "controls_ladder",
        {"row": ROW, "step": "network that saw other images"},
        {"color": style.LIGHT, "marker": "s", "mfc": "white", "linestyle": (0, (4, 2))},
    ),
    "All Conv Layers, same database": (
        "controls_ladder",
        {"row": ROW, "step": "M, held out"},
        SAME | {"linestyle": style.DASHES[PROTOCOL_NAMES["held_out"]]},
    ),
    "class centres, same database": (
        "better_test",
        {"row": "Class centres", "column": "Baseline", "protocol": "held_out"},
        {"color": style.BROWN, "marker": "v"},
    ),
    "the person, 5 unused photographs": (
        "people",
        dict(zip(KEYS, ("largest cosine", "yes", 5, "no", "none"), strict=True)),
        {"color": "black", "marker": "P"},
    ),
}
COLUMNS = ["profile", "network", "pixels", "row", "measure", "value", "low", "high"]


def scale_table(figures: Path) -> pd.DataFrame:
    """Return the results for each network, one line for each network and row that have been computed.

    Args:
        figures: Holds a folder of tables for each profile. A missing profile or table is left out.

    Returns:
        profile, network, pixels, row (of `ROWS`), measure (accuracy, AUC), value, low, high, in the order of
        `RUNGS` and `ROWS`.

    Raises:
        DataError: A table lacks its line or has it twice.
    """
    lines = []
    for profile in RUNGS:
        record = figures / profile / "record.json"
        if not record.exists():
            continue
        config = json.loads(record.read_text())["config"]
        pixels = config["databases"]["image_size"]
        rung = {"profile": profile, "network": config["audited"]["network"], "pixels": pixels}
        for row, (file, wanted, _) in ROWS.items():
            path = figures / profile / f"{file}.csv"
            if path.exists():
                measure = "AUC" if file == "people" else "accuracy"
                line = rung | {"row": row, "measure": measure}
                lines.append(line | _found(path, wanted, measure.lower()))
    return pd.DataFrame(lines, columns=COLUMNS)


def scale_figure(table: pd.DataFrame) -> Figure:
    """Draw the ladder of scale: networks from left to right, a curve for each row, named at its end.

    Args:
        table: As `scale_table` returns it, with at least one line.
    """
    figure, axes = style.panels(1, 1, 3.2)
    ax, ends = axes[0, 0], {}
    rungs = table[["network", "pixels"]].drop_duplicates().reset_index(drop=True)
    table = table.merge(rungs.reset_index(names="x"))
    for i, (row, (_, _, look)) in enumerate(ROWS.items()):
        cells = table[table["row"] == row]
        if len(cells):
            style.curve(ax, cells, 3 * (i - 2), value="value", **look)
            name = row + " (AUC)" * (cells["measure"].iloc[0] == "AUC")
            name = name.replace(", ", ",\n").replace("that saw", "that\nsaw")
            ends[name] = (*cells[["x", "value"]].iloc[-1], look["color"])
    ax.axhline(0.5, **style.CHANCE | {"linewidth": 0.8})
    ax.text(-0.43, 0.5, "chance", color=style.GREY, fontsize=7.5, va="bottom")
    names = rungs["network"].str.replace(r"ir_(\d+)", r"IR-\1", regex=True)
    names += "\n" + rungs["pixels"].astype(str) + " px"
    ax.set_xticks(range(len(rungs)), names)
    ax.set(xlim=(-0.45, len(rungs) - 0.7), ylim=(min(0.44, table["low"].min() - 0.02), 1.02))
    ax.set_xlabel("network and pixels (not to scale)")
    ax.set_ylabel("accuracy of T, or AUC for the person")
    ax.grid(axis="x", visible=False)
    return style.done(figure, {ax: ends})


def _found(path: Path, wanted: dict, value: str) -> dict[str, float]:
    cells = pd.read_csv(path, keep_default_na=False, na_values=[""])
    absent = {*wanted, value, "low", "high"} - {*cells}
    if absent:
        raise DataError(f"{path} lacks the column {min(absent)}: run its notebook again.")
    found = cells[cells[list(wanted)].eq(pd.Series(wanted)).all(axis=1)]
    if len(found) != 1:
        sought = ", ".join(map(str, wanted.values()))
        raise DataError(
            f"{path} has {len(found)} lines of {sought}, not one: run its notebook again."
        )
    return {"value": found[value].iloc[0]} | found[["low", "high"]].iloc[0].to_dict()
