"""Errors that a user can correct: each message names the place, the fault and the remedy."""

import functools
import sys
from collections.abc import Callable, Sequence


class StudyError(Exception):
    """Something outside the code is wrong; the command line shows the message without a traceback."""


class DataError(StudyError):
    """A file, a record or an image is missing, damaged, or not what its manifest says."""


class ParameterError(StudyError):
    """A parameter does not exist, has the wrong type, or has a value that is not possible."""


class TrainingError(StudyError):
    """Training cannot go on: the loss is no longer a number, or the exposures differ from the plan."""


class OutOfTime(StudyError):
    """The time of the run is over; training that had begun goes on from its checkpoint next time."""


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Make the ``main`` of a command print such an error in one line, with exit status 2.

    A command that was interrupted ends with status 130.
    """

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        try:
            return main(arguments)
        except StudyError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("\ninterrupted; the same command goes on from here", file=sys.stderr)
            return 130

    return run
