"""What a run found, as the docs have it."""

import os
from pathlib import Path

from tests.chaos import report
from tests.chaos.fault import Row

ROWS = (
    Row(name="worker-killed", what="one of two workers", injected=2, events=1_234, recovery_s=0.25),
    Row(name="queue-deleted", what="a queue | deleted", injected=1, lost=3, remarks=("reconcile\nfound 3",)),
    Row(name="database-full", what="no room", not_run="needs root"),
)
COMMAND = "./dev chaos --times 2 --rate 60 --seed 5"


def test_the_table_has_what_each_fault_came_to_and_below_it_what_is_remarked() -> None:
    where, table, sums, remarks = report.markdown(ROWS, COMMAND).split("\n\n")
    assert where.startswith(f"*`{COMMAND}`; {os.cpu_count()} processors")
    assert table.splitlines()[2:] == [
        "| worker-killed | one of two workers | 2 | 1,234 | 0 | 0 | 0 | 0 | 0 | 0.2 |",
        "| queue-deleted | a queue \\| deleted | 1 | 0 | 3 | 0 | 0 | 0 | 0 | 0.0 |",
        "| database-full | no room | - | - | - | - | - | - | - | - |",
    ]
    assert sums == report.summary(ROWS)
    assert sums.startswith("2 faults, injected 3 times into 1,234 events")
    assert remarks == "- `queue-deleted`: reconcile found 3\n- `database-full`: not run: needs root\n"


def test_a_page_keeps_what_is_around_its_section(tmp_path: Path) -> None:
    page = tmp_path / "proof.md"
    page.write_text("before\n<!-- chaos -->\nold \\1\n<!-- /chaos -->\nafter\n")
    for _ in range(2):
        report.write(ROWS, COMMAND, page)
        before, _, rest = page.read_text().partition("<!-- chaos -->\n\n")
        section, _, after = rest.partition("\n<!-- /chaos -->")
        assert (before, section, after) == ("before\n", report.markdown(ROWS, COMMAND), "\nafter\n")


def test_a_file_without_a_section_has_the_table_alone(tmp_path: Path) -> None:
    file = tmp_path / "table.md"
    for _ in range(2):
        report.write(ROWS, COMMAND, file)
        assert file.read_text() == report.markdown(ROWS, COMMAND)
