"""Gates: what is written is what is read, and what is no gate is refused."""

import pytest

from scaling.errors import InputError
from scaling.gates import Gate, read_gates, write_gates

GATES = [
    Gate("drift", True, 1.25, 2.0, "best rate 1x and 1.25x"),
    Gate("excess", False, 0.05, 0.02, "half the rate is better"),
    Gate("unknown", None, None, 2.0, "no trials"),
]


def test_gates_read_back(tmp_path):
    write_gates(tmp_path, GATES)
    assert read_gates(tmp_path) == GATES
    assert [gate.state for gate in GATES] == ["passed", "FAILED", "cannot tell"]
    assert str(GATES[1]) == "excess: FAILED: half the rate is better"


def test_a_folder_without_gates_has_none(tmp_path):
    assert read_gates(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["[]", '{"v": 2, "gates": []}', '{"v": 1, "gates": [{"name": "a"}]}', '{"v": 1, "gates": [1]}', "{"]
)
def test_what_is_no_file_of_gates_is_refused(tmp_path, text):
    (tmp_path / "gates.json").write_text(text)
    with pytest.raises(InputError):
        read_gates(tmp_path)
