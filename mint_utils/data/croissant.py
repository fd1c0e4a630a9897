"""Manifests as Croissant 1.0, the JSON-LD that data catalogues and search engines read.

    python -m mint_utils.data.croissant ms1mv3 adience        # prints
    python -m mint_utils.data.croissant --out DIR             # all of them, one NAME.json a database

In: names of manifests. Out: JSON-LD as http://mlcommons.org/croissant/1.0 defines it: what a database is, its
terms, and its files with their checksums. RecordIO and pickles are no formats that Croissant reads records
from, so records are not described; and a database that the package draws has no files.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mint_utils import store
from mint_utils.data.description import manifests, read_manifest
from mint_utils.errors import DataError, command

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "conformsTo": "dct:conformsTo",
    "includes": "cr:includes",
}


def croissant(name: str) -> dict[str, Any]:
    """Return the Croissant description of a database.

    A file is named by its place in the folder of databases: nothing is downloaded from there, because
    most of these databases are given out by hand. What its publisher counts, and how it is obtained and
    prepared, stands in the description.

    Raises:
        ParameterError: There is no such manifest.
        DataError: The manifest is not valid.
    """
    manifest = read_manifest(name)
    counts = manifest.get("published", {}) | {
        key: manifest[key] for key in ("images", "identities") if key in manifest
    }
    told = [manifest["title"], *(f"{key}: {value:,}" for key, value in counts.items())]
    for key in ("origin", "obtained", "preparation"):
        told += [f"{key}: {manifest[key].strip()}"] if key in manifest else []
    found = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": "\n".join(told),
        "license": {"@type": "sc:CreativeWork", "name": manifest["licence"].strip()},
        "citeAs": manifest["citation"].strip(),
    }
    if "creator" in manifest:
        found["creator"] = {"@type": "sc:Organization", "name": manifest["creator"]}
    if "year" in manifest:
        found["datePublished"] = str(manifest["year"])
    if "url" in manifest:
        found["url"] = manifest["url"]
    return found | {"distribution": _distribution(manifest)}


def _distribution(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the files: those with a checksum as FileObjects, which must have one, others as FileSets."""
    if "path" not in manifest:
        return []
    files = {manifest["path"]: "the images"} | manifest.get("files", {})
    found = []
    for path, what in files.items():
        folder = manifest["layout"] == "folder" and path == manifest["path"]
        entry = {"@id": path, "name": path, "description": what}
        entry["encodingFormat"] = "image/jpeg" if folder else "application/octet-stream"
        if path == manifest["path"] and "sha256" in manifest and not folder:
            found.append(
                {"@type": "cr:FileObject", **entry, "contentUrl": path}
                | {"sha256": manifest["sha256"]}
            )
        else:
            found.append(
                {"@type": "cr:FileSet", **entry, "includes": f"{path}/**" if folder else path}
            )
    return found


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print or write descriptions; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mint_utils.data.croissant", description=__doc__.split("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a manifest (default: all)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write NAME.json there")
    given = parser.parse_args(arguments)
    found = {name: croissant(name) for name in given.names or manifests()}
    if given.out is None:
        print(json.dumps(list(found.values()) if len(found) > 1 else found.popitem()[1], indent=2))
        return 0
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        for name, description in found.items():
            store.write_text(given.out / f"{name}.json", json.dumps(description, indent=2) + "\n")
    except OSError as error:
        raise DataError(
            f"{given.out} cannot be written to ({error.strerror}): name another folder with --out."
        ) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
