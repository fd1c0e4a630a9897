"""Own audits: how often the intervals of accuracy and share hold the truth, and false names, by simulation.

``python -m benchmarks.coverage`` takes some minutes. First images: toy features, no network, people with two
known members and two known non-members each, and two images in question, one of them a member. T is a linear
discriminant, or, where it says so, the study's own MINT Model. Beside the intervals with the spread of deals:
those without, and a permutation test (is the accuracy above that of 19 relabellings within people?) that only
gates an answer. Then persons, of whom one normal score each is read.
"""

import numpy as np
from scipy.stats import false_discovery_control

from mint_utils.measure.bootstrap import Decided, interval, prevalence
from mint_utils.mint.fit import MintRecipe, MintTask, fit
from mint_utils.study.case import DEALS, FALSE, dealt
from mint_utils.study.casepeople import CALLED, conformal
from mint_utils.study.design import FOLDS, p_values

# Known images, features, signal, trials, whether T is the MINT Model, whether relabellings are tried.
SETTINGS = (
    (200, 4, 0.0, 600, False, True),
    (200, 4, 0.8, 300, False, False),
    (200, 4, 2.0, 300, False, False),
    (1000, 4, 0.0, 300, False, True),
    (1000, 4, 0.4, 300, False, False),
    (1000, 4, 2.0, 300, False, False),
    (5000, 4, 0.0, 200, False, False),
    (5000, 4, 0.2, 200, False, False),
    (5000, 4, 2.0, 200, False, False),
    (1000, 60, 0.0, 200, False, False),
    (1000, 60, 1.0, 200, False, False),
    (200, 4, 0.0, 200, True, False),
    (200, 4, 1.5, 200, True, False),
    (1000, 4, 0.0, 100, True, False),
)
RELABELLINGS, REPLICATES = 19, 500
# Known people of either kind, people in question, deviations between the two kinds, share who were shown.
PERSONS = [
    (known, asked, signal, share)
    for known in (20, 50, 150)
    for asked in (10, 30, 100)
    for signal in (1.5, 3.0)
    for share in (0.0, 0.3, 0.7, 1.0)
]


