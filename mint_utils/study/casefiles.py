"""What an auditor brings: the file of a network's weights and three folders of images.

The folders are ``members``, ``non_members`` and ``questioned``. The network is opened here, and the images
that take part are found with their people and read.
"""

import functools
import os
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from scipy import stats
from torch import nn

from mint_utils import store
from mint_utils.audited import networks, train
from mint_utils.audited.ir import COLOUR_ORDERS, COUNTERS, SHAPES, load_weights
from mint_utils.audited.margins import load_centres, make_head, read_head
from mint_utils.audited.untrained import calibrated
from mint_utils.config import Audited, Config
from mint_utils.data import description
from mint_utils.data.contamination import contaminated, repeated
from mint_utils.data.folders import NOTHING, walk
from mint_utils.data.manifest import Database, open_folder
from mint_utils.errors import DataError
from mint_utils.mint import aad, readings
from mint_utils.study import design
from mint_utils.study.audit import Features
from mint_utils.study.design import FOLDERS, KNOWN, QUESTIONED
from mint_utils.study.images import named

VERSION = 2  # raised when the same weights and images give other features or another demonstration
NETWORK, UNTRAINED, BLIND = "the network", "untrained", "no network"
PROBED = 300  # images on which the colour orders are compared
COPY = "a copy"
BESIDE = "beside the people's folders: put it into its person's"
WEIGHTS = {".pt", ".pth", ".ckpt"}


def _left_out(files: "CaseFiles") -> pd.DataFrame:
    """Return the files that take no part: not read, copies by perceptual hash, beside the people's folders.

    Of copies in one folder the first takes part, of those in two folders that in the first of `FOLDERS`.

    Returns:
        folder, key, why, also_in, other_key, distance (bits of 256).
    """
    pairs = [("non_members", "members"), (QUESTIONED, "members"), (QUESTIONED, "non_members")]
    frames = []
    for name, db in files.databases.items():
        stray = [] if not files.has_people(name) else [k for k in db.keys if "/" not in k]
        unread = pd.DataFrame(list(db.unread), columns=["key", "why"])
        frames.append(unread.assign(folder=name))
        frames.append(pd.DataFrame({"folder": name, "key": stray, "why": BESIDE}))
        frames.append(repeated(db, stray).assign(folder=name, why=COPY, also_in=name))
    for name, other in pairs:
        found = contaminated(files.databases[other], files.databases[name])
        found = found.rename(columns={"training_key": "other_key"})
        frames.append(found.assign(folder=name, why=COPY, also_in=other))
    columns = ["folder", "key", "why", "also_in", "other_key", "distance"]
    every = pd.concat([frame.reindex(columns=columns) for frame in frames if len(frame)] or
                      [pd.DataFrame(columns=columns)], ignore_index=True)  # fmt: skip
    return every.drop_duplicates(["folder", "key"], ignore_index=True)


def _digest(files: "CaseFiles") -> str:
    """Return a hash of the network: of its weights, itself if it is not the study's own, and its head."""
    parts = [] if files.weights is None else [description.fingerprint(files.weights)]
    if not files.own:
        parts.append(networks.fingerprint(files.recipe.network, files.opened.network))
    if files.brought.head is not None:
        parts.append(store.digest(files.centres.numpy().tobytes().hex()))
    return parts[0] if len(parts) == 1 else store.digest(parts)


def _told(files: "CaseFiles") -> str:
    """Return in words how the network is read: how many tensors come from the file, and its input."""
    head = (
        "no class centres" if files.centres is None else f"{files.centres.shape[1]} class centres"
    )
    if not files.own:
        return f"{files.opened}; {head}."
    network, _, order = files.loaded()
    tensors = [v for k, v in network.state_dict().items() if not k.endswith(COUNTERS)]
    n = sum(bool(value.isfinite().all()) for value in tensors)
    source = "given" if files.brought.colour_order else f"as {files.layout} weights take it"
    numbers = [
        ", ".join(f"{v:g}" for v in values or (0.5,))
        for values in (files.brought.mean, files.brought.std)
    ]
    return (
        f"{files.weights.name}: {files.recipe.network} at {files.image_size} px, {n} of its "
        f"{len(tensors)} tensors from the file, {head}. "
        f"Input: {order.upper()} ({source}), mean {numbers[0]}, std {numbers[1]}."
    )


