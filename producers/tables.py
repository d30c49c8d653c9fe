"""A table in a csv, csv.gz or xlsx file, found by the names of its columns."""

import csv
import gzip
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import ParseError

from openpyxl import load_workbook

from claimbus.events.errors import InvalidFeedError

Row = dict[str, object]
"""Cells by column name: text without the space around it, what a workbook holds (numbers, datetimes), or
None for an empty one. A cell beyond the last column is under the name ``""``."""

Sheet = Iterator[tuple[int, list[object]]]

HEADER_WITHIN: Final = 100
"""Rows in which the header is looked for; the published workbook has it in row 10."""

_BROKEN: Final = (
    OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile, csv.Error, ParseError,
)  # fmt: skip


def read(file: Path, columns: frozenset[str]) -> Iterator[tuple[int, Row]]:
    """Yield line number (from 1) and cells of every row below the header, which names all ``columns``.

    Text is read line by line, a workbook at once. Raises InvalidFeedError with the file's name when the file
    cannot be read, has no such table, or turns out to be truncated: the rows before that have been yielded.
    """
    sheets = _workbook(file) if file.suffix.lower() == ".xlsx" else _text(file)
    best: frozenset[str] = frozenset()
    try:
        for sheet in sheets:
            for line, cells in sheet:
                names = [" ".join(str(cell or "").split()).upper() for cell in cells]
                found = columns.intersection(names)
                if found == columns:
                    yield from _below(file, names, line, sheet)
                    return
                best = max(best, found, key=len)
                if line == HEADER_WITHIN:
                    break
    except _BROKEN as wrong:
        reason = str(wrong) or type(wrong).__name__
        raise InvalidFeedError(file.name, f"cannot be read to its end: {reason}") from wrong
    missing = ", ".join(sorted(columns - best))
    raise InvalidFeedError(file.name, f"has no header row with the columns {missing}")


def _below(file: Path, names: list[str], header: int, sheet: Sheet) -> Iterator[tuple[int, Row]]:
    above = header
    for line, cells in sheet:
        if line != above + 1:
            # What an unclosed quote swallowed is unknown: to go on would tell that those outages ended.
            raise InvalidFeedError(file.name, f"a quoted cell in line {above + 1} goes on to line {line}")
        above = line
        row: Row = dict.fromkeys(filter(None, names))
        for place, cell in enumerate(cells):
            value = cell.strip() if isinstance(cell, str) else cell
            if value is not None and value != "":
                row[names[place] if place < len(names) else ""] = value
        yield line, row


def _text(file: Path) -> Iterator[Sheet]:
    opened = gzip.open if file.suffix.lower() == ".gz" else open
    # A byte that is not UTF-8 spoils its cell, not the file.
    with opened(file, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(_whole_lines(file, text))
        yield ((reader.line_num, list[object](cells)) for cells in reader)


def _whole_lines(file: Path, text: Iterator[str]) -> Iterator[str]:
    line = "\n"
    for line in text:
        yield line
    if not line.endswith(("\n", "\r")):
        raise InvalidFeedError(file.name, "ends within a line: it seems to be truncated")


def _workbook(file: Path) -> Iterator[Sheet]:
    sheets: list[list[list[object]]] = []
    # openpyxl warns of styles that it does not know, and of cells that then turn out not to be readable.
    with file.open("rb") as opened, warnings.catch_warnings(action="ignore", category=UserWarning):
        workbook = load_workbook(opened, read_only=True, data_only=True)
        for sheet in workbook.worksheets:
            sheet.reset_dimensions()  # many writers state them wrongly
            sheets.append([list(cells) for cells in sheet.iter_rows(values_only=True)])
        workbook.close()
    for rows in sheets:
        yield enumerate(rows, 1)
