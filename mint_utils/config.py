"""A profile and the user's overrides in, one frozen Config out, or one sentence about what is wrong.

The defaults below are the paper's values, or AdaFace's where the paper is silent; a profile
(``profiles/*.yaml``) holds only what differs from them, section by section.
"""

import difflib
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from mint_utils import paths
from mint_utils.errors import ParameterError

# The rows of every table of the paper, in its order.
ROWS = (
    "Conv Layer #1",
    "Conv Layer #2",
    "Conv Layer #3",
    "Conv Layer #4",
    "Model Outcome",
    "All Conv Layers",
)
PROTOCOLS = ("paper", "held_out")
# What a reader is shown for them: where the non-members come from.
PROTOCOL_NAMES = dict(zip(PROTOCOLS, ("other databases", "same database"), strict=True))
LOSSES = ("adaface", "cosface", "arcface")
QUESTIONS = ("images", "persons")
PRECISIONS = ("auto", "float32", "bfloat16")
SHOWN = "members|held_out|half-[ab]|shadow-[0-9]+|people-[abc](-atmost-[1-9][0-9]*)?"

SHOWN_TOLD = (
    "members, held_out, half-a, half-b, shadow-0 and so on, "
    "people-a, -b, -c, or such as people-a-atmost-5"
)


@dataclass(frozen=True)
class Databases:
    """Which database plays which role (paper, Sections 3.1 and 3.3)."""

    training: str = "ms1mv3"  # D, by the name of its manifest
    external_train: tuple[str, ...] = ("ijb_c", "gandiffface", "fddb")  # E, for training T
    external_eval: str = "adience"  # E, for evaluating T
    verification: tuple[str, ...] = ("lfw_bin", "cfp_fp", "cplfw", "agedb_30")
    image_size: int = 112  # side of the aligned crop, pixels
    scale: float = 1.0  # embedded databases only: factor on their number of identities
    held_out: float = 0.05  # share of D that M never sees
    partition_seed: int = 0  # of every hash that forms a set
    # Published weights by whose embeddings databases are compared, a file below the folder of the databases;
    # None: they are compared by perceptual hash alone.
    recognition: str | None = None
    recognition_network: str = "ir_50"  # that they were made for

    def __post_init__(self):
        _check(self, "image_size", self.image_size >= 16, "at least 16 pixels")
        _check(self, "scale", self.scale > 0, "above 0")
        _check(self, "held_out", 0 < self.held_out < 1, "between 0 and 1")


