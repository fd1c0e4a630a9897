import pytest

from mint_utils.errors import DataError, command


@pytest.mark.parametrize(
    ("raised", "status", "told"),
    [
        (DataError("that file is missing"), 2, "error: that file is missing\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted; the same command goes on from here\n"),
    ],
)
def test_a_command_tells_what_a_user_can_mend_in_one_line(raised, status, told, capsys):
    @command
    def main(arguments):
        raise raised

    assert main() == status
    assert capsys.readouterr().err == told


def test_a_command_leaves_its_status_its_arguments_and_other_errors_alone():
    @command
    def main(arguments):
        return 10 // len(arguments)

    assert main(["a", "b"]) == 5
    with pytest.raises(ZeroDivisionError):
        main([])
