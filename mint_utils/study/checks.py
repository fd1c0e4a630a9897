"""Statements that must hold on any machine: the cells of the notebooks that tests compare.

Each function checks real results and returns a small value to print, without numbers that differ between
processors.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mint_utils.audited.train import AuditedModel
from mint_utils.config import PROTOCOL_NAMES, PROTOCOLS, ROWS
from mint_utils.mint.protocol import AuditSet
from mint_utils.study.case import Case
from mint_utils.study.casepeople import ODD, PeopleCase
from mint_utils.study.factors import Factor
from mint_utils.study.results import MintTable


def in_intervals(lines: pd.DataFrame, column: str = "accuracy") -> bool:
    """Say whether every number of a column lies between ``low`` and ``high`` of its line."""
    return bool(lines[column].between(lines["low"], lines["high"]).all())


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
            d = (
                images["database"]
                == chosen.images["database"].iloc[split.train[split.train_labels][0]]
            )
            held = np.where(d, ", held out", "")
            names = images["database"] + np.where(
                labels, ", members", np.where(images["exposures"] > 0, ", SHOWN", held)
            )
            counts = names.value_counts().rename_axis("images of").reset_index(name="n")
            frames.append(
                counts.assign(protocol=PROTOCOL_NAMES[protocol], side=side, column=column)
            )
    return pd.concat(frames)[["column", "protocol", "side", "images of", "n"]].reset_index(
        drop=True
    )


def leaks(chosen: AuditSet) -> dict[str, int]:
    """Count the leaks of splits: images on both sides, negatives once shown, positives never shown."""
    found = {"on both sides": 0, "negatives that M saw": 0, "positives that M never saw": 0}
    exposures = chosen.images["exposures"].to_numpy()
    names = (chosen.images["database"] + "/" + chosen.images["key"]).to_numpy()
    for (column, _), split in chosen.splits.items():
        found["on both sides"] += len(np.intersect1d(names[split.train], names[split.evaluation]))
        rows = np.concatenate([split.train, split.evaluation])
        labels = np.concatenate([split.train_labels, split.labels])
        found["negatives that M saw"] += int((exposures[rows[~labels]] > 0).sum())
        if column not in chosen.never_shown:
            found["positives that M never saw"] += int((exposures[rows[labels]] == 0).sum())
    return found


def factors_sound(factors: Mapping[str, Factor]) -> dict[str, bool]:
    """Return statements about the auditor's factors that must hold."""
    lines = pd.concat([factor.lines for factor in factors.values()])
    own = pd.concat([f.lines[f.lines["setting"] == f.own] for f in factors.values()])
    ends = own.groupby(["row", "protocol"])["accuracy"].agg(["min", "max"])
    return {
        "no cell is empty": not lines[["accuracy", "low", "high", "auc"]].isna().any(axis=None),
        "every accuracy lies in its interval": in_intervals(lines),
        "all are measured on the same images": bool(lines["n"].min() == lines["n"].max()),
        "the study's own setting is the same everywhere": bool((ends["min"] == ends["max"]).all()),
    }


def exposure_table(model: AuditedModel) -> dict[int, int]:
    """Return exposures -> number of images of D with that many."""
    counts = model.ledger["exposures"].value_counts().sort_index()
    return {int(times): int(n) for times, n in counts.items()}


def sound(model: AuditedModel, table: MintTable) -> dict[str, bool]:
    """Return statements about a table and a training of M that must hold."""
    cells, history = table.cells, model.history
    tenth = -(-len(history) // 10)
    every = len(ROWS) * len(PROTOCOLS) * len(table.chosen)
    return {
        "every cell of the table is there": len(cells) == every,
        "no cell is empty": bool(cells.notna().all(axis=None)),
        "every accuracy lies in its interval": in_intervals(cells),
        "the loss fell": bool(
            history["loss"].tail(tenth).mean() < history["loss"].head(tenth).mean()
        ),
        "exposures are those of the plan": int(history["images"].sum())
        == int(model.ledger["exposures"].sum()),
        "nothing leaks": not any(
            sum(leaks(chosen).values()) for chosen, _ in table.chosen.values()
        ),
    }


def case_sound(case: Case | PeopleCase) -> dict[str, bool]:
    """Return statements about an audit of one's own that must hold."""
    if isinstance(case, PeopleCase):
        return people_sound(case)
    images, answers, cells = case.files.images, case.answers, case.cells
    person = images["person"].to_numpy()
    folds = [pd.Series(deal).groupby(person).nunique() for deal in case.design.folds]
    judged = images["key"][case.design.part & (images["database"] == "questioned")]
    return {
        "every image in question that takes part has one answer": sorted(answers["key"])
        == sorted(judged),
        "every score and p lies from 0 to 1": bool(
            answers["score"].between(0, 1).all() and answers["p"].between(0, 1, "right").all()
        ),
        "nobody is in two folds": bool(max(counts.max() for counts in folds) == 1),
        "every accuracy lies in its interval": in_intervals(cells),
        "nothing is named where nothing can be said": not (case.nothing and answers["named"].any()),
    }


def people_sound(case: PeopleCase) -> dict[str, bool]:
    """Return statements about an audit of one's own about persons that must hold."""
    answers, cells = case.answers, case.cells
    asked = case.people["person"][case.judged]
    return {
        "everybody in question with photographs enough has one answer": sorted(asked)
        == sorted(answers["person"][answers["p"].notna()]),
        "every p lies from 0 to 1": bool(answers["p"].dropna().between(0, 1, "right").all()),
        "nobody lies in two folders": bool(
            case.files.images.groupby("person")["database"].nunique().max() == 1
        ),
        "every area lies in its interval": in_intervals(cells, "auc"),
        "nobody is named where nothing can be said": not (case.nothing and answers["named"].any()),
        "nobody is named who looks unusual": not (answers["unlike"][answers["named"]] < ODD).any(),
    }


def permutation(cells: pd.DataFrame) -> dict[str, bool]:
    """Return whether permuted labels yield .50: in the interval of most cells, and near it in all.

    The cells are those of the column with permuted labels, every row under both protocols. Rows share the
    images and the permutation, so a few intervals miss .50 together or not at all.
    """
    outside = (cells["low"] > 0.5) | (cells["high"] < 0.5)
    return {
        "at most a quarter of the intervals miss .50": bool(outside.mean() <= 0.25),
        "every cell within .06 of it": bool((cells["accuracy"] - 0.5).abs().max() < 0.06),
        "their mean within .02": bool(abs(cells["accuracy"].mean() - 0.5) < 0.02),
    }