class CaseFiles:
    """A folder that was brought: what is in it, checked.

    Attributes:
        folder: The folder that was brought.
        weights: The file of weights in it; None where the network is a file of its own.
        recipe: The recipe of the network, of which only its name counts.
        image_size: The side of the network's input, in pixels.
        seed: The seed of all random choices by hash.
    """

    def __init__(self, folder: Path, config: Config):
        """Find the files.

        Raises:
            DataError: The file of weights or one of the three folders is missing, or the weights are not
                those of the network.
            ParameterError: The network is none that can be opened (`networks.open_network`).
        """
        self.folder, (self.weights, _) = folder, _located(folder, config.audited.network)
        self.recipe, self.brought = Audited(network=config.audited.network), config.brought
        self.image_size, self.seed = config.databases.image_size, config.databases.partition_seed
        if not self.own:
            self.image_size = self.opened.image_size  # its own size, not the profile's
        self.loaded()  # refuses weights that do not fit before anything is computed

    # ---- images and people --------------------------------------------------------------------

    @functools.cached_property
    def databases(self) -> dict[str, Database]:
        """The three folders at the network's image size.

        Raises:
            DataError: Images lie two folders deep, so that it is not known which of them is the person.
        """
        found = {name: open_folder(name, self.folder / name, self.image_size) for name in FOLDERS}
        for name, db in found.items():
            deep = next((key for key in db.keys.tolist() if key.count("/") > 1), None)
            if deep is not None:
                raise DataError(
                    f"{self.folder / name / deep} lies two folders deep, and which of them is the person "
                    f"is not known: put each person's folder directly into {name}."
                )
        return found

    left_out = functools.cached_property(_left_out)

    def has_people(self, name: str) -> bool:
        """Say whether most images of a folder lie in sub-folders, which are then those of people."""
        return np.mean(["/" in key for key in self.databases[name].keys]) > 0.5

    @functools.cached_property
    def unknown(self) -> list[str]:
        """The folders whose people are not known."""
        return [name for name in FOLDERS if not self.has_people(name)]

    @functools.cached_property
    def images(self) -> pd.DataFrame:
        """One line an image that takes part: database (its folder), index, key, person.

        A person's name is the same in whatever Unicode form a file system gives it. An image of an unknown
        person is a person of its own.
        """
        frames = []
        for name, db in self.databases.items():
            keys, people = db.keys.tolist(), self.has_people(name)
            person = [name_of(key) if people else f"{name}/{key}" for key in keys]
            lines = {"database": name, "index": np.arange(len(db)), "key": keys, "person": person}
            frames.append(pd.DataFrame(lines))
        images = pd.concat(frames, ignore_index=True)
        gone = set(zip(self.left_out["folder"], self.left_out["key"], strict=True))
        names = zip(images["database"], images["key"], strict=True)
        return images[[name not in gone for name in names]].reset_index(drop=True)

    def people(self) -> str:
        """Return in words whether people are known, and what follows if they are not."""
        if not self.unknown:
            return (
                "People are known in all three folders: nobody is judged by a model that was trained on an "
                "image of the same person. A person must bear one name in all of them."
            )
        return (
            f"People are not known in {', '.join(self.unknown)} (no sub-folders): each image there counts as "
            "a person of its own, and **may be judged by a model that was trained on the same person**."
        )

    def counts(self) -> pd.DataFrame:
        """Return the number of files of each folder, how many are left out and why, and of people.

        Returns:
            folder, files, read (images), not read, copies, beside folders, people.
        """
        lines = []
        for name, db in self.databases.items():
            why = self.left_out["why"][self.left_out["folder"] == name]
            left = len(db.unread), int((why == COPY).sum()), int((why == BESIDE).sum())
            persons = self.images["person"][self.images["database"] == name]
            people = persons.nunique() if self.has_people(name) else None
            lines.append((name, len(db) + len(db.unread), len(db), *left, people))
        columns = ["folder", "files", "read", "not read", "copies", "beside folders", "people"]
        return pd.DataFrame(lines, columns=columns).astype({"people": "Int64"})

    @functools.cached_property
    def runs(self) -> list[tuple[Database, np.ndarray]]:
        """The databases of `images` with the indices wanted of each, in its order."""
        folders = self.images.groupby("database", sort=False)["index"]
        return [(self.databases[name], index.to_numpy()) for name, index in folders]

    # ---- the network --------------------------------------------------------------------------

    @property
    def own(self) -> bool:
        """Whether the network is one of the study's own."""
        return self.recipe.network in SHAPES

    @functools.cached_property
    def opened(self) -> networks.Opened:
        """The network with its weights, where it is not one of the study's own."""
        return _open(self, trained=True)

    @functools.cached_property
    def width(self) -> int:
        """D, the length of the outcome."""
        if self.own:
            return train.shape(self.recipe.network, self.image_size)[1]
        return self.opened.network.num_features

    @functools.cached_property
    def centres(self) -> torch.Tensor | None:
        """The class centres of the head, (D, C), where a file holds them."""
        if self.brought.head is not None:
            return read_head(self.brought.head, self.width)
        return None if self.weights is None else load_centres(self.weights, self.width)

    @property
    def classes(self) -> int:
        """Number of classes of the head; two if there are no class centres, as a head needs some."""
        return 2 if self.centres is None else self.centres.shape[1]

    digest = functools.cached_property(_digest)
    told = _told

    @property
    def input(self) -> list:
        """The given description of the network's input and layers: colour order, mean, std, names."""
        given = self.brought
        pixels = [given.colour_order, list(given.mean), list(given.std)]
        return [*pixels, list(given.layers)] if given.layers else pixels

    def built(self) -> tuple[nn.Module, nn.Module, str]:
        """Return network and head without their training, and the colour order of the input.

        One that is not the study's own is untrained as `networks.open_network` defines it.
        """
        if not self.own:
            return self._with_head(_open(self, trained=False))
        network, head = train.build(self.recipe, self.image_size, self.classes)
        _standardise(network, self.brought.mean, self.brought.std)
        return network, head, self.brought.colour_order or train.COLOUR_ORDER

    def loaded(self) -> tuple[nn.Module, nn.Module, str]:
        """Return network and head with the weights that were brought, and the colour order."""
        network, head, order = self._filled() if self.own else self._with_head(self.opened)
        if self.centres is not None:
            head.load_state_dict({"kernel": self.centres}, strict=False)
        return network, head, order

    def _filled(self) -> tuple[nn.Module, nn.Module, str]:
        """Return one of the study's own networks with the weights that were brought, and a new head."""
        network, head, _ = self.built()
        for value in network.state_dict().values():  # so that no initial value can remain
            value.fill_(torch.nan if value.is_floating_point() else 0)
        self.layout = load_weights(network, self.weights)
        return network, head, self.brought.colour_order or COLOUR_ORDERS[self.layout]

    def _with_head(self, opened: networks.Opened) -> tuple[nn.Module, nn.Module, str]:
        return opened.network, make_head("cosface", self.width, self.classes), opened.colour_order

    def layers(self) -> pd.DataFrame:
        """Return the layers that are read: layer, maps, side (px)."""
        return networks.layers(self.loaded()[0], self.image_size)


