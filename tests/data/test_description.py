"""Manifests against their schema, and fingerprints of files that nobody published a checksum of."""

import hashlib
import json

import jsonschema  # comes with JupyterLab
import numpy as np
import pytest
import yaml

from mint_utils import paths
from mint_utils.config import profiles, resolve
from mint_utils.data import description, folders, synthetic
from mint_utils.data.description import fingerprint, manifests, read_manifest
from mint_utils.errors import DataError

SOUND = {"layout": "recordio", "path": "db/db.rec", "image_size": 112, "sha256": "0a" * 32}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "MANIFESTS", tmp_path)

    def write(without=(), **fields):
        words = dict.fromkeys(("title", "licence", "citation", "origin", "preparation"), "-")
        manifest = words | {"name": "db"} | SOUND | fields
        for name in without:
            del manifest[name]
        (tmp_path / "db.yaml").write_text(yaml.safe_dump(manifest))
        return manifest

    return write


# ---- the manifests of the project --------------------------------------------------------------


@pytest.mark.parametrize("name", manifests())
def test_every_manifest_is_valid_and_says_what_a_user_needs(name):
    manifest = read_manifest(name)
    assert {"role", "licence", "citation", "creator", "origin", "obtained"} <= set(manifest)
    if manifest["layout"].startswith("embedded"):
        assert manifest["style"] in synthetic.STYLES
    else:
        assert {"path", "image_size", "url"} <= set(manifest)
        assert "sha256" in manifest or manifest["path"] in manifest["files"]


def named(roles) -> dict[str, str]:
    one = {roles.training: "training", roles.external_eval: "external_eval"}
    one |= dict.fromkeys(roles.external_train, "external_train")
    return one | dict.fromkeys(roles.verification, "verification")


@pytest.mark.parametrize("profile", profiles())
def test_every_database_of_every_profile_has_a_manifest_of_its_role(profile):
    for name, role in named(resolve(profile).databases).items():
        assert read_manifest(name)["role"] == role


def test_the_papers_databases_are_described():
    from mint_utils.config import Databases

    for name, role in named(Databases()).items():
        assert read_manifest(name)["role"] == role
    assert read_manifest("ms1mv3")["images"] == 5_179_510
    assert read_manifest("ms1mv3")["identities"] == 93_431
    assert "withdrew" in read_manifest("ms1mv3")["licence"]
    assert read_manifest("calfw")["layout"] == "bin"


def test_the_schema_is_one_and_explains_its_fields():
    schema = json.loads((paths.MANIFESTS / "schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    readme = (paths.ROOT / "data_manifests" / "README.md").read_text()
    for field in schema["properties"]:
        assert f"`{field}`" in readme, field


# ---- what may be wrong with one ----------------------------------------------------------------


def test_a_sound_one_is_returned_as_it_is(write):
    assert write() == read_manifest("db")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layout": "zip"}, r"db\.yaml, field layout, is 'zip': it must be one of \['embedded'"),
        ({"image_size": "112"}, r"field image_size, is '112': it must be integer"),
        ({"image_size": 8}, r"field image_size, is 8: it must be bigger than or equal to 16"),
        ({"sha256": "12"}, r"field sha256, is '12': it must match pattern \^\[0-9a-f\]\{64\}"),
        ({"sha265": "0" * 64}, r"db\.yaml: the manifest must not contain \{'sha265'\}"),
        (
            {"published": {"images": "many"}},
            r"field published\.images, is 'many': it must be integer",
        ),
        ({"url": "ask them"}, r"field url, is 'ask them': .*https"),
        ({"name": "other"}, r"field name, is 'other': it must be the file's own, 'db'"),
        ({"layout": "embedded"}, r"db\.yaml: the manifest must contain .*style.*README\.md tells"),
    ],
)
def test_a_wrong_field_is_one_sentence_with_file_field_and_remedy(write, fields, message):
    write(**fields)
    with pytest.raises(DataError, match=message) as raised:
        read_manifest("db")
    assert str(raised.value).startswith(str(paths.MANIFESTS / "db.yaml"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: db\n  layout: [", r"db\.yaml, line 2 is no YAML"),
        ("- a\n- b\n", r"db\.yaml: the manifest must be object"),
        ("", r"db\.yaml: the manifest must be object"),
    ],
)
def test_a_file_that_is_no_manifest(write, text, message):
    (paths.MANIFESTS / "db.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_manifest("db")


# ---- fingerprints ------------------------------------------------------------------------------


def test_a_small_file_is_hashed_as_a_whole_and_a_folder_by_its_images(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"some bytes")
    assert fingerprint(path) == hashlib.sha256(b"some bytes").hexdigest()
    assert fingerprint(tmp_path) == folders.fingerprint(tmp_path)
    with pytest.raises(DataError, match=r"no file .*b\.rec"):
        fingerprint(tmp_path / "b.rec")


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A file of 100 kB that counts as a large one: 10 blocks of 100 bytes stand for it."""
    for name, value in (("WHOLE", 1000), ("BLOCK", 100), ("BLOCKS", 10)):
        monkeypatch.setattr(description, name, value)
    path = tmp_path / "db.rec"
    path.write_bytes(np.random.default_rng(0).bytes(100_000))
    path.with_suffix(".idx").write_text("1\t0\n2\t600\n")
    path.with_name("index.csv").write_text("1,0,a.jpg,00ff\n")
    return path


@pytest.mark.parametrize("where", [0, 50, 99_999, 11_105])
def test_a_large_file_is_recognised_by_blocks_of_it(large, where):
    before, content = fingerprint(large), bytearray(large.read_bytes())
    content[where] ^= 1  # the first byte, the last, and one of the second block (11,100 on)
    large.write_bytes(content)
    assert fingerprint(large) != before


def test_a_large_file_is_recognised_by_its_length_and_what_lies_beside_it(large):
    found = {fingerprint(large)}
    for name, text in (("db.idx", "1\t0\n2\t604\n"), ("index.csv", "1,0,a.jpg,00fe\n")):
        large.with_name(name).write_text(text)
        found.add(fingerprint(large))
    with open(large, "ab") as file:
        file.write(bytes(4))
    found.add(fingerprint(large))
    assert len(found) == 4 and fingerprint(large) in found


def test_between_the_blocks_nothing_is_noticed(large):
    """Said in the docstring, so that nobody takes it for a checksum."""
    before, content = fingerprint(large), bytearray(large.read_bytes())
    content[5000] ^= 1
    large.write_bytes(content)
    assert fingerprint(large) == before
