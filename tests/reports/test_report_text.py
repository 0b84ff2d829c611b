"""Numbers and words of a report: one formatter, harmless texts."""

from __future__ import annotations

import csv
import io
import math

import pytest
from report_example import HOSTILE

from reports import text
from reports.blocks import Table
from scaling.errors import InputError


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (0.0, "0"), (0.5, "0.5"), (1234, "1234"), (2e9, "2e9"), (6.24e12, "6.24e12"), (0.000123, "0.000123"),
        (1.5e-7, "1.5e-7"), (math.nan, "–"), (None, "–"), (math.inf, "∞"), (True, "True"), (-0.25, "-0.25"),
    ],
)  # fmt: skip
def test_number(value: float, printed: str) -> None:
    assert text.number(value) == printed


def test_every_magnitude_reads_back() -> None:
    for exponent in range(-12, 28):
        for mantissa in (1.0, 1.25, 9.99):
            value = mantissa * 10.0**exponent
            assert float(text.number(value)) == pytest.approx(value, rel=5e-3)
            assert float(text.significant(value, 3)) == pytest.approx(value, rel=5e-3)


@pytest.mark.parametrize(
    ("factor", "printed"), [(1.06, "1.1x"), (5.4, "5.4x"), (97.3, "97x"), (100.2, "100x"), (1e7, "1e7x")]
)
def test_times(factor: float, printed: str) -> None:
    assert text.times(factor) == printed


def test_percent_signs() -> None:
    assert text.percent(0.0123, signed=True) == "+1.2 %"
    assert text.percent(-0.0123, signed=True) == "-1.2 %"
    assert text.percent(-0.0001, signed=True) == "0.0 %"
    assert text.percent(math.nan) == "–"
    assert (text.chance(0.999), text.chance(0.4), text.chance(0.0)) == ("> 99 %", "40 %", "< 1 %")


def test_significant_keeps_trailing_zeros() -> None:
    assert [text.significant(v) for v in (0.1, -2.0, 0.0)] == ["0.10", "-2.0", "0"]


def test_clean_drops_what_cannot_be_seen() -> None:
    assert text.clean("a\u202eb\u200bc\x1b[31m\x00d\ne") == "abc[31md e"


def test_lone_surrogate_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"title.*half a character"):
        text.clean("abc\ud800", where="title")


def test_csv_cells_cannot_be_formulas() -> None:
    written = text.csv_text(
        ["a", "b"], [["=1+1", -0.5], ["+A1", 2], ["-x", None], ["@y", 'say "hi", you'], ["\t=2", 1.0]]
    )
    rows = list(csv.reader(io.StringIO(written)))
    assert [r[0] for r in rows[1:]] == ["'=1+1", "'+A1", "'-x", "'@y", "' =2"]
    assert rows[1][1] == "-0.5"
    assert rows[3][1] == ""
    assert rows[4][1] == 'say "hi", you'


def test_csv_of_hostile_words_has_one_line_a_row() -> None:
    written = text.csv_text(["w"], [[w] for w in HOSTILE])
    assert written.count("\r\n") == len(HOSTILE) + 1
    assert not any(line.lstrip('"').startswith("=") for line in written.splitlines())


def test_numeric_columns_are_numbers_only() -> None:
    table = Table.of(
        ["id", "n", "interval", "share"], [["4a0e-s30", 3, "[0.1, 0.2]", "4 of 12"], ["1b", None, "–", "1 of 2"]]
    )
    assert table.numeric == (False, True, True, True)


def test_long_tables_are_cut_and_say_so() -> None:
    table = Table.of(["n"], [[i] for i in range(10_000)])
    assert len(table.rows) == 200
    assert table.cut == 9_800