@dataclass(frozen=True)
class Audited:
    """How the Audited Model M is built and trained (AdaFace's published recipe, batch size 256)."""

    network: str = "ir_50"
    loss: str = "adaface"  # adaface, cosface or arcface, each with its own published margin
    batch_size: int = 256  # images that BatchNorm and AdaFace's statistics see together
    epochs: int = 26  # the rate drops tenfold at 12/26, 20/26 and 24/26 of them
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    dropout: float = 0.4
    augmentation: float = 0.2  # probability of each of the three augmentations
    repeats: tuple[int, ...] = (
        1,
    )  # exposures an epoch, one number for each equal part of the members
    # Which images of D train it: members, held_out (the swap), half-a or half-b (for null models where
    # held_out is not .5), shadow-0, shadow-1 and so on, or the members
    # among a third of the people: people-a, people-b, people-c; people-a-atmost-5: five of each person.
    shown: str = "members"
    seed: int = 0
    # Of convolutions and linear layers in training; auto: bfloat16 where the device multiplies it faster.
    precision: str = "auto"

    def __post_init__(self):
        known = bool(re.fullmatch(SHOWN, self.shown))
        _check(self, "shown", known, SHOWN_TOLD)
        _check(self, "precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        _check(self, "loss", self.loss in LOSSES, f"one of {', '.join(LOSSES)}")
        _check(
            self,
            "batch_size",
            self.batch_size >= 2,
            "at least 2: BatchNorm cannot train on one image",
        )
        _check(self, "epochs", self.epochs >= 1, "at least 1")
        _check(self, "lr", self.lr > 0, "above 0")
        _check(self, "dropout", 0 <= self.dropout < 1, "from 0 to below 1")
        _check(self, "augmentation", 0 <= self.augmentation <= 1, "from 0 to 1")
        _check(
            self, "repeats", len(self.repeats) > 0 and min(self.repeats) >= 1, "numbers from 1 on"
        )


@dataclass(frozen=True)
class Mint:
    """How the MINT Model T is trained and evaluated (paper, Sections 3.3 and 4.1)."""

    mint_samples: int = 100_000  # images T is trained on at most, half of them members
    mint_seeds: int = 5  # trainings of T for each cell
    mint_epochs: int = 20
    mint_batch_size: int = 128
    split: str = "image"  # what falls wholly in T's training or evaluation: image or identity
    replicates: int = 2000  # bootstrap replicates of an interval

    def __post_init__(self):
        _check(self, "mint_samples", self.mint_samples >= 20, "at least 20")
        _check(self, "mint_seeds", self.mint_seeds >= 1, "at least 1")
        _check(self, "mint_epochs", self.mint_epochs >= 1, "at least 1")
        _check(self, "mint_batch_size", self.mint_batch_size >= 2, "at least 2")
        _check(self, "split", self.split in ("image", "identity"), "image or identity")
        _check(self, "replicates", self.replicates >= 100, "at least 100")


@dataclass(frozen=True)
class Scenarios:
    """What the scenarios compare (paper, Sections 4.3 to 4.6), and how often each M is trained."""

    frequencies: tuple[int, ...] = (
        1,
        10,
        20,
        30,
    )  # exposures an epoch of equal parts of the members
    batch_sizes: tuple[int, ...] = (8, 32, 64, 256)
    dropouts: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6)
    losses: tuple[str, ...] = LOSSES
    batch_sizes_scaled: tuple[int, ...] | None = None  # with the rate scaled; None: the same sizes
    audited_seeds: int = 1  # trainings of the baseline, from its seed on, and of the other half
    factor_seeds: int | None = None  # of every other column; None: as many
    people_seeds: int | None = None  # of the networks of the cut by people; None: as many
    frequency_seeds: int = 1  # in Scenario 1, whose epochs are 15 times as long
    frequency_epochs: int | None = None  # of Scenario 1; None: as many as the baseline's
    shadow_models: int = 8  # of the attacks that need them, in pairs that share no image
    images_a_person: tuple[int, ...] = ()  # of training, at most; a model each where there are any

    def __post_init__(self):
        for name in ("frequencies", "batch_sizes", "dropouts", "losses"):
            values = getattr(self, name)
            _check(self, name, len(set(values)) == len(values) > 0, "values that differ")
        _check(self, "frequencies", min(self.frequencies) >= 1, "numbers from 1 on")
        _check(self, "batch_sizes", min(self.batch_sizes) >= 2, "numbers from 2 on")
        _check(self, "dropouts", all(0 <= d < 1 for d in self.dropouts), "from 0 to below 1")
        _check(self, "losses", set(self.losses) <= set(LOSSES), f"some of {', '.join(LOSSES)}")
        scaled = self.batch_sizes_scaled
        _check(
            self, "batch_sizes_scaled", scaled is None or min(scaled, default=2) >= 2, "from 2 on"
        )
        images = self.images_a_person
        each = len(set(images)) == len(images) and all(k >= 1 for k in images)
        _check(self, "images_a_person", each, "values from 1 on that differ, or none")
        _check(self, "audited_seeds", self.audited_seeds >= 1, "at least 1")
        for name in ("factor_seeds", "people_seeds"):
            count = getattr(self, name)
            fits = count is None or 1 <= count <= self.audited_seeds
            _check(self, name, fits, f"from 1 to audited_seeds, {self.audited_seeds}")
        _check(self, "frequency_seeds", self.frequency_seeds >= 1, "at least 1")
        even = self.shadow_models >= 4 and self.shadow_models % 2 == 0
        _check(self, "shadow_models", even, "an even number from 4 on")
        epochs = self.frequency_epochs
        _check(self, "frequency_epochs", epochs is None or epochs >= 1, "at least 1")


