"""Files that cannot be written or read: the trial is named, its state says why, and the others go on."""

from __future__ import annotations

import os
from dataclasses import asdict

import pytest

from scaling.errors import StoreError
from scaling.records import canonical
from scaling.trials import TrialState
from sweeps.lease import Owner, owner
from sweeps.progress import Silent
from sweeps.recipes import smoke
from sweeps.store import Store
from sweeps.sweep import run

SWEEP = smoke(rungs=2, span=2.0, smallest="3e7 FLOP", seeds=((0, 1, 0),), rl_steps=4, problems=64)
FIRST, CHILD, *OTHERS = SWEEP.trials


class Listener(Silent):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_a_trial_that_cannot_be_stored_waits_with_its_reason_and_the_others_go_on(tmp_path):
    store = Store(tmp_path)
    blocked = store.path(FIRST) / "checkpoint.json"
    blocked.mkdir(parents=True)  # stands for a full disk, a bad sector, a folder of somebody else
    with pytest.raises(StoreError, match=f"{FIRST.id} cannot be stored: .*checkpoint.json"):
        run(SWEEP, tmp_path, slots=1, progress=False)
    assert [store.trial(spec).state for spec in OTHERS] == [TrialState.COMPLETE] * len(OTHERS)
    assert [store.trial(spec).state for spec in (FIRST, CHILD)] == [TrialState.WAITING] * 2
    assert "checkpoint.json" in store.trial(FIRST).reason

    blocked.rmdir()
    with open(store.path(FIRST) / "attempts.jsonl", "ab") as torn:
        torn.write(b'{"pid":')  # and half a line of a killed worker
    trials = run(SWEEP, tmp_path, slots=1, progress=False)
    assert {t.state for t in trials} == {TrialState.COMPLETE}
    assert store.trial(FIRST).reason == ""
    lines = (store.path(FIRST) / "attempts.jsonl").read_bytes().splitlines()
    assert lines[-2] == b'{"pid":' and lines[-1].startswith(b'{"boot"')

    _damaged_files_are_mended(tmp_path, store)


def _damaged_files_are_mended(folder, store):
    """Of finished trials: a specification is written again, an unreadable measurement named and made again."""
    spec = store.path(FIRST) / "spec.json"
    whole = spec.read_bytes()
    spec.write_bytes(whole[: len(whole) // 2])
    run(SWEEP, folder, progress=False)
    assert spec.read_bytes() == whole

    result = store.path(OTHERS[0]) / "result.json"
    result.unlink()
    result.mkdir()
    assert "Is a directory" in store.trial(OTHERS[0]).reason
    listener = Listener()
    with pytest.raises(StoreError, match=OTHERS[0].id):
        run(SWEEP, folder, slots=1, progress=listener)
    assert any("cannot be stored" in text for text in listener.said)
    result.rmdir()
    assert {t.state for t in run(SWEEP, folder, slots=1, progress=False)} == {TrialState.COMPLETE}


@pytest.mark.parametrize("pid", [b"", b"[]", b"1" + b"0" * 12, b"1" + b"0" * 30])
def test_an_unreadable_lease_has_no_owner(tmp_path, pid):
    whole = canonical(asdict(Owner.me()))
    (tmp_path / "lease.json").write_bytes(whole.replace(b'"pid":%d' % os.getpid(), b'"pid":' + pid))
    assert owner(tmp_path) is None
    (tmp_path / "lease.json").write_bytes(whole)
    assert owner(tmp_path) == Owner.me()
