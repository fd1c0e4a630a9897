"""The auditor's choices: the factors of the original MINT paper (arXiv 2402.09225), one at a time.

There is a `Factor` each for the depth of the activations, the number of MINT samples, the widths of the MLP,
raw or standardised inputs, max or mean pooling of the maps, and CNN MINT on the maps themselves. Every
setting is evaluated on the same images, and all else is as in the rest of the study.
"""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from mint_utils import store
from mint_utils.audited import train
from mint_utils.audited.train import AuditedModel
from mint_utils.config import ROWS, plain
from mint_utils.measure.bootstrap import Estimate, interval
from mint_utils.mint import aad, cnn
from mint_utils.mint.fit import MintRecipe
from mint_utils.mint.protocol import FEWEST, AuditSet, fewer
from mint_utils.report import paper
from mint_utils.study.audit import Audit, Scores, split_digests
from mint_utils.study.claims import ALL, OUTCOME
from mint_utils.study.results import NON_MEMBERS_OF, MintTable, estimate

LAYERS = tuple(row for row in ROWS if row != OUTCOME)
VANILLA, CNN = "Vanilla MINT", "CNN MINT"
SAMPLES = "MINT samples"
STEP = 4  # ratio of two successive numbers of samples
PAPERS = 100_000  # samples in the paper
WIDTHS = ((32, 16), (256, 128), (1024, 512))
LINES = ("factor", "setting", "row", "protocol", "accuracy", "low", "high", "auc", "n", "paper")


@dataclass(frozen=True)
class Factor:
    """One factor, with the scores of every setting of it.

    Attributes:
        name: Its name.
        table: The scores; its columns are the settings.
        own: The setting of the rest of the study, Vanilla MINT.
        compared: Pairs of cells (setting, row) whose difference `told` reports.
        printed: Setting -> the MINT Model of `paper.ORIGINAL` with that setting.
    """

    name: str
    table: MintTable
    own: str
    compared: tuple[tuple[tuple[str, str], tuple[str, str]], ...]
    printed: Mapping[str, str]

    @functools.cached_property
    def lines(self) -> pd.DataFrame:
        """One line a cell, with the columns `LINES`; ``paper`` is the mean of [4]'s three models."""
        originals = [
            paper.original(model)[["row", "mean"]].assign(setting=setting, protocol="paper")
            for setting, model in self.printed.items()
        ]
        cells = self.table.cells.rename(columns={"column": "setting"}).assign(factor=self.name)
        if originals:
            printed = pd.concat(originals).rename(columns={"mean": "paper"})
            cells = cells.merge(printed, how="left", on=["row", "setting", "protocol"])
        return cells.reindex(columns=LINES).astype({"paper": float})

    def told(self) -> str:
        """Return in words what the factor changes under each protocol, from the pairs of `compared`."""
        (first, _), (last, _) = self.compared[0]
        said = [f"From {first} to {last}."] if first != last else []
        for protocol, where in NON_MEMBERS_OF.items():
            changes = {_named(*pair): self._change(protocol, *pair) for pair in self.compared}
            said.append(f"With non-members of {where}: {_changes(changes)}.")
        return " ".join(said)

    def _change(self, protocol: str, one: tuple[str, str], other: tuple[str, str]) -> Estimate:
        terms = [
            (sign, self.table.decided(setting, protocol, row))
            for sign, (setting, row) in ((1, other), (-1, one))
        ]
        return interval(terms, self.table.replicates)


def every(audit: Audit, model: AuditedModel) -> dict[str, Factor]:
    """Return all factors by their names, made now where they are missing."""
    made = (depth, samples, widths, inputs, pooling, maps)
    return {factor.name: factor for factor in (make(audit, model) for make in made)}


def conclusion(factors: Mapping[str, Factor]) -> str:
    """Return in words how many MINT Models do better than chance under each protocol, and the best."""
    # Every factor contains the study's own setting, so it is counted once, in the first factor.
    each = [
        factor.lines[(i == 0) | (factor.lines["setting"] != factor.own)]
        for i, factor in enumerate(factors.values())
    ]
    lines = pd.concat(each)
    told = []
    for protocol, where in NON_MEMBERS_OF.items():
        cells = lines[lines["protocol"] == protocol].reset_index(drop=True)
        best, above = cells.loc[cells["accuracy"].idxmax()], (cells["low"] > 0.5).sum()
        told.append(
            f"With non-members of {where}, {above or 'none'} of {len(cells)} MINT Models "
            f"{'is' if above == 1 else 'are'} above chance by the interval. The best classifies "
            f"{estimate(best)} of the images correctly "
            f"({best['row']}; {best['factor']}: {best['setting']})."
        )
    return " ".join(told)