@dataclass(frozen=True)
class Brought:
    """What an auditor brings to ``08_audit_your_model``, beside the network and its image size."""

    question: str = "images"  # were these images used, or were these persons shown
    # Folder with a file of weights and the folders members, non_members and questioned; None: the study's.
    case: str | None = None
    colour_order: str | None = None  # of the network's input, rgb or bgr; None: that of its family
    # Of the network's input, from 0 to 1, one number or one a channel in the network's order:
    # (pixel / 255 - mean) / std. Empty: .5, as AdaFace and InsightFace have it.
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    # At most four layers of a network that is not the study's; empty: they are found.
    layers: tuple[str, ...] = ()
    # Its class centres, a file or file:entry; None: those of the file of weights, if it holds any.
    head: str | None = None

    def __post_init__(self):
        if self.case is not None:  # the same wherever a notebook runs
            object.__setattr__(self, "case", _absolute(self.case))
        _check(self, "question", self.question in QUESTIONS, " or ".join(QUESTIONS))
        _check(self, "colour_order", self.colour_order in (None, "rgb", "bgr"), "rgb or bgr")
        for name in ("mean", "std"):
            values = getattr(self, name)
            fits = len(values) in (0, 1, 3) and all(0 <= v <= 1 for v in values)
            _check(self, name, fits, "one number or three, from 0 to 1 (of pixels / 255)")
        _check(self, "std", 0 not in self.std, "above 0")


@dataclass(frozen=True)
class Config:
    """Everything that determines a result, and the folder of the databases, which does not."""

    profile: str = "paper"
    databases: Databases = field(default_factory=Databases)
    audited: Audited = field(default_factory=Audited)
    mint: Mint = field(default_factory=Mint)
    scenarios: Scenarios = field(default_factory=Scenarios)
    brought: Brought = field(default_factory=Brought)
    data: str | None = None  # the folder that the manifests' paths start from
    is_reference: bool = True  # the profile as it is, nothing overridden

    def replace(self, **changes: Any) -> "Config":
        """Return this configuration with parameters changed by their flat names."""
        return _apply(self, changes, where="the notebook")

    def changes(self) -> dict[str, Any]:
        """Return the parameters that differ from the profile's, by their flat names."""
        own, profile = self.results(), resolve(self.profile).results()
        return {
            name: own[section][name]
            for name, (section, _) in PARAMETERS.items()
            if own[section][name] != profile[section][name]
        }

    def results(self) -> dict[str, Any]:
        """Return what determines the results, as plain JSON types."""
        return {"profile": self.profile} | {name: plain(getattr(self, name)) for name in SECTIONS}


SECTIONS: dict[str, type] = {
    "databases": Databases,
    "audited": Audited,
    "mint": Mint,
    "scenarios": Scenarios,
    "brought": Brought,
}
PARAMETERS: dict[str, tuple[str, Any]] = {
    name: (section, hint)
    for section, kind in SECTIONS.items()
    for name, hint in typing.get_type_hints(kind).items()
}


def profiles() -> list[str]:
    """Return the names of the profiles, the default first."""
    return sorted((p.stem for p in paths.PROFILES.glob("*.yaml")), key=lambda n: (n != "quick", n))


def resolve(profile: str = "quick", data: str | None = None, **overrides: Any) -> Config:
    """Turn a profile and overrides into one configuration.

    Args:
        profile: A name in ``mint_utils/profiles``.
        data: The folder of the databases; None where all of them are embedded.
        overrides: Parameters by their flat names; None means the profile's own value.

    Raises:
        ParameterError: An unknown profile or parameter, a wrong type, or a value out of range.
    """
    if coerce("profile", profile, str) not in profiles():
        raise ParameterError(unknown("profile", profile, profiles()))
    text = (paths.PROFILES / f"{profile}.yaml").read_text()
    sections = yaml.safe_load(text) or {}
    values = {name: value for section in sections.values() for name, value in section.items()}
    config = _apply(Config(profile=profile), values, where=f"profiles/{profile}.yaml")
    wanted = {name: value for name, value in overrides.items() if value is not None}
    changed = _apply(config, wanted, where="the parameters")
    if data is not None:
        data = _absolute(coerce("data", str(data) if isinstance(data, Path) else data, str))
    return replace(changed, data=data, is_reference=changed.results() == config.results())


