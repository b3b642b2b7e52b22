"""CSV tables as people and programs leave them: how each is to be read, its columns in pieces, and the lines that are no rows.

R's write.table names no column for its row names, other programs end each line with a separator; spreadsheets write ``sep=;``,
semicolons and decimal commas; exports of HDX have a row of HXL tags; and not every text is UTF-8.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from geonb.base.conventions import refuse

BLOCK_ROWS = 16  # from the first on; Excel leaves the fields of a column off where it is empty in all of these
SAMPLE_ROWS = 50  # from which the number of fields and the decimal sign are told
COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    csv.Error,
    pd.errors.ParserError,
    OSError,
    RuntimeError,
)
NUMBER = re.compile(r'"?-?\d+(\.\d*)?"?')
DOTTED = re.compile(r"[-+]?\d*\.\d+(e[-+]?\d+)?", re.IGNORECASE)
STRAY = re.compile(r"\\x([89a-f][0-9a-f])")  # how `open_text` leaves a byte that is no UTF-8


@dataclass(frozen=True)
class Table:
    """How a CSV is to be read.

    Attributes
    ----------
    header : list of str
        A name for each field of a row, as it stands there; "" where there is none.
    sep, decimal : str
    skip : int
        Lines above the first row.
    tags : bool
        Whether the row below the header holds HXL tags; it is skipped, too.
    first : list of str
        The row below the header.
    strict : bool
        Whether every row must have as many fields, as those below the header all have one more than it names.
    """

    path: Path
    header: list[str]
    sep: str
    decimal: str
    skip: int
    tags: bool
    first: list[str]
    strict: bool


def read_table(path: Path) -> Table:
    """Tell from the first rows of a CSV how it is to be read.

    Raises
    ------
    ValueError
        Empty, no text, a web page, or rows whose fields cannot be matched with the names of the header.
    """
    with open_text(path) as file:
        line = file.readline()
        _refuse_text(path, line)
        told = re.fullmatch(r'"?sep=(.)"?\s*', line)  # a spreadsheet's word to itself
        line = file.readline() if told else line
        sep = told[1] if told else max(",;\t", key=line.count)
        rows = csv.reader(chain([line], file), delimiter=sep)
        header, sample = next(rows, []), _sample(rows)
    first = next(iter(sample), [])
    tags = sum(value.strip().startswith("#") for value in first) >= 2
    below = [row for row in sample[tags:] if row]
    named = _named(path, header, below)
    dotted = any(DOTTED.fullmatch(field.strip()) for row in below for field in row)
    decimal = "," if sep == ";" and not dotted else "."
    return Table(path, named, sep, decimal, 1 + bool(told) + tags, tags, first, strict=named != header)


def read_columns(
    table: Table, places: Mapping[str, int], rows: int, texts: Collection[str] = ()
) -> Iterator[pd.DataFrame]:
    """Some columns of a table, some rows at a time.

    Parameters
    ----------
    places : name in what is read -> place in a row
    rows : int
    texts : names of columns that are not to be read as numbers

    Raises
    ------
    ValueError
        Once all is read: lists the lines of quotes that swallow rows, of rows with more fields than the table, or with fewer where
        others than empty ones at the end may be missing, and of a last row that is cut short.
    """
    count, least = 0, max(places.values(), default=-1) + 1
    options: dict[str, Any] = {"sep": table.sep, "decimal": table.decimal, "chunksize": rows, "low_memory": False}
    options |= {"header": None, "skiprows": table.skip, "index_col": False}
    options |= {"dtype": {places[name]: str for name in texts}}
    ours = {place: name for name, place in places.items()}
    try:
        with open_text(table.path) as file:
            for chunk in pd.read_csv(file, names=range(len(table.header)), usecols=[*ours], **options):
                count += len(chunk)
                yield chunk[[*ours]].rename(columns=ours)
    except pd.errors.ParserError as error:
        refuse(f"{table.path} is damaged", _row_faults(table, least, endless="EOF inside string" in str(error)))
        raise
    # pandas says nothing of fields without a name, of missing ones and of rows within quotes; there, lines are more than rows
    lines, odd, cut = _scan(table)
    if odd or lines != count + table.skip:
        refuse(f"{table.path} is damaged", _row_faults(table, least, cut))


def open_text(path: Path) -> io.TextIOWrapper:
    """A text file, also a compressed one; a byte that is no UTF-8 stands there as ``\\xe9``, see `mended`."""
    return io.TextIOWrapper(_open_bytes(path), encoding="utf-8-sig", errors="backslashreplace", newline="")


def mended(text: str) -> str:
    """A text of `open_text` with its stray bytes as Windows-1252 (and so Latin-1) has them.

    >>> mended("C" + chr(92) + "xf4te")
    'Côte'
    """
    return STRAY.sub(lambda byte: bytes.fromhex(byte[1]).decode("cp1252", "replace"), text)


def _open_bytes(path: Path) -> Any:
    if path.suffix.lower() in COMPRESSED:
        return COMPRESSED[path.suffix.lower()](path)
    if path.suffix.lower() != ".zip":
        return path.open("rb")
    archive = zipfile.ZipFile(path)
    inside = [n for n in archive.namelist() if n.lower().endswith(".csv") and not n.startswith("__MACOSX")]
    if len(inside) != 1:
        raise ValueError(
            f"{path} holds {len(inside)} CSV files ({', '.join(inside[:5])}); it must hold one. Unpack it."
        )
    try:
        return io.BufferedReader(archive.open(inside[0]), 1 << 20)
    except RuntimeError as error:  # a password, or a method that Python does not know
        raise ValueError(f"{path} cannot be read: {error}. Unpack it.") from None


def _refuse_text(path: Path, first: str) -> None:
    """Refuse what is no table by its first line."""
    if not first.strip("\ufeff \r\n"):
        raise ValueError(f"{path} is empty, or its first line is: a header of column names must stand there.")
    if first.lstrip().startswith("<"):
        raise ValueError(f"{path} is a web page, not a table ({first.strip()[:60]!r}). Fetch the file itself.")
    if "\0" in first:
        raise ValueError(f"{path} is no text in UTF-8 (perhaps UTF-16, or no text at all). Save it as CSV in UTF-8.")


def _sample(rows: Iterator[list[str]]) -> list[list[str]]:
    sample: list[list[str]] = []
    try:
        for row, _ in zip(rows, range(SAMPLE_ROWS), strict=False):
            sample.append(row)
    except csv.Error:  # a quote that is never closed; `read_columns` tells where it stands
        pass
    return sample


def _named(path: Path, header: list[str], rows: list[list[str]]) -> list[str]:
    """A name for each field: R names no column for its row names, and some programs end each row with a separator."""
    sizes = Counter(map(len, rows))
    width = max(sizes, key=lambda size: sizes[size], default=0)
    if width <= len(header):
        return header
    firsts, ends = [row[0] for row in rows], [row[len(header) :] for row in rows]
    numbered = firsts == [str(i + 1) for i in range(len(rows))]
    if not any(map(any, ends)) and not numbered:
        return header + [""] * (width - len(header))
    if width == len(header) + 1 and len(sizes) == 1 and all(map(any, ends)) and len(set(firsts)) == len(firsts):
        return ["", *header]
    raise ValueError(
        f"{path}: the header names {len(header)} columns, but the rows below have {width} fields, and which of them has no name "
        "cannot be told. Name each column once, end no row with a separator, and put texts that hold it in quotes (in R: "
        "write.csv(..., row.names = FALSE))."
    )


def _scan(table: Table) -> tuple[int, bool, bool]:
    """The number of lines; whether one may have too many or too few fields, which pyarrow minds; whether the last has no end."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    lines, last, odd = 0, b"", False
    with _open_bytes(table.path) as file:
        while block := file.read(1 << 20):
            lines, last = lines + block.count(b"\n"), block[-1:]
    names = [str(place) for place in range(len(table.header))]
    read = arrow.ReadOptions(column_names=names, skip_rows=table.skip)
    parse = arrow.ParseOptions(delimiter=table.sep, newlines_in_values=True)
    convert = arrow.ConvertOptions(include_columns=names[:1], column_types={"0": pa.binary()}, check_utf8=False)
    try:
        with _open_bytes(table.path) as file:
            for _ in arrow.open_csv(file, read, parse, convert):
                pass
    except pa.ArrowInvalid:
        odd = True
    return lines + (last != b"\n"), odd, last != b"\n"


