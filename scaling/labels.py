"""What makes a prediction worth less than it looks: said in every output that shows it, in the same words."""

from __future__ import annotations

from scaling.predictions import NOT_STARTED, Prediction, Resolution

UNBOUND = (
    "The target run's seeds are not bound to the ledger entry: that the run came after the registration rests on the "
    "clock of whoever kept the ledger."
)
NO_START = "The outcome is of a bound run whose start was never entered."


def labels(prediction: Prediction, resolution: Resolution | None = None, starts: int | None = None) -> list[str]:
    """Sentences about one prediction; none for one that was made before a bound run, started once. `starts`: how often
    the run was begun by the ledger, where that is known."""
    found = []
    if prediction.run_state != NOT_STARTED:
        found.append(f"The prediction was registered when the run was already {prediction.run_state or 'unstated'}.")
    if resolution and not resolution.bound:
        found.append(UNBOUND)
    if resolution and resolution.bound and starts == 0:
        found.append(NO_START)
    if starts and starts > 1:
        found.append(f"The run was begun {starts} times: each start is an entry.")
    if starts and not resolution:
        found.append("The run was started and its outcome is not entered.")
    return found
