"""Controls that distinguish membership from differences between databases.

Each repeats the MINT training where something is taken away: the network (blind baselines), its training
(untrained), its having seen these images (the other half), the labels (permuted), one external database at
a time, the people that both sides share, or the differences of preparation. What T still scores then is not
membership.
"""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mint_utils import store
from mint_utils.audited import train
from mint_utils.audited.train import AuditedModel
from mint_utils.audited.untrained import calibrated
from mint_utils.config import PROTOCOL_NAMES, PROTOCOLS, ROWS
from mint_utils.data import equalise
from mint_utils.data.equalise import equalised, softened
from mint_utils.data.manifest import Database
from mint_utils.data.membership import uniform
from mint_utils.measure.bootstrap import Decided, interval, share
from mint_utils.mint import blind
from mint_utils.mint.protocol import permuted
from mint_utils.study import probes, scenarios
from mint_utils.study.audit import Audit, Features, Scores, Trainings
from mint_utils.study.claims import ALL, OUTCOME, STABLE, judged
from mint_utils.study.images import SWAPPED, Images, named
from mint_utils.study.results import MintTable, effect, estimate
from mint_utils.study.scenarios import Column

UNTRAINED_VERSION = 2  # of the untrained network: raised when its statistics change
THIS, OTHER, UNTRAINED, PERMUTED = "M", "other half", "untrained", "labels permuted"
UNTRAINED_IMAGES = 4096  # from which the statistics of the untrained network are computed
BLIND = "blind"
AS_THEY_ARE, IDENTITY = "as they are", "split by identity"
EQUALISED, ALIKE = "equalised", "sharpness alike"
SAMPLED = 1000  # images of a database at most whose sharpness stands for it
_UNSEEN, _HELD = "network that saw other images", "M, held out"
STEPS = {  # of the ladder: name -> (column of the null models, protocol)
    "untrained network": (UNTRAINED, "paper"),
    _UNSEEN: (OTHER, "paper"),
    "M, the paper's protocol": (THIS, "paper"),
    _HELD: (THIS, "held_out"),
}
BEST_BLIND = "best blind baseline"