def _open(files: CaseFiles, trained: bool) -> networks.Opened:
    given = files.brought
    return networks.open_network(
        files.recipe.network,
        files.image_size,
        files.weights,
        given.layers,
        given.colour_order,
        given.mean,
        given.std,
        trained,
    )


def name_of(key: str) -> str:
    """Return the person of an image, whose name is the same in whatever Unicode form it has."""
    return unicodedata.normalize("NFC", key.split("/")[0])


def _standardise(network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Make a network take images as `images.normalise` scales them and rescale them by its mean and std."""
    if not mean and not std:
        return
    mean, std = (torch.tensor(v or (0.5,)).expand(3).reshape(1, 3, 1, 1) for v in (mean, std))
    scale, shift = 0.5 / std, (0.5 - mean) / std
    first = network.input_layer[0]  # before its padding, which is zero after this
    first.register_forward_pre_hook(lambda _, x: x[0] * scale.to(x[0]) + shift.to(x[0]))


def read(files: CaseFiles, which: str) -> Features:
    """Return activations, Model Outcome and, where there are class centres, how images lie to them."""
    pieces = [(db.images, index) for db, index in files.runs]

    def make(folder: Path) -> dict[str, list]:
        network, head, order = files.loaded() if which == NETWORK else files.built()
        if which == UNTRAINED:  # with statistics of all images, members or not
            every = np.concatenate([images[rows] for images, rows in pieces])
            calibrated(network, every, np.arange(len(every)), order)
        device = train.default_device()
        network.to(device, memory_format=torch.channels_last).eval()
        return _extract(files, network, head.to(device).eval(), order, folder)

    spec = {
        "version": VERSION,
        "aad": [aad.VERSION, readings.VERSION],
        "weights": files.digest,
        "input": files.input,
        "images": named(files.runs),
        "network": [files.recipe.network, which],
    }
    done = store.fetch("features", {"digest": store.digest(spec)}, make)
    rows = {name: slice(*ends) for name, ends in done.record["rows"].items()}
    return Features(np.load(done.folder / "features.npy", mmap_mode="r"), rows, done.digest)


def _extract(
    files: CaseFiles, network: nn.Module, head: nn.Module, order: str, folder: Path
) -> dict[str, dict[str, list[int]]]:
    device, path = train.default_device(), folder / "features.npy"
    pieces = [(db.images, index) for db, index in files.runs]
    aad.extract(network, order, pieces, path, device)
    finite = np.isfinite(np.load(path, mmap_mode="r")).all(axis=1)
    if not finite.all():  # such a score would compare as the most unusual of all
        image = files.images.iloc[int(finite.argmin())]
        raise DataError(
            f"{files.folder / image['database'] / image['key']}: its activations are not finite numbers. "
            "Look at the weights and, if it is this image alone, take it out."
        )
    rows = aad.columns([i["num_chs"] for i in network.feature_info], network.num_features)
    if files.centres is not None:
        unknown = [(images, index, np.full(len(index), -1)) for images, index in pieces]
        array, where = readings.read(network, head, order, unknown, device).features()
        of_maps = np.load(path)
        rows[readings.CENTRES] = slice(of_maps.shape[1], of_maps.shape[1] + 4)
        np.save(path, np.hstack([of_maps, array[:, where[readings.CENTRES]]]))
    return {"rows": {name: [where.start, where.stop] for name, where in rows.items()}}


def doubt(files: CaseFiles) -> str:
    """Return in words that the network seems to take the other colour order; empty if it does not.

    With class centres the orders are compared on known members, by how much nearer these lie to their class
    centre than to the next. Without, on known images, by how much more alike those of one person are than
    others. At most `PROBED` images are read.
    The order is doubtful if the other is better, at 95% over people.
    """
    order = files.loaded()[2]
    other = "rgb" if order == "bgr" else "bgr"

    def make(folder: Path) -> dict[str, float]:
        better = pd.Series(*_alike(files, [order, other])).groupby(level=0).mean()
        error = better.sem() if len(better) > 1 else np.inf
        return {"low": float(better.mean() - stats.t.ppf(0.975, max(len(better) - 1, 1)) * error)}

    spec = {
        "weights": files.digest,
        "input": files.input,
        "images": named(files.runs),
        "version": VERSION,
        "network": files.recipe.network,
    }
    if not store.fetch("orders", spec, make).record["low"] > 0:
        return ""
    return (
        f"**The colour order is doubtful**: read as {other.upper()}, known images of one person lie closer "
        f"together than as {order.upper()}. If the network takes {other.upper()}, give colour_order {other}."
    )


def _alike(files: CaseFiles, orders: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) how much more alike images of a person are in the second order, and (n,) the person."""
    network = files.loaded()[0]
    device = train.default_device()
    network.to(device, memory_format=torch.channels_last).eval()
    folders = KNOWN if files.centres is None else KNOWN[:1]
    lines = files.images[files.images["database"].isin(folders)]
    lines = lines[lines["person"].isin(lines["person"].unique()[:PROBED])]
    chosen = lines.groupby("person").head(3)[:PROBED]
    by_folder = chosen.groupby("database", sort=False)["index"]
    pixels = np.concatenate(
        [files.databases[name].images[index.to_numpy()] for name, index in by_folder]
    )
    person, found = chosen["person"].to_numpy(), []
    for order in orders:
        units = aad.outcomes(network, order, pixels, device)[0].astype(np.float32)
        if files.centres is not None:
            near = design.closeness(units, files.centres)
            found.append(near.first - near.second)
            continue
        cosines, same = units @ units.T, person[:, None] == person
        spread = cosines[~same].std() if (~same).any() else 1.0
        within = (cosines * same).sum(axis=1) - 1
        mean = within / np.maximum(same.sum(axis=1) - 1, 1)
        others = (cosines * ~same).sum(axis=1) / np.maximum((~same).sum(axis=1), 1)
        found.append(np.where(same.sum(axis=1) > 1, (mean - others) / spread, np.nan))
    better = found[1] - found[0]
    return better[~np.isnan(better)], person[~np.isnan(better)]


def check(config: Config) -> None:
    """Refuse what is brought where something of it is missing; see `CaseFiles`."""
    if config.brought.case is not None:
        _located(Path(config.brought.case), config.audited.network)


def fingerprint(config: Config) -> str | None:
    """Return a hash of the files that a configuration brings; None where it brings none."""
    if config.brought.case is None:
        return None
    weights, folders = _located(Path(config.brought.case), config.audited.network)
    head = (config.brought.head or "").split(":")[0]
    files = [path for path in (weights, *networks.files(config.audited.network)) if path]
    files += [Path(head)] if head and Path(head).is_file() else []
    return store.digest([description.fingerprint(path) for path in (*files, *folders)])


def _located(folder: Path, network: str) -> tuple[Path | None, list[Path]]:
    """Return the file of weights that lies in a folder, and the three folders.

    A network that is a file, or a function that makes it, may bring its weights itself.

    Raises:
        DataError: Something of it is missing, there is more than one file of weights, or a name is wrong.
    """
    for path in (folder, *(folder / name for name in FOLDERS)):
        if not path.is_dir():
            raise DataError(
                f"There is no folder {path}: a case is a folder with a file of weights and aligned crops in "
                f"{', '.join(FOLDERS)} below it, each person's in a sub-folder."
            )
    visible = (path for path in folder.glob("*") if not path.name.startswith("."))
    found = sorted(path for path in visible if path.suffix.lower() in WEIGHTS)
    optional = not timm.is_model(network)
    if len(found) > 1 or not (found or optional):
        names = f" ({', '.join(path.name for path in found)})" if found else ""
        raise DataError(
            f"{folder} holds {len(found)} files of weights{names} and must hold one of "
            f"{', '.join(sorted(WEIGHTS))}: put the network's there, beside the folders {', '.join(FOLDERS)}."
        )
    folders = [folder / name for name in FOLDERS]
    for path in folders:
        for key, reason in walk(path):  # which refuses names that are not UTF-8
            if reason == NOTHING:
                raise DataError(
                    f"{path / key} {reason} ({os.readlink(path / key)}): mend it or delete it."
                )
    return found[0] if found else None, folders