def _row_faults(table: Table, least: int, cut: bool = False, endless: bool = False) -> list[str]:
    """Lines that are no rows of the table, told by the csv module, which knows where it is; slower than pandas.

    Parameters
    ----------
    least : int
        Fields that each row must have; spreadsheets leave empty ones off its end, which is believed where nothing else explains it.
    cut, endless : bool
        The file ends within a row, within quotes.
    """
    width, names = len(table.header), sum(map(bool, table.header))
    faults: dict[int, str] = {}  # by line
    row: list[str] = []
    begin, end, lost, longest = 1, 0, 0, 0
    blocks = defaultdict(Counter[int], {0: Counter([width])})  # sizes of the rows; the header is in the first
    short: dict[int, tuple[int, int, int]] = {}  # line -> block, size, and that without empty fields at the end
    with open_text(table.path) as file:
        reader = csv.reader(file, delimiter=table.sep)
        try:
            for number, row in enumerate(reader):
                begin, end = end + 1, reader.line_num
                if number < table.skip or not "".join(row).strip():
                    continue
                if lost := sum(_swallowed(text, row[0], table.sep, width) for text in row if "\n" in text):
                    faults[begin] = _quote(f"{lost} rows below are taken for its text, up to line {end}")
                    continue
                size, used = len(row), max(place for place, field in enumerate(row, 1) if field.strip())
                blocks[number // BLOCK_ROWS][size] += 1
                if size == width:
                    longest = max(longest, used)
                elif least <= size < width and not table.strict:
                    short[begin] = number // BLOCK_ROWS, size, used
                else:
                    faults[begin] = _sized(size, names)
        except csv.Error:  # a field longer than any text
            faults[end + 1], endless, cut = _quote("it is not closed"), False, False
    for line, (block, size, used) in short.items():
        unused = longest <= size == used  # no row has anything there, so none in between is missing
        alike = blocks[block] == {size: blocks[block].total()} and blocks[block][size] > 1
        if not longest or not (unused or alike):
            faults[line] = _sized(size, names)
    if endless:
        faults[begin] = _quote("it is not closed")
    elif cut and not lost and len(row) < width and not faults.keys() - {begin}:
        faults[begin] = f"the last row ends after {len(row)} of {width} fields. Fetch the file again"
    return [f"line {line}: {fault}" for line, fault in sorted(faults.items())]


def _sized(size: int, names: int) -> str:
    return f"{size} fields, but {names} columns have a name. Give every row all fields, and put texts that hold the separator in quotes"


def _quote(what: str) -> str:
    return f"a quote opens a text there, and {what}. Close it or take it out, or fetch the file again"


def _swallowed(text: str, first: str, sep: str, width: int) -> int:
    """How many lines within a text look like rows: as many separators, and a number first where rows begin with one."""
    if text.count(sep) < width - 1:
        return 0
    *below, end = text.split("\n")[1:]
    full = [line for line in [*below, end] if line.count(sep) >= width - 1]
    if not NUMBER.fullmatch(first):
        return len(full)
    full += [end] * (end not in full)  # the row in which the text ends, too, though the rest of it is outside
    return sum(NUMBER.fullmatch(line.split(sep)[0]) is not None for line in full)
