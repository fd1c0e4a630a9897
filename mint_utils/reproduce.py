"""Run the study from the command line: everything expensive first, then the notebooks through papermill.

    python -m mint_utils.reproduce                                    # profile quick
    python -m mint_utils.reproduce --profile faces --data DIR         # real faces
    python -m mint_utils.reproduce --only 01 -p dropout 0 -p epochs 5
    python -m mint_utils.reproduce --dry-run                          # what it would cost
    python -m mint_utils.reproduce --within 9m                        # as much as 9 minutes allow
    python -m mint_utils.reproduce --list                             # its stages; --stage ID does one

Tables and figures go to ``figures/<profile>/``, executed notebooks and a page to ``reports/<profile>/``.
What is stored is not made again; an interrupted run goes on when the same command is given. The exit
status is 0 only when every result is there, and 3 where the time of --within was over before that.
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from mint_utils import paths
from mint_utils.config import parse, profiles, resolve, unknown
from mint_utils.errors import ParameterError, command
from mint_utils.study.parameters import of_notebook
from mint_utils.study.scenarios import NOTEBOOKS

SHORTEST = 60  # seconds of --within


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    chosen = _chosen(options.only)
    changes = _changes(options.parameter)
    if options.data and not Path(options.data).is_dir():
        raise ParameterError(f"--data: there is no folder {options.data}.")
    config = resolve(options.profile, options.data, **changes)
    _check_parameters(chosen, changes)
    if config.brought.case:  # made absolute, because notebooks run in another folder
        changes["case"] = config.brought.case
    within = options.within and _seconds(options.within)
    if options.jobs is not None and options.jobs < 1:
        raise ParameterError(f"--jobs must be at least 1, not {options.jobs}.")
    if not sys.stderr.isatty():  # no bars in a log: lines of progress take their place
        os.environ.setdefault("TQDM_DISABLE", "1")  # before tqdm is imported, which reads it then
    from mint_utils import workers  # here, because help and a typo should not wait for PyTorch
    from mint_utils.run import batch, stages
    from mint_utils.study.study import Study

    workers.keep_memory()

    if options.dry_run:
        return batch.dry_run(config, chosen, options.rate)
    if options.list or options.stage:
        listed = stages.stages(Study(config), chosen, changes)
        if options.stage:
            stages.do(listed, options.stage)
        else:
            print(*(stage.line() for stage in listed.values()), sep="\n")
        return 0
    return batch.run(config, chosen, changes, options.jobs, within)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mint_utils.reproduce",
        description="Run the study: train what is missing, execute the notebooks, write the tables.",
    )
    parser.add_argument("--profile", default="quick", help=f"one of {', '.join(profiles())}")
    parser.add_argument("--data", help="folder of the databases, where they are not embedded")
    parser.add_argument(
        "--only", action="append", metavar="NN", help="a notebook, as 01; repeatable"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        help="models trained side by side; as many as there are GPUs, or else cores",
    )
    parser.add_argument(
        "--within", metavar="TIME",
        help="as 90s, 9m or 2h: make models in the order of their value and stop then at a checkpoint; "
        "the notebooks follow when all is made",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its cost")
    stage = parser.add_mutually_exclusive_group()  # for the Snakefile, or another scheduler
    stage.add_argument("--list", action="store_true", help="print the stages, each a line of JSON")
    stage.add_argument("--stage", metavar="ID", help="do one of the stages that --list prints")
    parser.add_argument(
        "--rate", type=float, metavar="IMAGES_PER_SECOND",
        help="of training, for --dry-run; it is measured here where none is given",
    )  # fmt: skip
    parser.add_argument(
        "-p", dest="parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="a parameter of the notebooks: text as it is typed, else YAML; repeatable",
    )  # fmt: skip
    return parser


def _chosen(only: list[str] | None) -> list[str]:
    names = sorted(NOTEBOOKS)
    if not only:
        return names
    only = [start.zfill(2) if start.isdecimal() else start for start in only]
    chosen = [name for name in names if any(name.startswith(start) for start in only)]
    lost = [start for start in only if not any(name.startswith(start) for name in names)]
    if lost:
        raise ParameterError(unknown("notebook", lost[0], names))
    return chosen


def _changes(given: list[tuple[str, str]]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name, text in given:
        if name in changes:
            raise ParameterError(f"-p {name} is given twice: give it once.")
        changes[name] = _value(name, text)
    return changes


def _seconds(text: str) -> float:
    """Return a time such as 90s, 9m or 2h in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None:
        raise ParameterError(f"--within is a time as 90s, 9m or 2h, not {text!r}.")
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
    if seconds < SHORTEST:
        raise ParameterError(
            f"--within {text} is shorter than the time between two checkpoints: give {SHORTEST}s or more."
        )
    return seconds


def _value(name: str, text: str) -> Any:
    if name in ("profile", "data"):
        raise ParameterError(f"{name} is given as --{name} {text}, not by -p.")
    if (value := parse(name, text)) is None or text == "":
        raise ParameterError(f"{name} needs a value; leave -p {name} out for that of the profile.")
    return value


def _check_parameters(chosen: list[str], changes: dict[str, Any]) -> None:
    known = {name: of_notebook(paths.NOTEBOOKS / f"{name}.ipynb") for name in sorted(NOTEBOOKS)}
    for name in chosen:
        for parameter in changes.keys() - known[name]:
            if others := [other for other in known if parameter in known[other]]:
                only = " ".join(f"--only {other.split('_')[0]}" for other in others)
                fault = f"{name} has no parameter {parameter!r}, but {', '.join(others)} has"
                raise ParameterError(f"{fault}: say {only}.")
            raise ParameterError(f"in {name} {unknown('parameter', parameter, known[name])}")


if __name__ == "__main__":
    sys.exit(main())
