"""The base of an audit of one's own, `case.Case` about images and `casepeople.PeopleCase` about persons.

Where nothing is brought, a demonstration takes its place: a folder with the study's own M and images of D,
of which the truth is known.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from mint_utils import store
from mint_utils.data.manifest import Database
from mint_utils.data.membership import uniform
from mint_utils.measure.bootstrap import Decided, Estimate, interval, verdict
from mint_utils.study import scenarios
from mint_utils.study.audit import Audit
from mint_utils.study.casefiles import VERSION, CaseFiles
from mint_utils.study.design import FEWEST_PEOPLE, KNOWN, QUESTIONED

SHOWN = 20_000  # images of D that a demonstration takes, about

LIKE = 0.1  # accuracy or area above .50 up to which two sets count as alike

TRAINED = "better than by the same network untrained"
SEEN = "better than without any network"


class OwnAudit:
    """An audit with its conditions and, for a demonstration, its answers beside the truth.

    Subclasses have ``verdicts`` (`condition`), ``answers`` and ``share()``.

    Attributes:
        question: ``images`` or ``persons``.
        column: The column of ``answers`` that names what is in question.
        files: What is brought.
        demonstration: Whether nothing was brought, and the truth is known.
        replicates: Number of bootstrap replicates.
    """

    question: str
    column: str

    def __init__(self, audit: Audit):
        """Find what is brought; see `CaseFiles`."""
        folder = audit.config.brought.case
        self.demonstration = folder is None
        self.files = CaseFiles(Path(folder or demonstration(audit, self.question)), audit.config)
        self.replicates = audit.config.mint.replicates

    @property
    def verdict_of(self) -> pd.Series:
        """The verdict of each condition, by its question."""
        return self.verdicts.set_index("question")["verdict"]

    def conditions(self, question: str, cells: Sequence[Decided]) -> list[dict]:
        """Return the three conditions that both audits share, as `condition` does.

        Args:
            question: The condition that known members and non-members are distinguished.
            cells: How well the network distinguishes them, the same one untrained, and no network.
        """
        network, untrained, blind = cells
        terms = {
            question: ([(1, network)], 0.5),
            TRAINED: ([(1, network), (-1, untrained)], 0.0),
            SEEN: ([(1, network), (-1, blind)], 0.0),
        }
        return [
            condition(name, interval(term, self.replicates), above)
            for name, (term, above) in terms.items()
        ]

    def truth(self) -> pd.DataFrame:
        """Return the answers of a demonstration beside the truth."""
        true = pd.read_csv(self.files.folder / "truth.csv", dtype={"key": str})
        found = self.answers.merge(true.rename(columns={"key": self.column}), on=self.column)
        named = found["member"][found["named"]]
        share = "share of members among those in question"
        said = "nothing; it would have been " if self.nothing else ""
        lines = [
            (share, f"{said}{self.share()}", f"{found['member'].mean():.2f}"),
            ("named", f"{len(named)}", f"{named.sum()} of these are members"),
        ]
        return pd.DataFrame(lines, columns=["what", "said", "true"])


def condition(question: str, estimate: Estimate, above: float, margin: float = 0.0) -> dict:
    """Return a line of verdicts: how far an estimate lies above a number, and whether beyond the margin."""
    value, low, high = (end - above for end in estimate)
    return {
        "question": question,
        "value": value,
        "low": low,
        "high": high,
        "verdict": verdict(low, high, margin),
    }


def alike(question: str, value: float, low: float, high: float) -> dict:
    """Return a line of verdicts: by how much a classifier without network distinguishes two sets.

    They are alike if the interval of ``value``, an accuracy or area above .50, does not lie above zero and
    ``value`` is at most `LIKE`.
    """
    decided = "contradicted" if low > 0 else "supported" if value <= LIKE else "undecided"
    return {"question": question, "value": value, "low": low, "high": high, "verdict": decided}


def enough(share: Estimate, people: int) -> Estimate:
    """Return a share, or NaN where fewer than `FEWEST_PEOPLE` are in question.

    Among so few, a share far above the truth is too likely: of two people who were not shown, one or both
    are called with a probability of about a third, and the estimate is then 100%.
    """
    return share if people >= FEWEST_PEOPLE else Estimate(np.nan, np.nan, np.nan)


def demonstration(audit: Audit, question: str) -> Path:
    """Return a folder with what an auditor might bring: the study's own M, images of D, and the truth.

    About images, M is the baseline and a third of the images is in question. About persons, the photographs
    are those that were not used, of people shown and of people never shown (notebook 09), and a tenth of
    these people is in question. Of a large D, only as many people take part as have `SHOWN` images.
    """
    config, d = audit.config, audit.training
    column = scenarios.columns(config, "baseline" if question == "images" else "people")[0]
    model, seed = audit.model(column.recipe), config.databases.partition_seed
    ledger = model.ledger
    shown = member = ledger["exposures"].to_numpy() > 0
    cut, part = d.keys, np.full(len(d), True)
    if question == "persons":
        member, cut = ledger["class"].to_numpy() >= 0, d.identities
        part = ~shown & (cut >= 0)
    share = 1 / 3 if question == "images" else 1 / 10  # p values need known people out
    asked = uniform(d.name, cut, "case-questioned", seed) < share
    if len(d) > SHOWN:
        part &= uniform(d.name, d.identities, "case-shown", seed) < SHOWN / len(d)
    rows = np.flatnonzero(part)
    folders = np.where(asked, QUESTIONED, np.where(member, *KNOWN))
    names = [f"{_person(d, i)}{d.keys[i].replace('/', '-')}.png" for i in rows]

    def make(folder: Path) -> None:
        network, head = model.load()
        state = {f"model.{k}": v for k, v in network.state_dict().items()}
        centres = head.kernel.detach().T.contiguous()
        torch.save({"state_dict": state | {"head.weight": centres}}, folder / "weights.pt")
        for i, name in zip(rows, names, strict=True):
            path = folder / folders[i] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(d.images[i]).save(path)
        keys = [name if question == "images" else name.split("/")[0] for name in names]
        truth = pd.DataFrame({"key": keys, "member": member[rows]})[asked[rows]]
        truth.drop_duplicates().to_csv(folder / "truth.csv", index=False)

    spec = {"version": VERSION, "model": model.artifact.digest, "images": d.fingerprint}
    spec |= {} if question == "images" else {"question": question}
    return store.fetch("demonstrations", spec, make).folder


def _person(database: Database, row: int) -> str:
    """Return the sub-folder of an image's person, where that is known."""
    identity = database.identities[row]
    return f"{identity:06d}/" if identity >= 0 else ""
