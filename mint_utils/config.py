"""The parameters of the study: their defaults, their limits, and how a profile and overrides change them.

The defaults are the paper's values, or AdaFace's where the paper gives none. A profile
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
# The names that a reader sees: where the non-members come from.
PROTOCOL_NAMES = dict(zip(PROTOCOLS, ("other databases", "same database"), strict=True))
LOSSES = ("adaface", "cosface", "arcface")


@dataclass(frozen=True)
class Rule:
    """A limit on the values of a type."""

    holds: Callable[[Any], bool]
    text: str  # what a value must be, for the message


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
Precision = Annotated[str, _one_of("auto", "float32", "bfloat16")]
Split = Annotated[str, _one_of("image", "identity")]
Question = Annotated[str, _one_of("images", "persons")]
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

    training: str = "ms1mv3"  # D; each database is given by the name of its manifest
    external_train: tuple[str, ...] = ("ijb_c", "gandiffface", "fddb")  # E, for training T
    external_eval: str = "adience"  # E, for evaluating T
    verification: tuple[str, ...] = ("lfw_bin", "cfp_fp", "cplfw", "agedb_30")
    image_size: Annotated[int, _at_least(16, " pixels")] = 112  # side of the aligned crop
    scale: Positive = 1.0  # embedded databases only: factor on their number of identities
    held_out: Part = 0.05  # part of D that M never sees
    partition_seed: int = 0  # of every hash that forms a set


@dataclass(frozen=True)
class Audited:
    """How the Audited Model M is built and trained (AdaFace's published recipe with batch size 256)."""

    network: str = "ir_50"
    loss: Loss = "adaface"  # each loss has its own published margin
    # Of M in every table but Table 3: the images that BatchNorm and AdaFace's statistics see together.
    batch_size: Batch = 256
    epochs: Count = 26  # the learning rate drops tenfold at 12/26, 20/26 and 24/26 of them
    lr: Positive = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    dropout: Dropout = 0.4
    augmentation: Probability = 0.2  # probability of each of the three augmentations
    # Exposures per epoch, one number for each of the equal parts of the members.
    repeats: Annotated[tuple[Count, ...], SOME] = (1,)
    # Which images of D train M: members; held_out (the swap); half-a or half-b (null models where the
    # parameter held_out is not .5); shadow-0, shadow-1 and so on; people-a, -b or -c (the members among a
    # third of the people); people-a-atmost-5 (of these at most five images of each person).
    shown: Shown = "members"
    seed: int = 0
    # Of convolutions and linear layers in training; auto: bfloat16 where the device multiplies it faster.
    precision: Precision = "auto"


@dataclass(frozen=True)
class Mint:
    """How the MINT Model T is trained and evaluated (paper, Sections 3.3 and 4.1)."""

    # Most images that T is trained on, half of them members.
    mint_samples: Annotated[int, _at_least(20)] = 100_000
    mint_seeds: Count = 5  # trainings of T for each cell of a table
    mint_epochs: Count = 20
    mint_batch_size: Batch = 128  # of T, which is trained on activations of M
    split: Split = "image"  # T's training and evaluation share no image, or no identity
    replicates: Annotated[int, _at_least(100)] = 2000  # of the bootstrap for an interval


@dataclass(frozen=True)
class Scenarios:
    """What the scenarios compare (paper, Sections 4.3 to 4.6), and how often each M is trained."""

    # Scenario 1: exposures per epoch of equal parts of the members.
    frequencies: Annotated[tuple[Count, ...], DIFFER, SOME] = (1, 10, 20, 30)
    # Table 3: one M for each of these batch sizes.
    batch_sizes: Annotated[tuple[Batch, ...], DIFFER, SOME] = (8, 32, 64, 256)
    dropouts: Annotated[tuple[Dropout, ...], DIFFER, SOME] = (0.0, 0.2, 0.4, 0.6)
    losses: Annotated[tuple[Loss, ...], DIFFER, SOME] = LOSSES
    # Table 3 with a learning rate in proportion to the batch size; None: the sizes of batch_sizes.
    batch_sizes_scaled: tuple[Batch, ...] | None = None
    # Trainings of the baseline, with seeds from the parameter seed on, and of the other half.
    audited_seeds: Count = 1
    factor_seeds: Count | None = None  # trainings of every other column; None: audited_seeds
    people_seeds: Count | None = None  # trainings in the cut by people; None: audited_seeds
    frequency_seeds: Count = 1  # trainings in Scenario 1, whose epochs are 15 times as long
    frequency_epochs: Count | None = None  # of M in Scenario 1; None: the parameter epochs
    shadow_models: Pairs = 8  # for the attacks that need them, in pairs that share no image
    # Most training images of each person; one M for each number.
    images_a_person: Annotated[tuple[Count, ...], DIFFER] = ()

    def __post_init__(self):
        for name in ("factor_seeds", "people_seeds"):
            count, most = getattr(self, name), self.audited_seeds
            if count is not None and count > most:
                raise ParameterError(f"{name} must be at most audited_seeds, {most}, not {count}.")


@dataclass(frozen=True)
class Brought:
    """What an auditor gives to ``08_audit_your_model`` besides the network and its image size."""

    question: Question = "images"  # were these images used, or were these persons shown?
    # Folder with a file of weights and the folders members, non_members and questioned; None: the study's.
    case: str | None = None
    colour_order: Colours | None = None  # of the network's input; None: that of its family
    # The network's input is (pixel / 255 - mean) / std: one number, or one for each channel in the
    # network's order. Empty: .5, the value of AdaFace and InsightFace.
    mean: Channels = ()
    std: Annotated[Channels, Rule(all, "above 0")] = ()
    # At most four layers of a network that is not the study's; empty: the study chooses them.
    layers: tuple[str, ...] = ()
    # The network's class centres, a file or file:entry; None: those in the file of weights, if any.
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
    is_reference: bool = True  # no parameter differs from the profile's

    def replace(self, **changes: Any) -> "Config":
        """Return this configuration with other values of the named parameters."""
        return _apply(self, changes, where="the notebook")

    def changes(self) -> dict[str, Any]:
        """Return the parameters that differ from the profile's, with their values."""
        own, profile = self.results(), resolve(self.profile).results()
        return {
            name: own[section][name]
            for name, (section, _) in PARAMETERS.items()
            if own[section][name] != profile[section][name]
        }

    def results(self) -> dict[str, Any]:
        """Return everything that determines the results, as plain JSON types."""
        return {"profile": self.profile} | {name: plain(getattr(self, name)) for name in SECTIONS}


SECTIONS: dict[str, type] = {
    "databases": Databases,
    "audited": Audited,
    "mint": Mint,
    "scenarios": Scenarios,
    "brought": Brought,
}
# The section of each parameter, and its type with the rules.
PARAMETERS: dict[str, tuple[str, Any]] = {
    name: (section, hint)
    for section, kind in SECTIONS.items()
    for name, hint in typing.get_type_hints(kind, include_extras=True).items()
}
# The type of each parameter without the rules.
TYPES = {
    name: hint for kind in SECTIONS.values() for name, hint in typing.get_type_hints(kind).items()
}


def profiles() -> list[str]:
    """Return the names of the profiles, the default first."""
    return sorted((p.stem for p in paths.PROFILES.glob("*.yaml")), key=lambda n: (n != "quick", n))


def resolve(profile: str = "quick", data: str | None = None, **overrides: Any) -> Config:
    """Return the configuration of a profile with overrides.

    Args:
        profile: A name in ``mint_utils/profiles``.
        data: The folder of the databases; None where all of them are embedded.
        overrides: Parameters by name; None means the profile's own value.

    Raises:
        ParameterError: An unknown profile or parameter, a wrong type, or a value out of range.
    """
    if coerce("profile", profile, str) not in profiles():
        raise ParameterError(unknown("profile", profile, profiles()))
    sections = yaml.safe_load((paths.PROFILES / f"{profile}.yaml").read_text()) or {}
    values = {name: value for section in sections.values() for name, value in section.items()}
    config = _apply(Config(profile=profile), values, where=f"profiles/{profile}.yaml")
    given = {name: value for name, value in overrides.items() if value is not None}
    changed = _apply(config, given, where="the parameters")
    if data is not None:
        data = _absolute(coerce("data", str(data) if isinstance(data, Path) else data, str))
    return replace(changed, data=data, is_reference=changed.results() == config.results())


def parse(name: str, text: str) -> Any:
    """Return the value of a parameter that was typed on a command line.

    A text, alone or as an item of a list, is taken as typed, even 007 or null. Any other value is read as
    YAML.

    Raises:
        ParameterError: The text is not YAML.
    """
    if is_text(name):
        return text
    loader = yaml.BaseLoader if TYPES.get(name) == tuple[str, ...] else yaml.SafeLoader
    try:
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise ParameterError(f"{name} cannot be read as YAML: {text!r}.") from error


def is_text(name: str) -> bool:
    """Return whether the value of a parameter is a text."""
    return TYPES.get(name) in (str, str | None)


def plain(value: Any) -> Any:
    """Return a value with its dataclasses, tuples and paths as plain JSON types."""
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

    A float may also be given as a whole number or as text, because YAML reads ``5`` and ``1e-3`` so.

    Raises:
        ParameterError: The value is not of that type, or breaks one of its rules.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else coerce(name, value, arguments[0])
    if origin is Annotated:
        value = coerce(name, value, hint.__origin__)
        for rule in hint.__metadata__:
            if not rule.holds(value):
                raise ParameterError(f"{name} must be {rule.text}, not {value!r}.")
        return value
    if origin is tuple:
        if isinstance(value, str) and value.startswith("["):  # papermill's -p passes a list as text
            value = parse(name, value)
        if isinstance(value, str) and "," in value:
            raise ParameterError(f"{name} is a list: write [{value}], not {value!r}.")
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(coerce(name, item, arguments[0]) for item in items)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    elif type(value) is hint:
        return _text(name, value) if hint is str else value
    expected = {int: "a whole number", float: "a number", str: "text"}[hint]
    message = f"{name} must be {expected}, not {value!r} ({type(value).__name__})."
    if hint is str:
        message += (
            f" Papermill's -p makes numbers of text: give it by -r {name} TEXT, which is taken as typed; in "
            "a file of YAML put it in quotes."
        )
    raise ParameterError(message)


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
    """Return the message for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"there is no {what} {name!r}.{hint} There are: {', '.join(names)}."