def _changes(changes: Mapping[str, Estimate]) -> str:
    """Return changes in words: those whose intervals exclude zero, and how large the others can be."""
    up = {name: one for name, one in changes.items() if one.low > 0}
    down = {name: one for name, one in changes.items() if one.high < 0}
    rest = {name: one for name, one in changes.items() if name not in up | down}
    said = []
    for significant, verb in ((up, "rises"), (down, "falls")):
        if significant:
            each = [f"{abs(one.value):.2f} {name}" for name, one in significant.items()]
            said.append(f"accuracy {verb} by {_and(each)}")
    if rest:
        largest = max(max(-one.low, one.high) for one in rest.values())
        where = "" if len(rest) == len(changes) else f" {_and(list(rest))}"
        said.append(f"no change larger than {largest:.2f} was found{where}")
    return "; ".join(said)


def trend(lines: pd.DataFrame, at: int = PAPERS) -> pd.DataFrame:
    """Return the straight line of accuracy over the logarithm of T's training images, extrapolated.

    It is fitted by least squares, weighted by the intervals of the points. The points share their evaluation
    images, so the intervals of the trend, which take them for independent, are too wide if anything.

    Args:
        lines: `Factor.lines` of the factor `SAMPLES`.
        at: The number of training images to extrapolate to.

    Returns:
        row, protocol, slope (a tenfold), slope_low, slope_high, at, accuracy, low, high: the last three at
        that number, which lies outside the points, with 95% intervals.
    """
    z, found = stats.norm.ppf(0.975), []
    for (row, protocol), points in lines.groupby(["row", "protocol"], sort=False):
        x, error = np.log10(counts(points)), (points["high"] - points["low"]).to_numpy() / (2 * z)
        line, cov = np.polyfit(x, points["accuracy"], 1, w=1 / error, cov="unscaled")
        there = np.array([np.log10(at), 1.0])
        value, width = there @ line, z * np.sqrt(there @ cov @ there)
        steep = z * np.sqrt(cov[0, 0])
        law = {"row": row, "protocol": protocol, "slope": line[0]}
        law |= {"slope_low": line[0] - steep, "slope_high": line[0] + steep, "at": at}
        ends = np.clip([value, value - width, value + width], 0.0, 1.0)
        found.append(law | dict(zip(("accuracy", "low", "high"), ends.tolist(), strict=True)))
    return pd.DataFrame(found)


def counts(lines: pd.DataFrame) -> np.ndarray:
    """Return the number of T's training images (n,) float64 of lines of the factor `SAMPLES`."""
    return lines["setting"].str.replace(",", "").astype(float).to_numpy()


def extrapolated(laws: pd.DataFrame) -> str:
    """Return in words what the lines of `trend` predict."""
    said = []
    for protocol, where in NON_MEMBERS_OF.items():
        law = laws[laws["protocol"] == protocol].set_index("row").loc[ALL]
        slope = round(law["slope"], 2) + 0.0  # no -0.00
        change = f"{slope:+.2f} [{law['slope_low']:+.2f}, {law['slope_high']:+.2f}]"
        said.append(
            f"With non-members of {where}, ten times the images change the accuracy by {change}. "
            f"If the line went on, it would be {estimate(law)} at {law['at']:,} images."
        )
    return "\n\n".join(said)


def depth(audit: Audit, model: AuditedModel) -> Factor:
    """Return the six rows of the paper's tables: each depth, the outcome, all depths."""
    settings = {VANILLA: audit.scores(model)}
    pairs = (ROWS[0], ROWS[3]), (ROWS[3], ALL), (OUTCOME, ALL)
    compared = tuple(((VANILLA, one), (VANILLA, other)) for one, other in pairs)
    return _factor(audit, "depth", settings, VANILLA, ROWS, compared, {VANILLA: VANILLA})


def samples(audit: Audit, model: AuditedModel) -> Factor:
    """Return numbers of MINT samples: all of the profile, a quarter of these, and so on."""
    base = audit.scores(model)
    most = int(next(iter(base.chosen.splits.values())).train_labels.sum())
    settings = {f"{2 * most:,}": base}
    n = most // STEP
    while n >= FEWEST:
        settings[f"{2 * n:,}"] = _mint(audit, model, fewer(base.chosen, n), (OUTCOME, ALL))
        n //= STEP
    rising = dict(reversed(settings.items()))
    return _factor(audit, SAMPLES, rising, f"{2 * most:,}", (OUTCOME, ALL))


