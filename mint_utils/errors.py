"""The errors that a user can mend: each message names the place, what is wrong and the remedy."""

import functools
import sys
from collections.abc import Callable, Sequence


class StudyError(Exception):
    """Something outside the code is not as it should be; shown without a traceback by the command line."""


class DataError(StudyError):
    """A file, a record or an image is missing, damaged, or not what its manifest says."""


class ParameterError(StudyError):
    """A parameter does not exist, has the wrong type, or asks for what cannot be done."""


class TrainingError(StudyError):
    """Training cannot go on: the loss is no longer a number, or the exposures differ from the plan."""


class OutOfTime(StudyError):
    """The time that was given is over: what was begun has its checkpoint, and goes on from it."""


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
