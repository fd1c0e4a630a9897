"""The plan of a run: every database and Audited Model, and what they take; printed by ``--dry-run``.

In: a study and the scenarios wanted of it. Out: a `Forecast`, made without opening a database that is not
prepared yet: its manifest tells the counts, and of the images shown the expected number is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mint_utils import workers
from mint_utils.audited import train
from mint_utils.config import Audited
from mint_utils.data.manifest import described, expected_images, is_prepared, is_streamed, locate
from mint_utils.errors import DataError, ParameterError
from mint_utils.run import cost
from mint_utils.study import scenarios
from mint_utils.study.study import Study


@dataclass(frozen=True)
class Planned:
    """An Audited Model of the plan: its exposures an epoch, and whether it is stored already."""

    title: str
    recipe: Audited
    exposures: int
    stored: bool

    @property
    def total(self) -> int:
        """Exposures of the whole training."""
        return self.exposures * self.recipe.epochs

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return cost.steps(self.recipe, self.exposures)


@dataclass(frozen=True)
class Forecast:
    """What a run does and needs.

    Attributes:
        databases: One line a database.
        models: In the order of the tables.
        classes: Identities of D.
        exact: Whether D is at hand; otherwise the numbers are expected ones, from its manifest.
        needed: For what is not stored yet.
    """

    databases: list[str]
    models: list[Planned]
    classes: int
    exact: bool
    needed: cost.Resources


def forecast(
    study: Study, names: Sequence[str], jobs: int | None, may_lack: bool = True
) -> Forecast:
    """Return the plan of the scenarios of a study.

    Args:
        study: Which.
        names: Its scenarios.
        jobs: Models trained side by side; None: as many as a run would train.
        may_lack: Databases may be missing where no folder of them is given.

    Raises:
        DataError: A database is missing; or the manifest of D does not tell its counts.
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
    exact = d not in missing and not (is_streamed(d, roles.image_size) and config.data is None)
    models = [
        Planned(
            title,
            recipe,
            study.exposures(recipe) // recipe.epochs
            if exact
            else cost.exposures(recipe, d["images"], roles.held_out),
            exact and study.is_trained(recipe),
        )
        for recipe, (title, _) in study.needed(names).items()
    ]
    counts = {name: expected_images(manifest) for name, manifest in manifests.items()}
    return Forecast(
        databases=[_told(m, roles.image_size, m in missing) for m in manifests.values()],
        models=models,
        classes=d["identities"],
        exact=exact,
        needed=_needed(study, names, models, counts, missing, d["identities"], jobs),
    )


def _needed(study, names, models, counts, missing, classes, jobs) -> cost.Resources:
    roles, mint = study.config.databases, study.config.mint
    on_gpu = train.default_device().type == "cuda"
    images, waiting = counts[roles.training], [m for m in models if not m.stored]
    side = min(jobs or (1 if on_gpu else workers.cores()), max(1, len(waiting)))
    disk = sum(
        cost.prepared_bytes(expected_images(m), roles.image_size, is_streamed(m, roles.image_size))
        for m in missing
    )
    if study.likeness:  # what compares them, and of one database once more until that is whole
        width = cost.measured(roles.recognition_network, roles.image_size).embedding
        disk += (sum(counts.values()) + max(counts.values())) * width * cost.FLOAT
    external = [counts[name] for name in roles.external_train]
    held_out = round(images * roles.held_out)
    parts = len(scenarios.parts(study.config))
    groups = {
        "members": [images - held_out],
        "parts": [(images - held_out) // parts] * parts + [held_out // parts],
    }
    kinds = {recipe: kinds for recipe, (_, kinds) in study.needed(names).items()}
    busy, beside, checkpoints = [], [], []
    for model in waiting:
        size = cost.measured(model.recipe.network, roles.image_size)
        disk += cost.stored_bytes(size, classes, images, model.steps)
        checkpoints.append(cost.checkpoint_bytes(size, classes, images, model.steps))
        busy.append(cost.training_bytes(model.recipe, size, classes, on_gpu))
        beside.append(cost.host_bytes(images, model.exposures, model.steps))
        for kind in kinds[model.recipe]:
            rows, n, m = cost.audit_rows(
                mint, groups[kind], held_out, external, counts[roles.external_eval]
            )
            disk += rows * size.features * cost.FLOAT
            busy.append(cost.mint_bytes(mint, size, len(groups[kind]), n, m))
    largest = sum(sorted(beside)[-side:])
    if on_gpu:
        pixels = images * roles.image_size**2 * 3
        resident = pixels if pixels < train.RESIDENT_BYTES else 0
        gpu, memory = max(busy, default=0) + resident, largest + cost.PROCESS
    else:
        gpu, memory = 0, largest + sum(sorted(busy)[-side:])
    return cost.Resources(disk + sum(sorted(checkpoints)[-side:]), gpu, memory)


def _told(manifest: dict, image_size: int, missing: bool) -> str:
    identities = manifest.get("identities")
    told = f"{manifest['name']}: {expected_images(manifest):,} images"
    if "images" not in manifest:
        told += " as published"
    if identities is not None:
        told += f" of {identities:,} identities"
    if is_streamed(manifest, image_size):
        told += ", read from its .rec"
    return f"{told}, {'to be prepared, counts from its manifest' if missing else 'prepared'}"


def announce(study: Study, names: Sequence[str], jobs: int | None, rate: float | None) -> None:
    """Print what a run would do and what it would cost here.

    Args:
        study: Which.
        names: Its scenarios.
        jobs: Models trained side by side; None: as many as a run would train.
        rate: Images a second in training; None: measured here, on blank images.

    Raises:
        ParameterError: It does not fit, or the rate is none.
    """
    if rate is not None and not rate > 0:
        raise ParameterError(f"--rate must be above 0 images a second, not {rate:g}.")
    plan, device = forecast(study, names, jobs), train.default_device()
    size = study.config.databases.image_size
    print("\n".join(f"  {line}" for line in plan.databases))
    if not plan.exact:
        print(
            f"  {study.config.databases.training} is not prepared yet: expected numbers of exposures"
        )
    rates: dict[tuple[str, int], float] = {}
    total = 0.0
    for model in plan.models:
        recipe = model.recipe
        told = (
            f"  {model.title}: {recipe.network}, {model.steps:,} steps, {model.total:,} exposures"
        )
        if model.stored:
            print(f"{told}: stored")
            continue
        kind = recipe.network, recipe.batch_size
        if kind not in rates:
            rates[kind] = rate or train.images_per_second(recipe, size, plan.classes)
        total += model.total / rates[kind]
        took = cost.duration(model.total / rates[kind])
        print(f"{told}: about {took} at {rates[kind]:,.0f} images/s")
    print(f"training in all: {cost.duration(total)}, one after the other;")
    print("then the MINT Models, and the notebooks")
    there = cost.available(device)
    for kind, name in cost.KINDS.items():
        needed, free = (getattr(each, kind) for each in (plan.needed, there))
        if needed or free:
            told = f"{cost.gigabytes(needed)} needed, {cost.gigabytes(free)} there"
            print(f"{name}: {told}")
    cost.refuse(plan.needed, there)


def check(study: Study, names: Sequence[str], jobs: int | None) -> None:
    """Refuse a run that cannot fit, before anything of it starts.

    Raises:
        ParameterError: It does not fit.
        DataError: A database is not at hand.
    """
    there = cost.available(train.default_device())
    cost.refuse(forecast(study, names, jobs, may_lack=False).needed, there)
