"""The columns of each table of the paper, as changes to the baseline.

A column is a recipe of the Audited Model and a group of images that are its positives: all members, or a part
of them. Scenarios share models: the baseline is a column of every table and is trained once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mint_utils.config import Audited, Config
from mint_utils.data.membership import THIRDS

NOTEBOOKS: dict[str, tuple[str, ...]] = {
    "00_databases": (),
    "01_baseline": ("baseline",),
    "02_augmented_data_frequency": ("frequency",),
    "03_reduced_batch_size": ("batch_size", "batch_size_scaled"),
    "04_no_dropout": ("dropout",),
    "05_loss_function": ("loss",),
    "06_controls": ("baseline", "halves", "swap", "ends"),
    "06b_better_test": ("baseline", "halves", "shadows", "ends"),
    "06c_auditors_factors": ("baseline",),
    "07_summary": (
        *("baseline", "frequency", "batch_size", "batch_size_scaled", "dropout", "loss"),
        *("halves", "swap", "shadows"),
    ),
    "08_audit_your_model": ("baseline",),
    "09_was_i_used": ("people", "images_a_person"),
}
# Numbers of the paper's tables.
TABLES = dict(baseline=1, frequency=2, batch_size=3, batch_size_scaled=3, dropout=4, loss=5)
SHADOW_SEED = 100  # of the first shadow model, so that no other model has their seeds
LOSS_NAMES = {"adaface": "AdaFace", "cosface": "CosFace", "arcface": "ArcFace"}
KINDS = ("members", "parts")  # of groups whose images are positives
NEVER = "x0"  # the part of D that no model saw, in the place of members


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: As the paper prints it, where it has the column.
        model: Name of its Audited Model in tables and text.
        recipe: The recipe of the Audited Model, with the first of its seeds.
        group: The images that are its positives: ``members``, or a part such as ``x10``; None for a
            model that controls need and that has no table of its own.
    """

    name: str
    model: str
    recipe: Audited
    group: str | None = "members"

    @property
    def kind(self) -> str | None:
        """The kind of its group, see `Images.groups`; None where it has no group."""
        if self.group is None:
            return None
        return "members" if self.group == "members" else "parts"


def of_notebooks(config: Config, names: Iterable[str]) -> list[str]:
    """Return the scenarios whose models notebooks need.

    Notebook 08 needs no model of the study where an auditor brings one.
    """
    brought, needs = config.brought, dict(NOTEBOOKS)
    if brought.case is not None:
        needs["08_audit_your_model"] = ()
    elif brought.question == "persons":
        needs["08_audit_your_model"] = ("people",)
    return list(dict.fromkeys(scenario for name in names for scenario in needs[name]))


def columns(config: Config, scenario: str) -> list[Column]:
    """Return the columns of a scenario in the paper's order, then those that the study adds."""
    return _SCENARIOS[scenario](config)


def recipes(config: Config, scenario: str, column: Column) -> list[Audited]:
    """Return the recipes of a column's Audited Models, one a seed."""
    chosen, recipe = config.scenarios, column.recipe
    count = chosen.audited_seeds
    if scenario == "frequency" or len(recipe.repeats) > 1:
        count = chosen.frequency_seeds
    elif scenario == "shadows":
        count = 1
    elif scenario in ("people", "images_a_person"):
        count = chosen.people_seeds or count
    elif replace(recipe, shown="members") != config.audited:
        count = chosen.factor_seeds or count
    return [replace(recipe, seed=recipe.seed + i) for i in range(count)]


def needed(config: Config, names: Iterable[str]) -> dict[Audited, tuple[str, set[str]]]:
    """Return the recipes that scenarios need: recipe -> (a name for messages, the kinds of groups)."""
    found: dict[Audited, tuple[str, set[str]]] = {}
    for scenario in names:
        for column in columns(config, scenario):
            for recipe in recipes(config, scenario, column):
                title = f"{column.model}, seed {recipe.seed}"
                kinds = found.setdefault(recipe, (title, set()))[1]
                kinds.update([column.kind] if column.kind else [])
    return found


