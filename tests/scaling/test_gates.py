"""Gates: what may stand in gates.json, which sweep it is about, and the one message for what cannot be used."""

import math

import pytest

from scaling.errors import InputError
from scaling.gates import AGAIN, Gate, read_gates, write_gates
from scaling.records import canonical, parse

GATES = [
    Gate("drift", True, 1.25, 2.0, "best rate 1x and 1.25x", "pretrain"),
    Gate("excess", False, 0.05, 0.02, "half the rate is better", "rl"),
    Gate("unknown", None, None, 2.0, "no trials"),
]
GATE = {"name": "a", "passed": False, "value": 0.1, "threshold": 0.02, "says": "half is ± 2 % better", "stage": "rl"}


def stored(folder, gate, **body):
    (folder / "gates.json").write_bytes(canonical({"v": 2, "sweep": "", "gates": [gate], **body}))
    return read_gates(folder)


def test_gates_read_back_also_from_the_folder_of_trials(tmp_path):
    write_gates(tmp_path, GATES, sweep="d" * 64)
    (tmp_path / "runs").mkdir()
    assert read_gates(tmp_path) == read_gates(tmp_path / "runs") == GATES
    assert all(isinstance(gate.threshold, float) for gate in read_gates(tmp_path))
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
    ("change", "says"),
    [
        ({"passed": 0}, "gate 1: passed = 0 is none of true, false, null"),
        ({"passed": 1.0}, "passed = 1"),
        ({"passed": "no"}, "passed = 'no'"),
        ({"value": True}, "value = True is neither"),
        ({"value": "0.1"}, "value = '0.1'"),
        ({"threshold": None}, "threshold = None is not"),
        ({"name": 7}, "name is not a text"),
        ({"name": "a\x1b[2Jb"}, "name is not a text of at most 500 printable"),
        ({"says": "a\nb"}, "says is not"),
        ({"says": "a\u202eb"}, "says is not"),
        ({"says": "a" * 501}, "says is not"),
        ({"stage": "\x07"}, "stage is not"),
        ({"stage": None}, "stage is not"),
        ({"more\x1b": 1}, r"unknown key 'more\\x1b'"),
    ],
)
def test_what_is_no_gate_is_named(tmp_path, change, says):
    with pytest.raises(InputError, match=says) as caught:
        stored(tmp_path, {**GATE, **change})
    assert caught.value.hint == AGAIN
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", ["name", "passed", "value", "threshold", "says"])
def test_a_missing_key_is_named(tmp_path, key):
    with pytest.raises(InputError, match=f"gate 1 has no {key}"):
        stored(tmp_path, {k: v for k, v in GATE.items() if k != key})


def test_a_gate_made_in_python_is_checked_too():
    for change in ({"passed": 0}, {"value": math.nan}, {"threshold": math.inf}, {"says": "\x1b]0;x\x07"}):
        with pytest.raises(InputError):
            Gate(**{**GATE, **change})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"v": 3}, "newer version of this program"),
        ({"v": True}, "not a file of gates"),
        ({"v": "2"}, "not a file of gates"),
        ({"gates": {}}, "not a file of gates"),
        ({"gates": ["x"]}, "not a mapping with the keys"),
    ],
)
def test_another_file_is_refused(tmp_path, body, says):
    with pytest.raises(InputError, match=says) as caught:
        stored(tmp_path, GATE, **body)
    assert caught.value.hint == AGAIN
    (tmp_path / "gates.json").write_text("{")
    with pytest.raises(InputError) as caught:
        read_gates(tmp_path)
    assert caught.value.hint == AGAIN


def test_gates_are_bound_to_their_sweep(tmp_path):
    (tmp_path / "sweep.toml").write_text(f'[record]\ndigest = "{"d" * 64}"\n')
    for sweep, fits in (("d" * 64, True), ("e" * 64, False), ("", False), ("\x1b", False)):
        write_gates(tmp_path, [Gate(**GATE)], sweep=sweep)
        if fits:
            assert len(read_gates(tmp_path)) == 1
            continue
        with pytest.raises(InputError, match="is about another sweep") as caught:
            read_gates(tmp_path)
        assert str(caught.value).isprintable() and caught.value.hint == AGAIN
    assert len(stored(tmp_path, GATE, v=1)) == 1  # of the version that did not name its sweep
    write_gates(tmp_path, [], sweep="d" * 64)
    assert "sweep" in parse((tmp_path / "gates.json").read_bytes())