class Controls:
    """The controls of one configuration's baseline."""

    def __init__(self, audit: Audit):
        self.audit = audit
        self.replicates = audit.config.mint.replicates

    @property
    def models(self) -> list[AuditedModel]:
        """The trainings of the M of the controls: the baseline unless `scenarios.halved`."""
        return self._of_m.models

    @property
    def others(self) -> list[AuditedModel]:
        """The same recipe trained on as many images, the held-out ones instead of the members."""
        return self._trained("swap").models

    @functools.cached_property
    def nulls(self) -> MintTable:
        """The six rows, both protocols: M, the null models on the same images, and permuted labels."""
        audit, pairs = self.audit, list(zip(self.models, self.others, strict=True))
        kind = audit.fair[0]
        columns = {
            THIS: self._of_trainings(audit),
            OTHER: [audit.scores(other, kind, m) for m, other in pairs],
            UNTRAINED: [audit.scores(untrained(audit, m), kind, m) for m in self.models],
            PERMUTED: [self._permuted(m) for m in self.models],
        }
        return self._table(columns, self._failed)

    @functools.cached_property
    def swapped(self) -> MintTable:
        """The paper's protocol the other way round: the other half's members, read from it and from M."""
        pairs, protocols = list(zip(self.models, self.others, strict=True)), ["paper"]
        kind = self.audit.fair[1]
        columns = {
            OTHER: [self.audit.scores(o, kind, protocols=protocols) for _, o in pairs],
            THIS: [self.audit.scores(m, kind, o, protocols) for m, o in pairs],
        }
        return self._table(columns, self._failed)

    @property
    def _failed(self) -> set[str]:
        """The columns with a failed training among theirs."""
        of = {THIS: self._of_m, OTHER: self._trained("swap")}
        return {name for name, trained in of.items() if trained.holds_failed}

    @property
    def _of_m(self) -> Trainings:
        return self._trained("halves" if scenarios.halved(self.audit.config) else "baseline")

    @functools.cached_property
    def blind(self) -> MintTable:
        """Both protocols for features of the image alone; rows are the names of the baselines."""
        return self._table({BLIND: [self._blind(self.audit)]})

    @functools.cached_property
    def prepared(self) -> MintTable:
        """M and the blind baselines: images as they are, people kept apart, one identical preparation."""
        columns = {}
        for name, audit in self._preparations.items():
            of_m = self._of_trainings(audit)
            blind = self._blind(audit)
            # The images are the same for every training of M, and so are the blind baselines.
            columns[name] = [replace(of_m[0], scores=of_m[0].scores | blind.scores), *of_m[1:]]
        return self._table(columns)

    @functools.cached_property
    def _preparations(self) -> dict[str, Audit]:
        config, images = self.audit.config, self.audit.images
        return {
            AS_THEY_ARE: self.audit,
            IDENTITY: Audit(config.replace(split="identity")),
            EQUALISED: Audit(config, _Equalised(images, {})),
            ALIKE: Audit(config, _Equalised(images, softening(images))),
        }

    @functools.cached_property
    def turned(self) -> MintTable:
        """The paper's protocol with each external database in turn as the evaluation's, a column each.

        T is trained on the others.
        """
        roles = self.audit.config.databases
        externals = [*roles.external_train, roles.external_eval]
        columns = {}
        for name in externals:
            rest = tuple(other for other in externals if other != name)
            audit = Audit(self.audit.config.replace(external_train=rest, external_eval=name))
            columns[name] = self._of_trainings(audit, ["paper"])
        return self._table(columns)

    def make(self) -> None:
        """Make everything that is read of Audited Models, so all but the blind baselines."""
        _ = self.nulls, self.swapped, self.turned
        probes.table(self.audit, self._trained("baseline").models)
        for audit in self._preparations.values():
            self._of_trainings(audit)

    def ladder(self) -> pd.DataFrame:
        """Return the accuracy of each step from blind to M, for each row of the paper's tables.

        Returns:
            row, step, accuracy, low, high; the best blind baseline is one number for all rows.
        """
        numbers = ["accuracy", "low", "high"]
        of_blind = self.blind.cells.set_index(["protocol", "row"]).loc["paper", self.blind_row]
        cells = self.nulls.cells.set_index(["column", "protocol", "row"])
        lines = [{"row": row, "step": BEST_BLIND, **of_blind[numbers]} for row in ROWS]
        lines += [
            {"row": row, "step": step, **cells.loc[(*where, row), numbers]}
            for step, where in STEPS.items()
            for row in ROWS
        ]
        return pd.DataFrame(lines)

    @property
    def blind_row(self) -> str:
        """The blind baseline that distinguishes the databases best."""
        cells = self.blind.cells[self.blind.cells["protocol"] == "paper"]
        return cells.loc[cells["accuracy"].idxmax(), "row"]

    @functools.cache  # noqa: B019  (controls live as long as their notebook)
    def shares(self) -> pd.DataFrame:
        """Return for each row the share of the paper's excess over .50 that is left within one database.

        row, value, low, high: (held_out - .5) / (paper - .5), see `share`. ``null``, ``null_low``,
        ``null_high``: the share that the network that saw other images reaches as well.
        """
        names, lines = ("value", "low", "high", "null", "null_low", "null_high"), []
        for row in ROWS:
            whole = self.nulls.decided(THIS, "paper", row)
            parts = (
                self.nulls.decided(THIS, "held_out", row),
                self.nulls.decided(OTHER, "paper", row),
            )
            ends = [end for part in parts for end in share(part, whole, replicates=self.replicates)]
            lines.append({"row": row} | dict(zip(names, ends, strict=True)))
        return pd.DataFrame(lines)

    def claims(self) -> pd.DataFrame:
        """Return what the controls say, with the columns of `claims.decide`.

        ``protocol`` is where the first cell is from.
        """
        return pd.DataFrame(
            {"where": "added", "claim": f"{row}: {text}", "printed": "–", "protocol": protocol}
            | judged(terms, self.replicates, above, margin)
            for row in (ALL, OUTCOME)
            for text, protocol, terms, above, margin in _asked(self, row)
        )

    def conclusion(self) -> str:
        """Return what the controls say, in words made of their numbers."""
        seen, unseen = (self.nulls.decided(name, "paper", ALL) for name in (THIS, OTHER))
        held = self.nulls.decided(THIS, "held_out", ALL)
        told = [str(interval([(1, cell)], self.replicates)) for cell in (seen, unseen, held)]
        images = interval([(1, seen), (-1, unseen)], self.replicates)
        chance = interval([(1, held)], self.replicates)
        above = "above chance" if chance.low > 0.5 else "not above chance"
        once = " M was trained once: another training may give other numbers."
        return (
            f"With non-members of other databases T, reading all layers, classifies {told[0]} of the images "
            f"correctly on M, and {told[1]} on a network that never saw these images: {effect(images)} "
            f"between the two. With non-members of the same database it classifies {told[2]} correctly on "
            f"M, which is {above}.{once if len(self.models) == 1 else ''}"
            f"{scenarios.told_halves(self.audit.config)}"
        )

    @functools.cache  # noqa: B019  (controls live as long as their notebook)
    def _trained(self, scenario: str) -> Trainings:
        return self.audit.trained(scenario, scenarios.columns(self.audit.config, scenario)[0])

    def _of_trainings(self, audit: Audit, protocols: Collection[str] = PROTOCOLS) -> list[Scores]:
        """Return the scores of the MINT Models of an audit for each training of M."""
        return [audit.scores(m, audit.fair[0], protocols=protocols) for m in self.models]

    def _permuted(self, model: AuditedModel) -> Scores:
        chosen = self.audit.chosen(model, self.audit.fair[0])
        return self.audit.mint(self.audit.activations(model, chosen), permuted(chosen))

    def _blind(self, audit: Audit) -> Scores:
        """Return the scores of the blind baselines: every training of M has the same images."""
        chosen = audit.chosen(self.models[0], audit.fair[0])
        return audit.mint(blind_features(audit.images.runs(chosen)), chosen)

    def _table(self, columns: dict[str, list[Scores]], failed: Collection[str] = ()) -> MintTable:
        found = {name: (scores, "members") for name, scores in columns.items()}
        return MintTable.of(found, self.replicates, failed)


