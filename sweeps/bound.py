"""The run of a registered prediction: its start is entered before the first step, its outcome after the last.

A run is one start for as long as its trials stand in the folder, however often it is stopped and resumed. Where they
are gone, or have failed and are tried again, it is begun anew: one more entry, so that nobody trains several and shows
one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scaling.errors import InputError
from scaling.registry import Entry, Ledger, binding, book, standing
from scaling.trials import TrialSpec, TrialState
from sweeps.store import Store, Trial

LOST = (TrialState.FAILED, TrialState.DIVERGED)


def begin(ledger: Ledger, entry: Entry, folder: Path, *, retry_failed: bool = False) -> tuple[TrialSpec, ...]:
    """Enter the start of a prediction's run in a folder, before its first step, and return its bound specifications."""
    prediction = standing.find(ledger, entry.hash).prediction
    specs, store = binding.target_trials(entry, prediction), Store(folder)
    states = [store.trial(spec).state for spec in specs]
    if all(state is TrialState.COMPLETE for state in states):
        return specs  # nothing is begun: an entry now would be no start
    again = not store.path(specs[0]).exists() or (retry_failed and any(state in LOST for state in states))
    store.start(specs[0])  # before the entry: who sees the entry sees the folder, and does not begin anew
    return book.start(ledger, entry, prediction, again=again)


def conclude(ledger: Ledger, entry: Entry, folder: Path, trials: Iterable[Trial]) -> Entry | None:
    """Enter the outcome once every trial of the run is complete; None before, and while it is under embargo;
    the one that stands if there is one already."""
    if not (record := standing.find(ledger, entry.hash)).outcomes:
        if record.sealed or any(trial.state is not TrialState.COMPLETE for trial in trials):
            return None
        try:
            return book.resolve_from_runs(ledger, entry, folder / "runs")
        except InputError:  # another process was quicker, or the run did not measure what was claimed
            record = standing.find(ledger, entry.hash)
            if not record.outcomes:
                raise
    return record.outcomes[0]
