"""What must hold on any machine, in few words: the cells of the notebooks that tests compare.

Each function looks at real results and returns a small value to print. Numbers that differ between
processors are not among them.
"""

import numpy as np
import pandas as pd

from mint_utils.audited.train import AuditedModel
from mint_utils.config import PROTOCOLS, ROWS
from mint_utils.mint.protocol import AuditSet
from mint_utils.results import MintResult


def split_counts(chosen: AuditSet) -> pd.DataFrame:
    """Return the number of images of each split by origin: one line a protocol, side and origin."""
    frames = []
    for (column, protocol), split in chosen.splits.items():
        sides = {
            "training": (split.train, split.train_labels),
            "evaluation": (split.evaluation, split.labels),
        }
        for side, (rows, labels) in sides.items():
            images = chosen.images.iloc[rows]
            names = images["database"] + np.where(
                labels, ", members", np.where(images["exposures"] > 0, ", SHOWN", "")
            )
            counts = names.value_counts().rename_axis("images of").reset_index(name="n")
            frames.append(counts.assign(protocol=protocol, side=side, column=column))
    return pd.concat(frames)[["column", "protocol", "side", "images of", "n"]].reset_index(
        drop=True
    )


def leaks(chosen: AuditSet) -> dict[str, int]:
    """Count what must not be: images on both sides, negatives once shown, positives never shown."""
    found = {"on both sides": 0, "negatives that M saw": 0, "positives that M never saw": 0}
    exposures = chosen.images["exposures"].to_numpy()
    names = (chosen.images["database"] + "/" + chosen.images["key"]).to_numpy()
    for split in chosen.splits.values():
        found["on both sides"] += len(np.intersect1d(names[split.train], names[split.evaluation]))
        rows = np.concatenate([split.train, split.evaluation])
        labels = np.concatenate([split.train_labels, split.labels])
        found["negatives that M saw"] += int((exposures[rows[~labels]] > 0).sum())
        found["positives that M never saw"] += int((exposures[rows[labels]] == 0).sum())
    return found


def exposure_table(model: AuditedModel) -> dict[int, int]:
    """Return exposures -> number of images of D with that many."""
    counts = model.ledger["exposures"].value_counts().sort_index()
    return {int(times): int(n) for times, n in counts.items()}


def sound(model: AuditedModel, result: MintResult) -> dict[str, bool]:
    """Return statements about a baseline that hold wherever it was computed."""
    cells, history = result.cells, model.history
    epochs = history.groupby("epoch")["loss"].mean()
    inside = (cells["low"] <= cells["accuracy"]) & (cells["accuracy"] <= cells["high"])
    return {
        "every cell of the table is there": len(cells) == len(ROWS) * len(PROTOCOLS),
        "no cell is empty": bool(cells.notna().all(axis=None)),
        "every accuracy lies in its interval": bool(inside.all()),
        "the loss fell": bool(epochs.iloc[-1] < epochs.iloc[0]),
        "exposures are those of the plan": int(history["images"].sum())
        == int(model.ledger["exposures"].sum()),
        "nothing leaks": not any(leaks(result.chosen).values()),
    }
