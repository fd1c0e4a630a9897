"""What an auditor brings: the file of a network's weights and three folders of images.

In: a folder with one file of weights and the folders ``members``, ``non_members`` and ``questioned``. Out:
the network, and the images that take part with their people and folds. Where nothing is brought: such a
folder with the study's own M and images of D, and the truth.
"""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from mint_utils import store
from mint_utils.audited import train
from mint_utils.audited.ir import COLOUR_ORDERS, load_centres, load_weights
from mint_utils.config import Audited, Config
from mint_utils.data import description
from mint_utils.data.contamination import contaminated
from mint_utils.data.manifest import Database, open_folder
from mint_utils.data.membership import uniform
from mint_utils.errors import DataError
from mint_utils.study import scenarios
from mint_utils.study.audit import Audit

VERSION = 1  # raised when the same weights and images give other features or another demonstration
KNOWN = ("members", "non_members")
QUESTIONED = "questioned"
FOLDERS = (*KNOWN, QUESTIONED)
WEIGHTS = {".pt", ".pth", ".ckpt"}
FOLDS = 3  # T is trained on two thirds, as in the paper


class CaseFiles:
    """A folder that was brought: what is in it, checked.

    Attributes:
        folder: Which.
        weights: The file of weights in it.
        recipe: Of the network, of which its name counts.
        image_size: Of the network, in pixels.
        seed: Of the cuts.
    """

    def __init__(self, folder: Path, config: Config):
        """Find the files.

        Raises:
            DataError: The file of weights or one of the three folders is missing, or the weights are not
                those of the network.
        """
        self.folder, (self.weights, _) = folder, _located(folder)
        self.recipe = Audited(network=config.audited.network)
        self.image_size, self.seed = config.databases.image_size, config.databases.partition_seed
        self.loaded()  # weights that do not fit are told before anything is computed

    @functools.cached_property
    def databases(self) -> dict[str, Database]:
        """The three folders at the network's image size."""
        return {name: open_folder(name, self.folder / name, self.image_size) for name in FOLDERS}

    @functools.cached_property
    def copies(self) -> pd.DataFrame:
        """The images that lie in two folders, by perceptual hash; none takes part in the second.

        Returns:
            folder, key, also_in, other_key, distance (bits of 256).
        """
        pairs = [("non_members", "members"), (QUESTIONED, "members"), (QUESTIONED, "non_members")]
        frames = []
        for name, other in pairs:
            found = contaminated(self.databases[other], self.databases[name])
            found = found.rename(columns={"database": "folder", "training_key": "other_key"})
            frames.append(found.assign(also_in=other))
        copies = pd.concat(frames, ignore_index=True)
        return copies[["folder", "key", "also_in", "other_key", "distance"]]

    @functools.cached_property
    def images(self) -> pd.DataFrame:
        """One line an image that takes part: database (its folder), index, key, person, fold.

        Nobody is in two folds; an image of an unknown person is a person of its own.
        """
        frames = []
        for name, db in self.databases.items():
            keys = db.keys.tolist()
            person = [key.split("/")[0] for key in keys] if (db.identities >= 0).all() else None
            frame = pd.DataFrame({"database": name, "index": np.arange(len(db)), "key": keys})
            frames.append(frame.assign(person=person or [f"{name}/{key}" for key in keys]))
        images = pd.concat(frames, ignore_index=True)
        copies = set(zip(self.copies["folder"], self.copies["key"], strict=True))
        names = zip(images["database"], images["key"], strict=True)
        images = images[[name not in copies for name in names]].reset_index(drop=True)
        numbers = uniform("case", images["person"].to_numpy(str), "case-fold", self.seed)
        return images.assign(fold=(numbers * FOLDS).astype(int))

    def people(self) -> str:
        """Return in words whether people are known, and what follows where they are not."""
        unknown = [name for name, db in self.databases.items() if (db.identities < 0).any()]
        if not unknown:
            return (
                "People are known in all three folders: nobody is judged by a model that was trained on an "
                "image of the same person. A person must bear one name in all of them."
            )
        return (
            f"People are not known in {', '.join(unknown)} (no sub-folders): each image there counts as a "
            "person of its own, and **may be judged by a model that was trained on the same person**."
        )

    def counts(self) -> pd.DataFrame:
        """Return for each folder its images, people, and images left out as copies."""
        lines = []
        for name, db in self.databases.items():
            of = self.images[self.images["database"] == name]
            known = (db.identities >= 0).all()
            people = of["person"].nunique() if known else None
            lines.append((name, len(db), len(db) - len(of), people))
        frame = pd.DataFrame(lines, columns=["folder", "images", "left out as copies", "people"])
        return frame.astype({"people": "Int64"})

    @functools.cached_property
    def runs(self) -> list[tuple[Database, np.ndarray]]:
        """The databases of `images` with the indices wanted of each, in its order."""
        of = self.images.groupby("database", sort=False)["index"]
        return [(self.databases[name], index.to_numpy()) for name, index in of]

    @functools.cached_property
    def centres(self) -> torch.Tensor | None:
        """The class centres of the head, (D, C), where the file holds them."""
        return load_centres(self.weights)

    @functools.cached_property
    def digest(self) -> str:
        """Of the file of weights."""
        return description.fingerprint(self.weights)

    def built(self) -> tuple[nn.Module, nn.Module, str]:
        """Return network and head as they are before any training, and the colour order of the input."""
        classes = 2 if self.centres is None else self.centres.shape[1]
        return *train.build(self.recipe, self.image_size, classes), train.COLOUR_ORDER

    def loaded(self) -> tuple[nn.Module, nn.Module, str]:
        """Return them with the weights that were brought."""
        network, head, _ = self.built()
        layout = load_weights(network, self.weights)
        if self.centres is not None:
            head.load_state_dict({"kernel": self.centres}, strict=False)
        return network, head, COLOUR_ORDERS[layout]


