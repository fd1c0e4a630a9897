"""A profile and the user's overrides in, one frozen Config out, or one sentence about what is wrong.

The defaults below are the paper's values, or AdaFace's where the paper is silent; a profile
(``profiles/*.yaml``) holds only what differs from them, section by section.
"""

import difflib
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

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


@dataclass(frozen=True)
class Rule:
    """What the values of a type must be besides."""

    holds: Callable[[Any], bool]
    text: str


def _one_of(*names: str) -> Rule:
    return Rule(lambda value: value in names, f"one of {', '.join(names)}")


def _at_least(low: int, more: str = "") -> Rule:
    return Rule(lambda value: value >= low, f"at least {low}{more}")


DIFFER = Rule(lambda values: len(set(values)) == len(values), "values that differ")
SOME = Rule(lambda values: len(values) > 0, "one value or more")
Count = Annotated[int, _at_least(1)]
Batch = Annotated[int, _at_least(2, ": BatchNorm cannot train on one image")]
Pairs = Annotated[int, Rule(lambda n: n >= 4 and n % 2 == 0, "an even number from 4 on")]
Positive = Annotated[float, Rule(lambda value: value > 0, "above 0")]
Part = Annotated[float, Rule(lambda value: 0 < value < 1, "between 0 and 1")]
Probability = Annotated[float, Rule(lambda value: 0 <= value <= 1, "from 0 to 1")]
Dropout = Annotated[float, Rule(lambda value: 0 <= value < 1, "from 0 to below 1")]
Loss = Annotated[str, _one_of(*LOSSES)]
Split = Annotated[str, _one_of("image", "identity")]
Question = Annotated[str, _one_of(*QUESTIONS)]
Colours = Annotated[str, _one_of("rgb", "bgr")]
Shown = Annotated[
    str,
    Rule(
        re.compile(
            "members|held_out|half-[ab]|shadow-[0-9]+|people-[abc](-atmost-[1-9][0-9]*)?"
        ).fullmatch,
        "members, held_out, half-a, -b, shadow-0 and so on, people-a, -b, -c, or such as people-a-atmost-5",
    ),
]
THREE = Rule(lambda values: len(values) in (0, 1, 3), "one number or three (of pixels / 255)")
Channels = Annotated[tuple[Probability, ...], THREE]


@dataclass(frozen=True)
class Databases:
    """Which database plays which role (paper, Sections 3.1 and 3.3)."""

    training: str = "ms1mv3"  # D, by the name of its manifest
    external_train: tuple[str, ...] = ("ijb_c", "gandiffface", "fddb")  # E, for training T
    external_eval: str = "adience"  # E, for evaluating T
    verification: tuple[str, ...] = ("lfw_bin", "cfp_fp", "cplfw", "agedb_30")
    image_size: Annotated[int, _at_least(16, " pixels")] = 112  # side of the aligned crop
    scale: Positive = 1.0  # embedded databases only: factor on their number of identities
    held_out: Part = 0.05  # of D, that M never sees
    partition_seed: int = 0  # of every hash that forms a set


@dataclass(frozen=True)
class Audited:
    """How the Audited Model M is built and trained (AdaFace's published recipe, batch size 256)."""

    network: str = "ir_50"
    loss: Loss = "adaface"  # adaface, cosface or arcface, each with its own published margin
    batch_size: Batch = 256  # images that BatchNorm and AdaFace's statistics see together
    epochs: Count = 26  # the rate drops tenfold at 12/26, 20/26 and 24/26 of them
    lr: Positive = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    dropout: Dropout = 0.4
    augmentation: Probability = 0.2  # probability of each of the three augmentations
    # Exposures an epoch, one number for each equal part of the members.
    repeats: Annotated[tuple[Count, ...], SOME] = (1,)
    # Which images of D train it: members, held_out (the swap), half-a or half-b (for null models where
    # held_out is not .5), shadow-0, shadow-1 and so on, or the members
    # among a third of the people: people-a, people-b, people-c; people-a-atmost-5: five of each person.
    shown: Shown = "members"
    seed: int = 0
    # Of convolutions and linear layers in training; auto: bfloat16 where the device multiplies it faster.
    precision: Annotated[str, _one_of(*PRECISIONS)] = "auto"


@dataclass(frozen=True)
class Mint:
    """How the MINT Model T is trained and evaluated (paper, Sections 3.3 and 4.1)."""

    # Images T is trained on at most, half of them members.
    mint_samples: Annotated[int, _at_least(20)] = 100_000
    mint_seeds: Count = 5  # trainings of T for each cell
    mint_epochs: Count = 20
    mint_batch_size: Batch = 128
    split: Split = "image"  # what falls wholly in T's training or evaluation
    replicates: Annotated[int, _at_least(100)] = 2000  # of the bootstrap, for an interval


