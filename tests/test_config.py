import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mint_utils import config
from mint_utils.config import PARAMETERS, coerce, plain, profiles, resolve
from mint_utils.errors import ParameterError


@pytest.mark.parametrize("name", profiles())
def test_every_profile_resolves(name):
    found = resolve(name)
    assert found.profile == name and found.is_reference


def test_quick_is_the_default_and_comes_first():
    assert profiles()[0] == resolve().profile == "quick"


def test_defaults_are_the_papers():
    paper = config.Config()
    assert paper.audited == config.Audited(
        network="ir_50", loss="adaface", batch_size=256, epochs=26, lr=0.1, momentum=0.9,
        weight_decay=5e-4, dropout=0.4, augmentation=0.2, repeats=(1,), seed=0,
    )  # fmt: skip
    assert (paper.mint.mint_samples, paper.mint.mint_epochs) == (100_000, 20)


def test_overrides_reach_their_section_and_none_is_the_profiles_own():
    found = resolve("quick", epochs=3, dropout=0, image_size=None, mint_seeds=2)
    assert (found.audited.epochs, found.audited.dropout, found.mint.mint_seeds) == (3, 0.0, 2)
    assert found.databases.image_size == resolve("quick").databases.image_size
    assert not found.is_reference


def test_an_override_equal_to_the_profile_is_still_the_reference():
    assert resolve("quick", epochs=resolve("quick").audited.epochs).is_reference


def test_numbers_as_yaml_reads_them():
    assert resolve("quick", lr="1e-3").audited.lr == 0.001  # YAML 1.1 takes 1e-3 for text
    assert resolve("quick", lr=1).audited.lr == 1.0


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("epochs", "5", "epochs must be a whole number"),
        ("epochs", 2.5, "epochs must be a whole number"),
        ("epochs", True, "epochs must be a whole number"),
        ("lr", "fast", "lr must be a number"),
        ("lr", True, "lr must be a number"),
        ("lr", -1, "lr must be above 0"),
        ("lr", float("nan"), "lr must be above 0"),
        ("network", 50, "network must be text"),
        ("loss", "softmax", "loss must be one of adaface, cosface, arcface"),
        ("batch_size", 1, "BatchNorm"),
        ("dropout", 1.0, "dropout must be from 0 to below 1"),
        ("held_out", 0, "held_out must be between 0 and 1"),
        ("repeats", [1, 0], "repeats must be"),
        ("batch_sizes", "16,128", "batch_sizes is a list: write"),
        ("split", "identities", "split must be one of image, identity"),
        ("epoch", 3, "Did you mean 'epochs'?"),
    ],
)
def test_wrong_parameters_are_one_clear_error(name, value, says):
    with pytest.raises(ParameterError, match=says.replace("?", r"\?")):
        resolve("quick", **{name: value})


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ParameterError, match="Did you mean 'faces'"):
        resolve("face")


def test_profiles_of_faces_differ_in_scale_and_read_the_same_databases():
    large, small = resolve("faces"), resolve("faces_small")
    assert (large.audited.network, large.databases.image_size) == ("ir_50", 112)
    assert (small.audited.network, small.databases.image_size) == ("ir_tiny", 40)
    assert dataclasses.replace(small.databases, image_size=112) == large.databases


def test_the_folder_of_databases_does_not_determine_results(tmp_path):
    assert resolve("faces", str(tmp_path)).results() == resolve("faces").results()


def test_replace_changes_only_what_is_named():
    base = resolve("quick")
    changed = base.replace(loss="cosface")
    assert changed.audited == dataclasses.replace(base.audited, loss="cosface")
    assert (changed.databases, changed.mint) == (base.databases, base.mint)


def test_parameters_have_one_meaning_each():
    sections = config.SECTIONS.values()
    assert len(PARAMETERS) == sum(len(dataclasses.fields(kind)) for kind in sections)


@given(st.floats(allow_nan=False))
def test_floats_survive_as_text(value):
    assert coerce("lr", repr(value), float) == value


@given(st.integers(), st.lists(st.integers(), min_size=1))
def test_plain_is_json(number, numbers):
    assert plain({"a": tuple(numbers), 1: number}) == {"a": numbers, "1": number}
