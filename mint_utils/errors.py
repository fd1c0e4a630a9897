"""The errors that a user can mend: each message names the place, what is wrong and the remedy."""


class StudyError(Exception):
    """Something outside the code is not as it should be; shown without a traceback by the command line."""


class DataError(StudyError):
    """A file, a record or an image is missing, damaged, or not what its manifest says."""


class ParameterError(StudyError):
    """A parameter does not exist, has the wrong type, or asks for what cannot be done."""


class TrainingError(StudyError):
    """Training cannot go on: the loss is no longer a number, or the exposures differ from the plan."""