@dataclass(frozen=True)
class Scenarios:
    """What the scenarios compare (paper, Sections 4.3 to 4.6), and how often each M is trained."""

    # Exposures an epoch of equal parts of the members.
    frequencies: Annotated[tuple[Count, ...], DIFFER, SOME] = (1, 10, 20, 30)
    batch_sizes: Annotated[tuple[Batch, ...], DIFFER, SOME] = (8, 32, 64, 256)
    dropouts: Annotated[tuple[Dropout, ...], DIFFER, SOME] = (0.0, 0.2, 0.4, 0.6)
    losses: Annotated[tuple[Loss, ...], DIFFER, SOME] = LOSSES
    batch_sizes_scaled: tuple[Batch, ...] | None = None  # the rate scaled; None: the same sizes
    audited_seeds: Count = 1  # trainings of the baseline, from its seed on, and of the other half
    factor_seeds: Count | None = None  # of every other column; None: as many
    people_seeds: Count | None = None  # of the networks of the cut by people; None: as many
    frequency_seeds: Count = 1  # in Scenario 1, whose epochs are 15 times as long
    frequency_epochs: Count | None = None  # of Scenario 1; None: as many as the baseline's
    shadow_models: Pairs = 8  # of the attacks that need them, in pairs that share no image
    images_a_person: Annotated[tuple[Count, ...], DIFFER] = ()  # of training, at most; a model each

    def __post_init__(self):
        for name in ("factor_seeds", "people_seeds"):
            count, most = getattr(self, name), self.audited_seeds
            if count is not None and count > most:
                raise ParameterError(f"{name} must be at most audited_seeds, {most}, not {count}.")


@dataclass(frozen=True)
class Brought:
    """What an auditor brings to ``08_audit_your_model``, beside the network and its image size."""

    question: Question = "images"  # were these images used, or were these persons shown
    # Folder with a file of weights and the folders members, non_members and questioned; None: the study's.
    case: str | None = None
    colour_order: Colours | None = None  # of the network's input; None: that of its family
    # Of the network's input, from 0 to 1, one number or one a channel in the network's order:
    # (pixel / 255 - mean) / std. Empty: .5, as AdaFace and InsightFace have it.
    mean: Channels = ()
    std: Annotated[Channels, Rule(all, "above 0")] = ()
    # At most four layers of a network that is not the study's; empty: they are found.
    layers: tuple[str, ...] = ()
    # Its class centres, a file or file:entry; None: those of the file of weights, if it holds any.
    head: str | None = None

    def __post_init__(self):
        if self.case is not None:
            object.__setattr__(self, "case", _absolute(self.case))


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
    for name, hint in typing.get_type_hints(kind, include_extras=True).items()
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
    kind = yaml.BaseLoader if _plain_type(name)[1] is str else yaml.SafeLoader
    try:
        return yaml.load(text, kind)
    except yaml.YAMLError as error:
        raise ParameterError(f"{name} cannot be read as YAML: {text!r}.") from error


def is_text(name: str) -> bool:
    """Say whether a parameter is declared as text."""
    return _plain_type(name)[0] is str


def _plain_type(name: str) -> tuple[type | None, type | None]:
    """Return the type of a parameter and that of its items, without rules and None."""
    _, hint = PARAMETERS.get(name, (None, None))
    while typing.get_origin(hint) in (Annotated, typing.Union, types.UnionType):
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return tuple, typing.get_args(item)[0] if typing.get_origin(item) is Annotated else item
    return hint, None


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
    changed = {name: replace(getattr(config, name), **given) for name, given in sections.items()}
    return replace(config, **changed)


def coerce(name: str, value: Any, hint: Any) -> Any:
    """Return a value as the type of its parameter, where nothing is lost.

    YAML reads ``1e-3`` as text and ``5`` as a whole number: both are good enough for a float.

    Raises:
        ParameterError: The value is not of that type, or does not keep to its rules.
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else coerce(name, value, typing.get_args(hint)[0])
    if origin is Annotated:
        value = coerce(name, value, hint.__origin__)
        for rule in hint.__metadata__:
            if not rule.holds(value):
                raise ParameterError(f"{name} must be {rule.text}, not {value!r}.")
        return value
    if origin is tuple:
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


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence about a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"there is no {what} {name!r}.{hint} There are: {', '.join(names)}."
