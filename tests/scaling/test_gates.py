"""Gates: what is written is what is read, and what is no gate is refused."""

import pytest

from scaling.errors import InputError
from scaling.gates import Gate, read_gates, write_gates

GATES = [
    Gate("drift", True, 1.25, 2.0, "best rate 1x and 1.25x", "pretrain"),
    Gate("excess", False, 0.05, 0.02, "half the rate is better", "rl"),
    Gate("unknown", None, None, 2.0, "no trials"),
]


def test_gates_read_back(tmp_path):
    write_gates(tmp_path, GATES)
    assert read_gates(tmp_path) == GATES
    assert [gate.state for gate in GATES] == ["passed", "FAILED", "cannot tell"]
    assert str(GATES[1]) == "excess: FAILED: half the rate is better"


def test_gates_written_before_they_named_a_stage_concern_everything(tmp_path):
    (tmp_path / "gates.json").write_text(
        '{"v": 1, "gates": [{"name": "a", "passed": false, "value": 1.0, "threshold": 2.0, "says": "b"}]}'
    )
    (old,) = read_gates(tmp_path / "runs")  # the folder of trials stands beside them
    assert old == Gate("a", False, 1.0, 2.0, "b") and old.concerns("rl") and old.concerns("pretrain")


def test_rl_leans_on_pretraining_and_not_the_other_way_round():
    assert [gate.concerns("rl") for gate in GATES] == [True, True, True]
    assert [gate.concerns("pretrain") for gate in GATES] == [True, False, True]


def test_a_folder_without_gates_has_none(tmp_path):
    assert read_gates(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"v": 2, "gates": []}',
        '{"v": 1, "gates": [{"name": "a"}]}',
        '{"v": 1, "gates": [1]}',
        "{",
        '{"v": 1, "gates": [{"name": "a", "passed": true, "value": 1, "threshold": 2, "says": 3}]}',
    ],
)
def test_what_is_no_file_of_gates_is_refused(tmp_path, text):
    (tmp_path / "gates.json").write_text(text)
    with pytest.raises(InputError):
        read_gates(tmp_path)