def check(config: Config) -> None:
    """Refuse what is brought where something of it is missing; see `CaseFiles`."""
    if config.brought.case is not None:
        _located(Path(config.brought.case))


def fingerprint(config: Config) -> str | None:
    """Return a hash of the files that a configuration brings; None where it brings none."""
    if config.brought.case is None:
        return None
    weights, folders = _located(Path(config.brought.case))
    return store.digest([description.fingerprint(path) for path in (weights, *folders)])


def _located(folder: Path) -> tuple[Path, list[Path]]:
    """Return the file of weights that lies in a folder, and the three folders.

    Raises:
        DataError: Something of it is missing, or there is more than one file of weights.
    """
    for path in (folder, *(folder / name for name in FOLDERS)):
        if not path.is_dir():
            raise DataError(
                f"There is no folder {path}: a case is a folder with a file of weights and aligned crops in "
                f"{', '.join(FOLDERS)} below it, each person's in a sub-folder if you know them."
            )
    found = [path for path in folder.glob("*") if path.suffix in WEIGHTS]
    if len(found) != 1:
        raise DataError(
            f"{folder} holds {len(found)} files of weights ({', '.join(sorted(WEIGHTS))}) and must hold one: "
            f"put the network's there, beside the folders {', '.join(FOLDERS)}."
        )
    return found[0], [folder / name for name in FOLDERS]


def demonstration(audit: Audit) -> Path:
    """Return a folder with what an auditor might bring: the study's own M and images of D, and the truth."""
    config, d = audit.config, audit.training
    column = scenarios.columns(config, "baseline")[0]
    model = audit.model(column.recipe)
    shown = model.ledger["exposures"].to_numpy() > 0
    question = uniform(d.name, d.keys, "case-questioned", config.databases.partition_seed) < 1 / 3

    def make(folder: Path) -> None:
        network, head = model.load()
        state = {f"model.{k}": v for k, v in network.state_dict().items()}
        torch.save(
            {"state_dict": state | {"head.kernel": head.kernel.detach()}}, folder / "weights.pt"
        )
        for i, key in enumerate(d.keys.tolist()):
            name = QUESTIONED if question[i] else KNOWN[0] if shown[i] else KNOWN[1]
            path = folder / name / f"{_person(d, i)}{key.replace('/', '-')}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(d.images[i]).save(path)
        keys = [
            f"{_person(d, i)}{d.keys[i].replace('/', '-')}.png" for i in np.flatnonzero(question)
        ]
        truth = pd.DataFrame({"key": keys, "member": shown[question]})
        truth.to_csv(folder / "truth.csv", index=False)

    spec = {"version": VERSION, "model": model.artifact.digest, "images": d.fingerprint}
    return store.fetch("demonstrations", spec, make).folder


def _person(database: Database, row: int) -> str:
    """Return the sub-folder of an image's person, where that is known."""
    identity = database.identities[row]
    return f"{identity:06d}/" if identity >= 0 else ""