def models(config: Config, scenario: str) -> list[Column]:
    """Return one column for each Audited Model of a scenario, its first, in order."""
    return list({c.model: c for c in reversed(columns(config, scenario))}.values())[::-1]


def compared_plans(config: Config) -> list[Column]:
    """Return the columns whose plans of exposures the paper's Figure 3 compares."""
    augmented, baseline, _ = models(config, "frequency")
    return [baseline, augmented]


def end_points(config: Config) -> dict[str, Column]:
    """Return the columns at the ends of the scenarios, about which the paper says most, by unique names.

    The baseline; the images shown least and most often; the smallest batch; no dropout; the other losses.
    """
    of = {name: columns(config, name) for name in ("frequency", "batch_size", "dropout", "loss")}
    parts_shown = [c for c in of["frequency"] if c.group == c.name and c.group != NEVER]
    found = [
        *_baseline(config),
        parts_shown[0],
        parts_shown[-1],
        min(of["batch_size"], key=lambda c: c.recipe.batch_size),
        *(c for c in of["dropout"] if c.recipe.dropout == 0),
        *(c for c in of["loss"] if c.recipe.loss != config.audited.loss),
    ]
    return {c.model if c.group == "members" else c.name: c for c in found}


def _ends(config: Config) -> list[Column]:
    return list(end_points(config).values())


def parts(config: Config) -> list[str]:
    """Return the names of the parts of the members, by their exposures an epoch: x1, x10, x20, x30."""
    return [f"x{times}" for times in config.scenarios.frequencies]


def _baseline(config: Config) -> list[Column]:
    return [Column("Baseline", "Baseline", config.audited)]


def _frequency(config: Config) -> list[Column]:
    """Return the four parts of one model; then the same parts of two models that show all alike.

    One is trained for as many epochs as the baseline, the other for as many steps as the first: they separate
    the effect of being shown more often than others from that of a longer training.
    """
    chosen = config.scenarios
    mean = sum(chosen.frequencies) / len(chosen.frequencies)
    epochs = chosen.frequency_epochs or config.audited.epochs
    models = {
        "Augmented frequency": {"repeats": chosen.frequencies, "epochs": epochs},
        "Baseline": {},
        "Equal steps": {"epochs": round(epochs * mean)},
    }
    return [
        Column(part_name(part, model), model, replace(config.audited, **changes), part)
        for model, changes in models.items()
        for part in [*parts(config), NEVER]
    ]


def part_name(part: str, model: str = "Augmented frequency") -> str:
    """Return the name of the column of a part of the images under a model of Scenario 1."""
    return part if model == "Augmented frequency" else f"{part}, {model.lower()}"


def _batch_size(config: Config) -> list[Column]:
    return [
        Column(str(size), f"batch {size}", replace(config.audited, batch_size=size))
        for size in config.scenarios.batch_sizes
    ]


def _batch_size_scaled(config: Config) -> list[Column]:
    """Return the columns of Table 3 with the rate scaled linearly (arXiv 1706.02677)."""
    base, sizes = config.audited, config.scenarios.batch_sizes_scaled
    found = []
    for size in config.scenarios.batch_sizes if sizes is None else sizes:
        recipe = replace(base, batch_size=size, lr=base.lr * size / base.batch_size)
        found.append(Column(str(size), f"batch {size}, scaled", recipe))
    return found


def _dropout(config: Config) -> list[Column]:
    """Return the columns with and without dropout, as in the paper, then the other rates of the sweep."""
    own = config.audited.dropout
    names = {own: "with dropout", 0.0: "without dropout"}
    found = []
    for rate in dict.fromkeys([*names, *config.scenarios.dropouts]):
        name, recipe = names.get(rate, f"rate {rate:g}"), replace(config.audited, dropout=rate)
        found.append(Column(name, f"dropout {rate:g}", recipe))
    return found


