"""How ./dev runs the tests."""

import pytest

from claimbus.cli.development import at_once


@pytest.mark.parametrize("arguments", [[], ["-x"], ["--junitxml=results.xml"], ["-k", "a_killed_worker"]])
def test_all_tests_run_several_files_at_a_time(arguments: list[str]) -> None:
    [processes, by_file] = at_once(arguments)
    assert int(processes.removeprefix("--numprocesses=")) in range(2, 5)
    assert by_file == "--dist=loadfile"


@pytest.mark.parametrize("chosen", ["tests/cli", "tests/cli/test_development.py::test_all"])
def test_chosen_tests_start_at_once(chosen: str) -> None:
    assert at_once(["-x", chosen]) == []
