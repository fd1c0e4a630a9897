# The study as independent jobs: the databases, then each Audited Model with its MINT Models, then the notebooks,
# then the closing, which prints the tables and writes the page. It does what `python -m mint_utils.reproduce`
# does, with the same results, and asks it what there is to do (`--list`); nothing about a job stands here but
# what it needs of a machine.
#
#     pip install -e ".[cluster]"                             # Snakemake and its executor for Slurm
#     snakemake -n                                            # what would be done, for profile quick
#     snakemake --cores 2                                     # do it here, two jobs side by side
#     snakemake --cores 16 --config profile=gpu gpus=1 --resources gpu=1    # one GPU: a model at a time
#     snakemake --cores 2 --config only="[01, 04]" parameters="{epochs: 5, dropouts: [0, 0.2]}"
#     snakemake --workflow-profile cluster/slurm --config profile=paper data=/path gpus=1    # on Slurm
#
# Give these from this folder, in the environment of the package. With Slurm both, and MINT_ARTIFACTS,
# MINT_FIGURES and MINT_REPORTS where they are set, have to be on a file system that all nodes share.
#
# --config takes
#     profile, data    as the options of `reproduce`
#     only             notebooks, as "[01, 04]"; all where it is not given
#     parameters       of the notebooks, name: value, as -p of `reproduce`
#     gpus             for each Audited Model, 1 or none; none where it is not given
#
# A job is done when its mark is there, a file in artifacts/stages that the package writes last and names by a
# hash of all that its results depend on: another parameter is another job, and one that finds its results
# stored ends at once. A job that failed or was killed goes on from its checkpoint: by itself where retries are
# allowed (--retries 2, as in cluster/slurm), otherwise when the same command is given again. After the death of
# Snakemake itself `snakemake --unlock` comes first. What a job prints is in artifacts/stages too, in its .log.

import json
import shlex
import subprocess
import sys
from pathlib import Path

from mint_utils.config import is_text


def plain(value):
    """Return a value of the configuration as the text that -p takes."""
    return f"[{', '.join(map(plain, value))}]" if isinstance(value, list) else str(value)


COMMAND = [sys.executable, "-m", "mint_utils.reproduce", "--profile", config.get("profile", "quick")]
if "data" in config:
    COMMAND += ["--data", str(config["data"])]
only = config.get("only", [])
for number in only if isinstance(only, list) else [only]:
    COMMAND += ["--only", str(number).zfill(2)]  # 01 alone is a number to Snakemake
for name, value in (config.get("parameters") or {}).items():
    if is_text(name) and not isinstance(value, str):
        sys.exit(f"{name}: {value!r} is no text here: write it in quotes, as '\"007\"'")
    COMMAND += ["-p", name, plain(value)]

answer = subprocess.run([*COMMAND, "--list"], stdout=subprocess.PIPE, text=True)
if answer.returncode:
    sys.exit(answer.returncode)  # it has said what is wrong
STAGES = {stage["id"]: stage for stage in map(json.loads, answer.stdout.splitlines())}
CLOSING = next(id for id in STAGES if id.startswith("closing-"))
FOLDER = Path(STAGES[CLOSING]["mark"]).parent
DO = f"{shlex.join(COMMAND)} --stage"


def marks_before(id):
    """Return the marks of the stages that one comes after."""
    return [STAGES[other]["mark"] for other in STAGES[id]["after"]]


def before(kind):
    return lambda wildcards: marks_before(f"{kind}-{wildcards.id}")


def title(kind):
    return lambda wildcards: STAGES[f"{kind}-{wildcards.id}"]["title"]


wildcard_constraints:
    id="[0-9a-f]+",


# It has no output, so that it is done each time, as by `reproduce`: results that were lost are told.
rule closing:
    input:
        marks_before(CLOSING),
    log:
        FOLDER / f"{CLOSING}.log",
    resources:
        mem_mb=4000,
        runtime=30,
    message:
        STAGES[CLOSING]["title"]
    shell:
        "{DO} {CLOSING} > {log} 2>&1"


# Decodes and aligns: no GPU. The memory does not grow with the databases, the time does.
rule databases:
    output:
        FOLDER / "databases-{id}.done",
    log:
        FOLDER / "databases-{id}.log",
    params:
        title=title("databases"),
    resources:
        mem_mb=8000,
        runtime="24h",
    message:
        "{params.title}"
    shell:
        "{DO} databases-{wildcards.id} > {log} 2>&1"


# Trains the model, verifies with it, extracts the auditable data and trains the MINT Models on them. A job that is cut off by its runtime goes on from its checkpoint.
rule audited:
    input:
        before("audited"),
    output:
        FOLDER / "audited-{id}.done",
    log:
        FOLDER / "audited-{id}.log",
    params:
        title=title("audited"),
    resources:
        gpu=config.get("gpus", 0),
        mem_mb=16000,
        runtime="24h",
    message:
        "{params.title}"
    shell:
        "{DO} audited-{wildcards.id} > {log} 2>&1"


# Reads what is stored, and draws: no GPU.
rule notebook:
    input:
        before("notebook"),
    output:
        FOLDER / "notebook-{id}.done",
    log:
        FOLDER / "notebook-{id}.log",
    params:
        title=title("notebook"),
    resources:
        mem_mb=8000,
        runtime="4h",
    message:
        "{params.title}"
    shell:
        "{DO} notebook-{wildcards.id} > {log} 2>&1"


onsuccess:
    print((FOLDER / f"{CLOSING}.log").read_text())