def discriminant(x: np.ndarray, labels: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Return (m,) probabilities of membership by a linear discriminant."""
    first, second = x[labels].mean(axis=0), x[~labels].mean(axis=0)
    spread = np.cov(np.vstack([x[labels] - first, x[~labels] - second]).T)
    w = np.linalg.solve(spread + 0.01 * np.eye(x.shape[1]), first - second)
    return 1 / (1 + np.exp(-np.clip((unseen - (first + second) / 2) @ w, -30, 30)))


def judged(x, labels, known, folds, mint: bool) -> np.ndarray:
    """Return (deals, N) scores of all images by models trained on known ones of other folds."""
    scores = np.empty(folds.shape)
    parts = [(d, i) for d in range(len(folds)) for i in range(FOLDS)]
    rows = [
        (np.flatnonzero(known & (folds[d] != i)), np.flatnonzero(folds[d] == i)) for d, i in parts
    ]
    if mint:
        tasks = [
            MintTask(slice(0, x.shape[1]), train, labels[train], out, 0) for train, out in rows
        ]
        found = fit(x.astype(np.float32), tasks, MintRecipe())
    else:
        found = [discriminant(x[train], labels[train], x[out]) for train, out in rows]
    for (d, _), (_, out), values in zip(parts, rows, found, strict=True):
        scores[d, out] = values
    return scores


def trial(rng: np.random.Generator, n: int, width: int, signal: float, mint: bool, relabel: bool):
    """Return a dict of one simulated case."""
    people = n // 4
    person = np.repeat(np.arange(people), 6)
    kind = np.tile([0, 0, 1, 1, 2, 3], people)  # member, non-member, in question: member, none
    labels, known = np.isin(kind, (0, 2)), kind < 2
    x = 0.5 * rng.standard_normal((people, width))[person] + rng.standard_normal((len(kind), width))
    x[:, 0] += signal * labels
    folds = np.stack([(rng.permutation(people) % FOLDS)[person] for _ in range(DEALS)])
    scores = judged(x, labels, known, folds, mint)
    right = (scores > 0.5) == labels
    cells = {
        "with": dealt(Decided(labels[known], right[:, known].astype(float), person[known])),
        "without": Decided(labels[known], right[:, known], person[known]),
    }
    asked = Decided(np.full((~known).sum(), True), scores[:, ~known] > 0.5, person[~known])
    told = {name: interval([(1, cell)], REPLICATES) for name, cell in cells.items()}
    p = p_values(scores, kind == 1, ~known, folds, np.ones(len(kind)))
    named = false_discovery_control(p) <= FALSE
    gate = np.nan
    if relabel:
        others = [_relabelled(rng, x, labels, known, folds, mint) for _ in range(RELABELLINGS)]
        gate = told["without"].value > max(others)
    return {
        "accuracy": told,
        "share": prevalence(cells["with"], dealt(asked), REPLICATES),
        "named": (named.sum(), (named & ~labels[~known]).sum()),
        "gate": gate,
    }


def _relabelled(rng, x, labels, known, folds, mint) -> float:
    """Return the accuracy after the labels of each person's known images were dealt anew."""
    dealt_anew = labels.copy()
    rows = np.flatnonzero(known).reshape(-1, 4)
    dealt_anew[rows] = rng.permuted(labels[rows], axis=1)
    scores = judged(x, dealt_anew, known, folds, mint)
    return np.mean(((scores > 0.5) == dealt_anew)[:, known])


def of_persons(rng: np.random.Generator, known: int, asked: int, signal: float, share: float):
    """Return of one simulated case the estimated share who were shown, the named, and those named wrongly.

    A known person out is compared with the others who are out, as in the audit.
    """
    inside, out = rng.normal(signal, 1, known), rng.normal(0, 1, known)
    shown = np.arange(asked) < round(share * asked)
    scores = rng.normal(0, 1, asked) + signal * shown
    alone = [conformal(np.delete(out, i), out[i : i + 1])[0] for i in range(known)]
    called = np.concatenate([conformal(out, inside), alone]) <= CALLED
    labels, p = np.arange(2 * known) < known, conformal(out, scores)
    right = np.where(labels, called, ~called)[None]
    of = Decided(np.full(asked, True), (p <= CALLED)[None], np.arange(asked))
    named = false_discovery_control(p) <= FALSE
    found = prevalence(Decided(labels, right, np.arange(2 * known)), of, REPLICATES)
    return found, named.sum(), (named & ~shown).sum()


def persons(trials: int = 400) -> None:
    """Print a line a setting of `PERSONS`: how often the share's interval holds it, and false names."""
    for known, asked, signal, share in PERSONS:
        rng = np.random.default_rng(1)
        cases = [of_persons(rng, known, asked, signal, share) for _ in range(trials)]
        told = [found for found, _, _ in cases if not np.isnan(found.value)]
        held = np.mean([found.low <= round(share * asked) / asked <= found.high for found in told])
        wide = np.mean([found.high - found.low for found in told])
        false = np.mean([wrong / max(named, 1) for _, named, wrong in cases])
        print(
            f"  {known:4} known of either kind, {asked:3} asked, signal {signal}, {share:.0%} shown: "
            f"answered {len(told)} of {trials}, holds it {held:.3f}, width {wide:.2f}; "
            f"named wrongly {false:.3f}",
            flush=True,
        )


def main() -> None:
    """Print a line a setting: how often intervals hold the truth, and the false share of the named."""
    print("  images features signal  T             accuracy  holds it with / without deals' spread  "
          "share: holds .50  width  named wrongly  passes 19 relabellings")  # fmt: skip
    for n, width, signal, trials, mint, relabel in SETTINGS:
        rng = np.random.default_rng(0)
        found = [trial(rng, n, width, signal, mint, relabel) for _ in range(trials)]
        values = [one["accuracy"]["with"].value for one in found]
        truth = np.mean(values) if signal else 0.5
        held = {
            name: np.mean([one["accuracy"][name].low <= truth <= one["accuracy"][name].high for one in found])
            for name in ("with", "without")
        }  # fmt: skip
        shares = [one["share"] for one in found if not np.isnan(one["share"].value)]
        of_share = (
            np.mean([s.low <= 0.5 <= s.high for s in shares]) if signal and shares else np.nan
        )
        wide = np.mean([s.high - s.low for s in shares]) if signal and shares else np.nan
        named = np.array([one["named"] for one in found])
        false = (named[:, 1] / np.maximum(named[:, 0], 1)).mean()
        gate = np.mean([one["gate"] for one in found])
        print(
            f"  {n:6} {width:8} {signal:6}  {'MINT Model  ' if mint else 'discriminant'}  {truth:8.3f}  "
            f"{held['with']:.3f} / {held['without']:.3f} ({trials})  share {of_share:.3f} ({len(shares)})  "
            f"{wide:.2f}  named {named[:, 0].mean():.1f}, wrongly {false:.3f}  gate {gate:.3f}",
            flush=True,
        )
    persons()


if __name__ == "__main__":
    main()