def widths(audit: Audit, model: AuditedModel) -> Factor:
    """Return widths of the two layers of the MLP: much narrower, the study's own, much wider."""
    base = audit.scores(model)
    own = audit.mint_recipe
    settings = {
        _widths(hidden): base
        if hidden == own.hidden
        else _mint(audit, model, base.chosen, (ALL,), replace(own, hidden=hidden))
        for hidden in WIDTHS
    }
    return _factor(audit, "widths of the MLP", settings, _widths(own.hidden), (ALL,))


def inputs(audit: Audit, model: AuditedModel) -> Factor:
    """Return inputs as M outputs them, and z-scored as in the study."""
    base = audit.scores(model)
    recipe = replace(audit.mint_recipe, standardise=False)
    raw = _mint(audit, model, base.chosen, (OUTCOME, ALL), recipe)
    settings = {"raw": raw, "standardised": base}
    return _factor(audit, "inputs", settings, "standardised", (OUTCOME, ALL))


def pooling(audit: Audit, model: AuditedModel) -> Factor:
    """Return the mean of each map, and its maximum as in the papers."""
    base = audit.scores(model)
    means = _mint(audit, model, base.chosen, LAYERS, pooling="mean")
    settings = {"mean": means, "max": base}
    compared = ((("mean", ALL), ("max", ALL)),)
    return _factor(audit, "pooling", settings, "max", LAYERS, compared, {"max": VANILLA})


def maps(audit: Audit, model: AuditedModel) -> Factor:
    """Return CNN MINT on the whole maps beside Vanilla MINT on their maxima."""
    base = audit.scores(model)
    settings = {VANILLA: base, CNN: cnn_scores(audit, model, base.chosen)}
    compared = tuple(((VANILLA, row), (CNN, row)) for row in LAYERS)
    printed = {VANILLA: VANILLA, CNN: CNN}
    return _factor(audit, "whole maps", settings, VANILLA, LAYERS, compared, printed)


def cnn_scores(audit: Audit, model: AuditedModel, chosen: AuditSet) -> Scores:
    """Train and evaluate a CNN MINT Model for every split of an audit set, stage and seed."""
    names = list(chosen.splits)
    seeds = audit.config.mint.mint_seeds

    def make() -> dict[str, np.ndarray]:
        device = train.default_device()
        network, _ = model.load(device)
        pieces = [(db.images, indices) for db, indices in audit.images.runs(chosen)]
        source = aad.maps(network, train.COLOUR_ORDER, pieces, device)
        tasks = [(chosen.splits[name], seed) for name in names for seed in range(seeds)]
        found = cnn.fit(source, tasks, audit.mint_recipe, device)
        return {
            str(i): np.stack(found[i * seeds : (i + 1) * seeds], axis=1) for i in range(len(names))
        }

    spec = {
        "version": cnn.VERSION,
        # This digest identifies M and the images.
        "features": audit.activations(model, chosen).digest,
        "splits": split_digests(chosen),
        "recipe": plain(audit.mint_recipe),
        "seeds": seeds,
    }
    found = store.arrays("mint_cnn", spec, "scores.npz", make)
    scores = {
        (name, row): of_row
        for i, name in enumerate(names)
        for row, of_row in zip(LAYERS, found[str(i)], strict=True)
    }
    return Scores(chosen, scores)


def _factor(
    audit: Audit,
    name: str,
    settings: Mapping[str, Scores],
    own: str,
    rows: Collection[str],
    compared: tuple = (),
    printed: Mapping[str, str] | None = None,
) -> Factor:
    """Return a factor of some rows; by default its first setting is compared with its last."""
    columns = {}
    for setting, found in settings.items():
        kept = {key: scores for key, scores in found.scores.items() if key[1] in rows}
        columns[setting] = [Scores(found.chosen, kept)], "members"
    first, last = next(iter(settings)), list(settings)[-1]
    compared = compared or tuple(((first, row), (last, row)) for row in rows)
    table = MintTable.of(columns, audit.config.mint.replicates)
    return Factor(name, table, own, compared, printed or {})


def _mint(
    audit: Audit,
    model: AuditedModel,
    chosen: AuditSet,
    rows: Collection[str],
    recipe: MintRecipe | None = None,
    pooling: str = "max",
) -> Scores:
    """Train and evaluate MINT Models that read some rows of the activations."""
    features = audit.activations(model, chosen, pooling)
    only = replace(features, rows={row: features.rows[row] for row in rows})
    return audit.mint(only, chosen, recipe)


def _widths(hidden: tuple[int, int]) -> str:
    return "-".join(map(str, hidden))


def _named(one: tuple[str, str], other: tuple[str, str]) -> str:
    """Return in words in what two cells (setting, row) differ."""
    if one[0] == other[0]:
        return f"from {one[1]} to {other[1]}"
    return f"for {one[1]}"


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
