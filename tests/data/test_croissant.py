"""Manifests as Croissant: the fields that its specification requires, and files with their checksums."""

import json

import pytest

from mint_utils.data.croissant import croissant, main
from mint_utils.data.description import manifests, read_manifest

REQUIRED = {"@context", "@type", "conformsTo", "description", "license", "name", "distribution"}


@pytest.mark.parametrize("name", manifests())
def test_what_is_required_is_there(name):
    found, manifest = json.loads(json.dumps(croissant(name))), read_manifest(name)
    assert found.keys() >= REQUIRED and found["name"] == name
    assert found["@type"] == "sc:Dataset"
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert found["license"]["name"] == manifest["licence"].strip()
    assert manifest["title"] in found["description"]
    for entry in found["distribution"]:
        kind = entry["@type"]
        assert {"cr:FileObject": {"sha256", "contentUrl"}, "cr:FileSet": {"includes"}}[kind] <= set(
            entry
        )


def test_files_with_and_without_a_checksum():
    (lfw,) = croissant("lfw")["distribution"]
    assert lfw["@type"] == "cr:FileObject" and lfw["contentUrl"] == "lfw/train.rec"
    assert lfw["sha256"] == read_manifest("lfw")["sha256"]
    (film,) = croissant("film")["distribution"]  # its sha256 is of the list of images
    assert film["@type"] == "cr:FileSet" and film["includes"] == "film/**" and "sha256" not in film
    assert [f["includes"] for f in croissant("ms1mv3")["distribution"]] == [
        "ms1mv3/ms1mv3.rec",
        "ms1mv3/ms1mv3.idx",
    ]
    assert croissant("embedded_web")["distribution"] == []


def test_counts_and_the_way_to_get_it_are_told():
    told = croissant("ms1mv3")["description"]
    assert "images: 5,179,510" in told and "withdrawn by Microsoft in 2019" in told
    assert "identities: 2,284" in croissant("adience")["description"]


def test_command(tmp_path, capsys):
    assert main(["lfw"]) == 0
    assert json.loads(capsys.readouterr().out) == croissant("lfw")
    assert main(["lfw", "film"]) == 0
    assert json.loads(capsys.readouterr().out) == [croissant("lfw"), croissant("film")]
    assert main(["--out", str(tmp_path / "out")]) == 0
    assert sorted(p.stem for p in (tmp_path / "out").iterdir()) == manifests()
    assert json.loads((tmp_path / "out" / "fddb.json").read_text()) == croissant("fddb")
    assert main(["nothing"]) == 2
    assert "error: There is no database 'nothing'" in capsys.readouterr().err


def test_where_nothing_can_be_written_is_one_error(tmp_path, capsys):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "in_it"):
        assert main(["lfw", "--out", str(out)]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"error: {out} cannot be written to") and told.count("\n") == 1


@pytest.mark.parametrize("name", ["ms1mv3", "lfw", "film", "embedded_pairs"])
def test_mlcroissant_accepts_it(tmp_path, name):
    mlcroissant = pytest.importorskip("mlcroissant", reason="pip install mlcroissant")
    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(croissant(name)))
    assert mlcroissant.Dataset(jsonld=path).metadata.name == name