def parse(name: str, text: str) -> Any:
    """Return the value of a parameter that was typed on a command line.

    A parameter declared as text has the text that was typed, 007 or null, and so have the items of a list of
    texts. Any other value is read as YAML.

    Raises:
        ParameterError: It is no YAML.
    """
    if is_text(name):
        return text
    _, hint = PARAMETERS.get(name, (None, None))
    kind = yaml.BaseLoader if str in typing.get_args(hint) else yaml.SafeLoader
    try:
        return yaml.load(text, kind)
    except yaml.YAMLError as error:
        raise ParameterError(f"{name} cannot be read as YAML: {text!r}.") from error


def is_text(name: str) -> bool:
    """Say whether a parameter is declared as text."""
    _, hint = PARAMETERS.get(name, (None, None))
    return hint is str or (isinstance(hint, types.UnionType) and str in typing.get_args(hint))


def plain(value: Any) -> Any:
    """Return dataclasses, tuples and paths as what JSON holds."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _apply(config: Config, values: Mapping[str, Any], where: str) -> Config:
    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for name, value in values.items():
        if name not in PARAMETERS:
            known = ("profile", "data", *PARAMETERS)
            raise ParameterError(f"In {where}: {unknown('parameter', name, known)}")
        section, hint = PARAMETERS[name]
        sections[section][name] = coerce(name, value, hint)
    merged = {}
    for section, kind in SECTIONS.items():
        current = getattr(config, section)
        kept = {f.name: getattr(current, f.name) for f in fields(kind)}
        merged[section] = kind(**(kept | sections[section]))
    return replace(config, **merged)


def coerce(name: str, value: Any, hint: Any) -> Any:
    """Return a value as the type of its parameter, where nothing is lost.

    YAML reads ``1e-3`` as text and ``5`` as a whole number: both are good enough for a float.

    Raises:
        ParameterError: The value is not of that type.
    """
    if isinstance(hint, types.UnionType):
        return None if value is None else coerce(name, value, typing.get_args(hint)[0])
    if typing.get_origin(hint) is tuple:
        if isinstance(value, str) and value.startswith("["):  # so papermill's -p hands on a list
            value = parse(name, value)
        items = value if isinstance(value, list | tuple) else [value]
        if isinstance(value, str) and "," in value:
            raise ParameterError(f"{name} is a list: write [{value}], not {value!r}.")
        return tuple(coerce(name, item, typing.get_args(hint)[0]) for item in items)
    if hint is float and not isinstance(value, bool) and isinstance(value, int | float | str):
        try:
            return float(value)
        except ValueError:
            pass
    elif type(value) is hint:
        return _text(name, value) if hint is str else value
    expected = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[hint]
    remedy = (
        f" Papermill's -p makes numbers of text: give it by -r {name} TEXT, which is taken as typed; in a "
        "file of YAML put it in quotes."
    )
    raise ParameterError(
        f"{name} must be {expected}, not {value!r} ({type(value).__name__}).{remedy * (hint is str)}"
    )


def _text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ParameterError(f"{name} is not UTF-8: {value!a}. Rename what it names.") from error
    if not value:
        raise ParameterError(f"{name} needs a value; leave it out for that of the profile.")
    return value


def _absolute(path: str) -> str:
    return str(Path(os.path.expanduser(path)).resolve())  # the same wherever a notebook runs


def _check(section: Any, name: str, holds: bool, rule: str) -> None:
    if not holds:
        raise ParameterError(f"{name} must be {rule}, not {getattr(section, name)!r}.")


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence about a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"there is no {what} {name!r}.{hint} There are: {', '.join(names)}."