def _loss(config: Config) -> list[Column]:
    return [
        Column(LOSS_NAMES[loss], LOSS_NAMES[loss], replace(config.audited, loss=loss))
        for loss in config.scenarios.losses
    ]


def halved(config: Config) -> bool:
    """Say whether null and shadow models are compared with an M of their own, trained on half of D.

    They are trained on the images that M never saw, or on random halves. If M saw more or less than half of
    D, their training sets would have another size than its own, and the comparison would mix in the size.
    """
    return config.databases.held_out != 0.5


def compared(config: Config) -> Column:
    """Return the M that null and shadow models are compared with: the baseline, or see `halved`."""
    one_half = replace(config.audited, shown="half-a")
    return (
        Column("one half", "One half", one_half, None) if halved(config) else _baseline(config)[0]
    )


def told_halves(config: Config) -> str:
    """Return a paragraph that explains the M of `compared`; empty if it is the baseline."""
    if not halved(config):
        return ""
    share = config.databases.held_out
    return (
        f"\n\nThe baseline holds out {share:.0%} of D, and a network of these images would "
        "be of another size. So M is here a network trained on one half of D, and the network that saw "
        "other images was trained on the other half."
    )


def _halves(config: Config) -> list[Column]:
    return [compared(config)] if halved(config) else []


def _swap(config: Config) -> list[Column]:
    """Return the recipe of the baseline trained on what the M of `compared` never saw: a null model."""
    shown = "half-b" if halved(config) else "held_out"
    return [Column("other half", "Other half", replace(config.audited, shown=shown), None)]


def _people(config: Config) -> list[Column]:
    """Return the recipe of the baseline trained on a third of the people: A, B, and C.

    Each takes about as many steps as the baseline: its epochs are three times as many.
    """
    epochs, found = len(THIRDS) * config.audited.epochs, []
    for third in THIRDS:
        recipe = replace(config.audited, shown=f"people-{third}", epochs=epochs)
        found.append(Column(f"people {third.upper()}", f"People {third.upper()}", recipe, None))
    return found


def _images_a_person(config: Config) -> list[Column]:
    """Return the recipe of people A with at most so many images of each, for about as many steps.

    Fewer images are shown more often: with as many epochs, a network with one image a person would hardly be
    trained. The average number of training images a person comes from the manifest.
    """
    wanted, roles = config.scenarios.images_a_person, config.databases
    if not wanted:
        return []
    # Imported here, because a command's help should not wait for PyTorch.
    from mint_utils.data.manifest import described

    d = described(roles.training, config.data, roles.scale)
    average = (1 - roles.held_out) * d["images"] / d["identities"]
    a, found = _people(config)[0].recipe, []
    for most in wanted:
        epochs = round(a.epochs * max(1, average / most))
        recipe = replace(a, shown=f"{a.shown}-atmost-{most}", epochs=epochs)
        title = f"{most} image{'s' * (most > 1)} a person"
        found.append(Column(str(most), title, recipe, None))
    return found


def _shadows(config: Config) -> list[Column]:
    """Return the recipe of the baseline trained on random halves of D, each with a seed of its own."""
    found = []
    for i in range(config.scenarios.shadow_models):
        seed = config.audited.seed + SHADOW_SEED + i
        recipe = replace(config.audited, shown=f"shadow-{i}", seed=seed)
        found.append(Column(f"shadow {i}", f"Shadow {i}", recipe, None))
    return found


_SCENARIOS = {
    "baseline": _baseline,
    "frequency": _frequency,
    "batch_size": _batch_size,
    "batch_size_scaled": _batch_size_scaled,
    "dropout": _dropout,
    "loss": _loss,
    "ends": _ends,
    "halves": _halves,
    "swap": _swap,
    "people": _people,
    "images_a_person": _images_a_person,
    "shadows": _shadows,
}