def _asked(
    controls: Controls, row: str
) -> list[tuple[str, str, list[tuple[int, Decided]], float, float]]:
    """Return what is asked of a row: text, protocol, terms of a sum, what it exceeds, its margin."""
    of_m = {name: controls.nulls.decided(name, "paper", row) for name in (THIS, OTHER, UNTRAINED)}
    held = controls.nulls.decided(THIS, "held_out", row)
    swapped = [(1, controls.swapped.decided(OTHER, "paper", row))]
    swapped += [(-1, controls.swapped.decided(THIS, "paper", row))]
    # The blind baselines have no network that may have been trained only once.
    blind = replace(controls.blind.decided(BLIND, "paper", controls.blind_row), reservation="")
    this = (1, of_m[THIS])
    return [
        ("by the paper's protocol T is above chance", "paper", [this], 0.5, 0.0),
        (f"more than for a {_UNSEEN}", "paper", [this, (-1, of_m[OTHER])], 0.0, 0.0),
        ("the same for the other half's members", "paper", swapped, 0.0, STABLE),
        ("more than for an untrained network", "paper", [this, (-1, of_m[UNTRAINED])], 0.0, 0.0),
        (f"more than for no network at all ({controls.blind_row})", "paper", [this, (-1, blind)],
         0.0, 0.0),
        ("with non-members of the same database", "held_out", [(1, held)], 0.5, 0.0),
    ]  # fmt: skip


def untrained(audit: Audit, model: AuditedModel) -> AuditedModel:
    """Return M as it was initialised, its BatchNorm statistics those of images of D, seen or not."""
    images, record = audit.training.images, model.artifact.record

    def make(folder: Path) -> dict[str, int]:
        network, head = train.build(model.recipe, record["image_size"], record["classes"])
        # Of held-out images too: statistics of the members alone would tell something of them.
        some = np.random.default_rng(0).permutation(len(images))[:UNTRAINED_IMAGES]
        network.to(train.default_device(), memory_format=torch.channels_last)
        calibrated(network, images, some, train.COLOUR_ORDER).cpu()
        weights = {"network": network.state_dict(), "head": head.state_dict()}
        torch.save(weights, folder / "model.pt")
        return {name: record[name] for name in ("image_size", "classes")}

    spec = {"version": UNTRAINED_VERSION, "model": model.artifact.digest}
    return AuditedModel(store.fetch("untrained", spec, make), model.recipe)


def never_shown(audit: Audit, model: AuditedModel) -> Scores:
    """Return the scores under ``paper`` with images that M never saw in the place of its members."""
    other = replace(audit.config.audited, shown="held_out")
    chosen = audit.images.audit_set(SWAPPED, audit.images.plan(other).images * other.epochs)
    return audit.mint(audit.activations(model, chosen), chosen, protocols=["paper"])


