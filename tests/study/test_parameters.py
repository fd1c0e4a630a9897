import pytest

from mint_utils.errors import ParameterError
from mint_utils.study.parameters import refuse_unknown

DEFAULTS = 'profile: str = "quick"  # a comment\nlr: float = None\n'


def test_known_names_pass():
    refuse_unknown([DEFAULTS, '# Parameters\nprofile = "faces"\nlr = 1e-3\n', "x = 1"])


def test_a_typo_is_refused_with_the_nearest_name():
    with pytest.raises(ParameterError, match=r"no parameter 'profil'\. Did you mean 'profile'"):
        refuse_unknown([DEFAULTS, '# Parameters\nprofil = "faces"\n'])


def test_what_the_user_assigns_later_is_nobodys_business():
    refuse_unknown([DEFAULTS, "# Parameters\nlr = 0.1\n", "other = 2", "%matplotlib inline\nz = 1"])


def test_nothing_injected():
    refuse_unknown([])
    refuse_unknown(["import os", DEFAULTS])
