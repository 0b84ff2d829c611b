"""What makes a prediction worth less than it looks: said in every output that shows it, in the same words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scaling.predictions import FINISHED, NOT_STARTED, STARTED, UNKNOWN, Prediction, Resolution

UNBOUND = (
    "The target run's seeds are not bound to the ledger entry: that the run came after the registration rests on the "
    "clock of whoever kept the ledger."
)
NO_START = "The outcome is of a bound run whose start was never entered before it."
NO_CLOCK = (
    "No outside clock saw the entry before its run: other predictions of the run may have been tried in ledgers that "
    "nobody sees, and the best one kept."
)

UNSHOWN = (
    "No outside clock is shown to have seen the entry before its run (a proof holds no anchors): other predictions of "
    "the run may have been tried in ledgers that nobody sees, and the best one kept."
)
UNCHECKED = (
    "An anchor (entry {}) stands between the entry and its run; whether it proves anything says: "
    "scaling verify --tsa-roots FILE --git REPO."
)
EARLIER = {STARTED: "may have been", FINISHED: "was"}


@dataclass(frozen=True)
class Course:
    """What the ledger's other entries say of a prediction's run.

    starts      how often it was begun, by its `start` entries
    begun       whether one of them is of the bound run and stands before the outcome
    resolved    the day of the outcome's entry, by its writer's clock; "" before there is one
    clocked     whether an outside clock stands between the prediction and its run; None: not known
    anchors     entries between them that say that one does, and were not checked; a proof holds none
    """

    starts: int
    begun: bool
    resolved: str = ""
    clocked: bool | None = None
    anchors: tuple[int, ...] = ()

    @property
    def as_proven(self) -> Course:
        """What a proof shows of it."""
        return replace(self, clocked=None, anchors=())


def labels(prediction: Prediction, resolution: Resolution | None = None, course: Course | None = None) -> list[str]:
    """Sentences about one prediction; none for one that was made, and seen by an outside clock, before a bound run that
    was started once."""
    found = []
    if prediction.run_state != NOT_STARTED:
        found.append(_late(prediction, resolution))
    if unknown := [name for name, value in prediction.target.items() if value == UNKNOWN]:
        found.append(f"Of the run these were said to be unknown: {', '.join(unknown)}.")
    if resolution and not resolution.bound:
        found.append(UNBOUND)
    return found + (_of(course, prediction, resolution) if course else [])


def _late(prediction: Prediction, resolution: Resolution | None) -> str:
    """A run whose seeds the entry gives cannot have begun before it: what had is one of the same recipe."""
    state = prediction.run_state
    if "specs" not in prediction.target or state not in EARLIER or (resolution and not resolution.bound):
        return f"The prediction was registered when the run was already {state or 'unstated'}."
    return (
        f"When it was registered, a run of this recipe with other seeds was already {state}: "
        f"its outcome {EARLIER[state]} known."
    )


def _of(course: Course, prediction: Prediction, resolution: Resolution | None) -> list[str]:
    found = []
    if resolution and resolution.bound and not course.begun:
        found.append(NO_START)
    if course.starts > 1:
        found.append(f"The run was begun {course.starts} times: each start is an entry.")
    if course.starts and not resolution:
        found.append("The run was started and its outcome is not entered.")
    if course.resolved > prediction.until:
        found.append(f"The outcome was entered on {course.resolved}, after the deadline {prediction.until}.")
    if course.starts or resolution:
        found += _clock(course)
    return found


def _clock(course: Course) -> list[str]:
    if course.clocked is None:
        return [UNCHECKED.format(" and ".join(map(str, course.anchors))) if course.anchors else UNSHOWN]
    return [] if course.clocked else [NO_CLOCK]