def blind_features(runs: Sequence[tuple[Database, np.ndarray]]) -> Features:
    """Return the features of the blind baselines, a row of a table each, for images; see `Images.runs`."""

    def make(folder: Path) -> dict[str, list[int]]:
        pieces = [(db.images, indices) for db, indices in runs]
        parts = [blind.extract(name, pieces) for name in blind.BASELINES]
        np.save(folder / "features.npy", np.hstack(parts))
        return {"ends": np.cumsum([part.shape[1] for part in parts]).tolist()}

    spec = {"version": blind.VERSION, "images": named(runs), "baselines": list(blind.BASELINES)}
    done = store.fetch("blind", {"digest": store.digest(spec)}, make)
    ends = done.record["ends"]
    slices = map(slice, [0, *ends[:-1]], ends)
    array = np.load(done.folder / "features.npy", mmap_mode="r")
    return Features(array, dict(zip(blind.BASELINES, slices, strict=True)), done.digest)


def softening(images: Images) -> dict[str, float]:
    """Return how far each database is softened to be as sharp as the softest.

    Returns:
        Name -> width in pixels, `equalise.alike` of at most `SAMPLED` images, chosen by hash.
    """

    def make(folder: Path) -> dict[str, dict[str, float]]:
        samples = {}
        for db in images.audited:
            order = np.argsort(uniform(db.name, db.keys, "sharpness", 0), kind="stable")
            samples[db.name] = db.images[np.sort(order[:SAMPLED])]
        return {"widths": equalise.alike(samples)}

    spec = {"quality": equalise.QUALITY, "sampled": SAMPLED, "step": equalise.STEP}
    spec["databases"] = [db.fingerprint for db in images.audited]
    return store.fetch("softening", spec, make).record["widths"]


def end_points(audit: Audit) -> pd.DataFrame:
    """Return the cells at the end points of the scenarios, with the column ``positives``.

    These are members, or in their place images that the same M was never shown. What the paper's protocol
    yields for the latter is due to the database alone.
    """
    ends = scenarios.end_points(audit.config)
    # A part of the members has as large a part of the images never shown beside it.
    others = {
        name: column if column.group == "members" else replace(column, group=scenarios.NEVER)
        for name, column in ends.items()
    }

    def unseen(model: AuditedModel, column: Column) -> Scores:
        if column.group == "members":
            return never_shown(audit, model)
        return audit.scores(model, column.kind)

    shown = MintTable.read(audit, "ends", ends, lambda m, c: audit.scores(m, c.kind)).cells
    never = MintTable.read(audit, "ends", others, unseen).cells.query("protocol == 'paper'")
    both = shown.assign(positives="members"), never.assign(positives="never shown")
    each = [cells[cells["column"] == name] for name in ends for cells in both]
    return pd.concat(each, ignore_index=True)


def decomposition(ends: pd.DataFrame, rows: Sequence[str] = (ALL, OUTCOME)):
    """Return `end_points` as text: the paper's protocol for members, and for images never shown."""
    headings = {
        ("paper", "members"): f"{PROTOCOL_NAMES['paper']}: members",
        ("paper", "never shown"): f"{PROTOCOL_NAMES['paper']}: never shown in their place",
        ("held_out", "members"): f"{PROTOCOL_NAMES['held_out']}: members",
    }
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for _, cell in ends[ends["row"].isin(rows)].iterrows():
        where = {"model": cell["column"], "row": cell["row"]}
        line = lines.setdefault((cell["column"], cell["row"]), where)
        line[headings[cell["protocol"], cell["positives"]]] = estimate(cell)
    return pd.DataFrame(lines.values())


class _Equalised(Images):
    """The same images, put through one identical preparation when they are read.

    Attributes:
        softening: Name of a database that is softened first -> width in pixels.
    """

    def __init__(self, plain: Images, softening: Mapping[str, float]):
        super().__init__(plain.config)
        self.plain = plain
        self.softening = softening

    def contamination(self) -> pd.DataFrame:
        """Return that of the unprepared images, for the choice must not depend on the preparation."""
        return self.plain.contamination()

    def database(self, name: str) -> Database:
        """Return a database whose images are prepared when they are asked for."""
        plain = self.plain.database(name)
        width = self.softening.get(name, 0.0)
        fingerprint = f"{plain.fingerprint} equalised {equalise.QUALITY}"
        if width:
            fingerprint += f" softened {width}"
        return replace(plain, images=_EqualisedImages(plain.images, width), fingerprint=fingerprint)


class _EqualisedImages:
    """Images (N, S, S, 3) that are softened and equalised when they are asked for."""

    def __init__(self, images: np.ndarray, width: float):
        self.images = images
        self.width = width
        self.shape = images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return equalised(softened(self.images[index], self.width))
