"""The table: what it refuses, what it keeps, and that order does not matter."""

import numpy as np
import pytest
from worlds import table

from scaling.errors import InputError
from scaling.observations import Observation, Observations
from scaling.records import canonical


def row(**changes):
    fields = {
        "id": "a",
        "trial": "t",
        "base_trial": "t",
        "stage": "pretrain",
        "metric": "loss",
        "protocol": "p",
        "value": 1.0,
        "inputs": {"C": 1e9},
    }
    return Observation(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"value": -1.0}, "outside"),
        ({"value": float("nan")}, "nan"),
        ({"metric": "pass_rate", "value": 43.0}, "percent"),
        ({"se": 0.0}, "standard error"),
        ({"se": float("inf")}, "standard error"),
        ({"se_kind": "guess"}, "se_kind"),
        ({"inputs": {"C": -1.0}}, "input C"),
        ({"inputs": {"C": float("inf")}}, "input C"),
    ],
)
def test_impossible_rows_are_refused(changes, says):
    with pytest.raises(InputError, match=says):
        row(**changes)


def test_a_line_reads_back():
    one = row(se=0.01, se_kind="declared", problems={"problem": ["x"], "bucket": ["all"], "n": [4], "c": [1]})
    assert Observation.from_line(one.line(), "here") == one


@pytest.mark.parametrize("line", [b"{}", b"[]", b'{"v": 2}', b"not json", b'{"v": 1, "id": "a"}'])
def test_broken_lines_name_their_place(line):
    with pytest.raises(InputError, match="runs/x, line 3"):
        Observation.from_line(line, "runs/x, line 3")


def test_one_id_with_two_contents_is_an_error():
    with pytest.raises(InputError, match="stands twice"):
        Observations.of([row(), row(value=2.0)])
    assert len(Observations.of([row(), row()])) == 1


def test_compute_definitions_do_not_mix():
    with pytest.raises(InputError, match="different ways"):
        Observations.of([row(), row(id="b", compute_definition="algorithmic-v1")])


def test_selection_names_what_there_is():
    runs = table([1e9, 1e10], [1.0, 0.9])
    with pytest.raises(InputError, match="there are: loss"):
        runs.select(metric="pass_rate")
    with pytest.raises(InputError, match="no column"):
        runs.select(colour="red")


def test_digest_knows_content_and_not_order():
    x, y = np.geomspace(1e9, 1e11, 5), np.arange(1.0, 6.0)
    assert table(x, y).digest == table(x, y, order=[3, 1, 4, 0, 2]).digest
    assert table(x, y).digest != table(x, y + 1e-9).digest


def test_dropped_rows_keep_their_reason():
    runs = table([1e9, 1e10], [1.0, 0.9]).without(np.array([True, False]), "diverged")
    assert runs.dropped == (("row-0", "diverged"),)
    assert len(runs) == 1


def test_children_move_with_their_base_trial():
    runs = table([1e9, 1e9, 1e10], [1.0, 1.0, 0.9], base=["a", "a", "b"])
    assert runs.clusters().tolist() == [0, 0, 1]


def test_several_metrics_are_listed():
    both = Observations.of([row(), row(id="b", metric="pass_rate", value=0.5)])
    with pytest.raises(InputError, match="loss, pass_rate"):
        both.one_metric()


def test_a_line_is_the_canonical_form_of_its_fields():
    """Written column by column, for problems are many; the bytes are those of the whole."""
    columns = {
        "problem": ["1", 'quo"te \\', "tab\t\x01\x7f", "für €  \U0001f600", "", "1"],
        "bucket": ["a"] * 6,
        "n": [None] * 6,
        "c": [1, 2, 3, 4, 5, 6],
        "p": [0.5, 1.0, 1e-7, 1e21, 5e-324, 1.2345e-5],
        "more": [1e-4, 9.999e-5, 123456789012345.6, 1e16, -0.0, -2.5],
        "mixed": [None, "a", True, False, None, "b"],
    }
    for problems in (columns, {}, None):
        row = Observation("i", "t", "t", "rl", "pass_rate", "p", 0.5, {"C": 1e9}, problems=problems)
        whole = canonical({name: getattr(row, name) for name in row.__dataclass_fields__})
        assert row.line() == whole + b"\n"
    with pytest.raises(InputError, match="canonical"):
        Observation("i", "t", "t", "rl", "pass_rate", "p", 0.5, {"C": 1e9}, problems={"bucket": ["\ud800"]}).line()
