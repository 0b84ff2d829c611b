"""The table: what it refuses, what it keeps, and that order does not matter."""

import numpy as np
import pytest
from worlds import table

from scaling.errors import InputError
from scaling.observations import Observation, Observations


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
