"""What a run will take, estimated before it starts: databases, Audited Models, steps, hours, disk.

A database that is not prepared is not opened: its counts come from its manifest, and the numbers of exposures
are expected values.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mint_utils import paths
from mint_utils.audited import train
from mint_utils.config import Audited
from mint_utils.data.manifest import described, expected_images, is_prepared, is_streamed, locate
from mint_utils.data.membership import THIRDS
from mint_utils.errors import DataError, ParameterError
from mint_utils.study import scenarios
from mint_utils.study.study import Study

FLOAT = 4  # bytes; weights and features are float32
AUDITED_IMAGES = (
    2.25  # an audit takes so many for each training image of T: evaluation, two protocols
)


@dataclass(frozen=True)
class Forecast:
    """The plan of a run.

    Attributes:
        databases: One line of text for each database.
        models: Title, recipe, exposures of an epoch and whether it is stored, in the order of the tables.
        identities: Number of identities of D.
        disk: Lower bound of the bytes that the run adds to the disk.
    """

    databases: list[str]
    models: list[tuple[str, Audited, int, bool]]
    identities: int
    disk: int


def forecast(study: Study, names: Sequence[str], may_lack: bool = False) -> Forecast:
    """Return the plan of scenarios of a study.

    Args:
        may_lack: Databases may be missing where no folder of databases is given.

    Raises:
        DataError: A database is missing, or the manifest of D lacks its counts.
    """
    config, roles = study.config, study.config.databases
    used = (roles.training, *roles.external_train, roles.external_eval, *roles.verification)
    manifests = {name: described(name, config.data, roles.scale) for name in used}
    missing = [m for m in manifests.values() if not is_prepared(m, roles.image_size)]
    for manifest in missing:
        if not manifest["layout"].startswith("embedded") and (config.data or not may_lack):
            locate(manifest, config.data)
    d = manifests[roles.training]
    if d.get("images") is None or d.get("identities") is None:
        raise DataError(
            f"data_manifests/{d['name']}.yaml does not tell the images and identities of the database that "
            "M is trained on: a plan cannot be made without it."
        )
    lines = [_line(m, roles.image_size, m in missing) for m in manifests.values()]
    exact = d not in missing and not (is_streamed(d, roles.image_size) and config.data is None)
    if not exact:
        lines.append(f"{d['name']} is not prepared yet: expected numbers of exposures")
    models, disk = [], 0
    for recipe, (title, _) in scenarios.needed(config, names).items():
        if exact:
            epoch = study.images.exposures(recipe) // recipe.epochs
        else:
            epoch = expected_exposures(recipe, d["images"], roles.held_out)
        models.append((title, recipe, epoch, exact and study.audit.is_trained(recipe)))
        disk += 0 if models[-1][-1] else _model_bytes(study, recipe, d)
    for manifest in missing:
        if not is_streamed(manifest, roles.image_size):
            disk += expected_images(manifest) * 3 * roles.image_size**2
    return Forecast(lines, models, d["identities"], disk)


def expected_exposures(recipe: Audited, images: int, held_out: float) -> int:
    """Return the expected number of exposures of an epoch, where D holds this number of images."""
    members = 1 - held_out
    shown = {"members": members, "held_out": held_out}.get(recipe.shown, 0.5)
    if recipe.shown.startswith("people-"):
        shown = members / len(THIRDS)
    return round(images * shown * sum(recipe.repeats) / len(recipe.repeats))


def _model_bytes(study: Study, recipe: Audited, d: dict) -> int:
    """Return the bytes of a model on the disk, at least: its weights and the features of audited images."""
    with torch.device("meta"):
        network, head = train.build(recipe, study.config.databases.image_size, d["identities"])
    weights = sum(p.numel() for p in (*network.parameters(), *head.parameters()))
    numbers = sum(stage["num_chs"] for stage in network.feature_info) + network.num_features
    audited = AUDITED_IMAGES * min(study.config.mint.mint_samples, d["images"])
    return round(FLOAT * (weights + audited * numbers))


def free_bytes() -> int:
    """Return the bytes that are free on the disk of artifacts."""
    folder = paths.artifacts().absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def refuse(needed: int) -> None:
    """Raise a `ParameterError` where so many bytes do not fit on the disk."""
    if needed > (there := free_bytes()):
        raise ParameterError(
            f"It needs {needed / 1e9:,.1f} GB of disk space or more, and {there / 1e9:,.1f} GB are free: "
            "make room, or let MINT_ARTIFACTS name a larger disk."
        )


def announce(study: Study, names: Sequence[str], rate: float | None) -> None:
    """Print what a run of scenarios would do and what it would take here.

    Args:
        rate: Images a second in training; None: measured here, on blank images.

    Raises:
        ParameterError: The results do not fit on the disk, or the rate is not positive.
    """
    if rate is not None and not rate > 0:
        raise ParameterError(f"--rate must be above 0 images a second, not {rate:g}.")
    plan, size = forecast(study, names, may_lack=True), study.config.databases.image_size
    print(*(f"  {line}" for line in plan.databases), sep="\n")
    rates: dict[tuple[str, int], float] = {}
    seconds = 0.0
    for title, recipe, epoch, stored in plan.models:
        total, steps = recipe.epochs * epoch, recipe.epochs * math.ceil(epoch / recipe.batch_size)
        took, kind = "stored", (recipe.network, recipe.batch_size)
        if not stored:
            if kind not in rates:
                rates[kind] = rate or train.images_per_second(recipe, size, plan.identities)
            seconds += total / rates[kind]
            took = f"about {duration(total / rates[kind])} at {rates[kind]:,.0f} images/s"
        print(f"  {title}: {recipe.network}, {steps:,} steps, {total:,} exposures: {took}")
    print(f"training in all: {duration(seconds)}, one after the other;")
    print("then the MINT Models, and the notebooks")
    print(
        f"disk space: at least {plan.disk / 1e9:,.1f} GB needed, {free_bytes() / 1e9:,.1f} GB there"
    )
    refuse(plan.disk)


def duration(seconds: float) -> str:
    """Return a time in words, to the minute where it is hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _line(manifest: dict, image_size: int, missing: bool) -> str:
    known = "" if "images" in manifest else " as published"
    if manifest.get("identities") is not None:
        known += f" of {manifest['identities']:,} identities"
    if is_streamed(manifest, image_size):
        known += ", read from its .rec"
    where = "to be prepared, counts from its manifest" if missing else "prepared"
    return f"{manifest['name']}: {expected_images(manifest):,} images{known}, {where}"
