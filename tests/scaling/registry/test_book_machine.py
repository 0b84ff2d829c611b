"""Any order of registering, starting, resolving, withdrawing, revealing and amending, with full disks and dying keys:
every prediction stands as a plain list of what was done says it does."""

import errno
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from told import traces

from scaling.compute import inputs_of
from scaling.errors import InputError, ScalingError
from scaling.predictions import FINISHED, NOT_STARTED, STARTED
from scaling.registry import Ledger, anchors, binding, book, index, proofs, remarks, standing
from scaling.registry.anchors import Anchor, Method
from scaling.registry.embargo import path_of
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import SigningKey
from tests.faults import failing
from tests.predictions import COMPLETE, ask, forecast, specs

SPEC = specs()["pretrain"]
COST = inputs_of(SPEC)["C_pre"]
FROM_BYTES = index.FROM_BYTES


@dataclass
class Told:
    """What was done about one prediction."""

    entry: object
    state: str  # of the run at registration
    specified: bool
    sealed: bool = False
    starts: int = 0
    value: float | None = None
    bound: bool = False
    withdrawn: bool = False
    remarks: list = field(default_factory=list)

    @property
    def stands(self):
        if self.value is not None:
            return "resolved, withdrawn" if self.withdrawn else "resolved"
        if self.sealed:
            return "sealed, withdrawn" if self.withdrawn else "sealed"
        return "withdrawn" if self.withdrawn else "started" if self.starts else "open"


class BookMachine(RuleBasedStateMachine):
    @initialize(short=st.booleans())
    def begin(self, short):
        self.home = tempfile.TemporaryDirectory()
        self.book = Ledger(Path(self.home.name) / "ledger")
        self.told, self.entries, self.key = [], 0, None
        index.FROM_BYTES = 2**30 if short else 1

    def entered(self, entry):
        self.entries += 1
        return entry

    def drawn(self, data):
        return data.draw(st.sampled_from(self.told)) if self.told else None

    @rule(embargo=st.booleans(), specified=st.booleans(), state=st.sampled_from([NOT_STARTED, STARTED, FINISHED]))
    def register(self, embargo, specified, state):
        facts = COMPLETE | {"run_state": state}
        if specified:
            facts["target"] = {"specs": {"pretrain": SPEC.to_json()}}
        entry = self.entered(book.register(self.book, ask(), forecast(at=COST), embargo=embargo, **facts))
        if specified:  # the ledger knows of the recipe's earlier runs
            runs = [t for t in self.told if t.specified and (t.starts or t.value is not None)]
            ended = any(t.value is not None for t in runs)
            state = max(state, FINISHED if ended else STARTED if runs else NOT_STARTED, key=ORDER.index)
        self.told.append(Told(entry, state, specified, sealed=embargo))

    @rule(data=st.data(), again=st.booleans())
    def start(self, data, again):
        one = self.drawn(data)
        if one is None:
            return
        record = standing.find(self.book, one.entry.hash)
        if not one.specified:
            with pytest.raises(InputError, match="does not state the target's specifications"):
                book.start(self.book, one.entry, record.prediction)
            return
        book.start(self.book, one.entry, record.prediction, again=again)
        new = not one.starts or again
        one.starts, self.entries = one.starts + new, self.entries + new

    @rule(data=st.data(), value=st.floats(0.1, 2), bound=st.booleans())
    def resolve(self, data, value, bound):
        one = self.drawn(data)
        if one is None:
            return
        trials = binding.bound_ids(one.entry, standing.find(self.book, one.entry.hash).prediction) if bound else ()
        facts = {"trials": trials, "bound": bound, "evidence": traces(trials)}
        why = "is sealed" if one.sealed else "already resolved" if one.value is not None else None
        if not why and bound and not one.specified:
            why = "are not the run bound"
        if why:
            with pytest.raises(InputError, match=why):
                book.resolve(self.book, one.entry, value, **facts)
            return
        self.entered(book.resolve(self.book, one.entry, value, **facts))
        one.value, one.bound = value, bound

    @rule(data=st.data())
    def withdraw(self, data):
        one = self.drawn(data)
        if one is None:
            return
        why = "is resolved" if one.value is not None else "withdrawn already" if one.withdrawn else None
        if why:
            with pytest.raises(InputError, match=why):
                remarks.withdraw(self.book, one.entry.hash, "again")
            return
        self.entered(remarks.withdraw(self.book, one.entry.hash[:12], "wrong"))
        one.withdrawn = True

    @rule(data=st.data())
    def reveal(self, data):
        one = self.drawn(data)
        if one is None:
            return
        if one.entry.kind != "commit":
            with pytest.raises(InputError, match="not under embargo"):
                remarks.reveal(self.book, one.entry.hash)
            return
        assert path_of(self.book.folder, one.entry.body["commitment"]).exists()
        first = remarks.reveal(self.book, one.entry.hash)
        assert remarks.reveal(self.book, one.entry.hash) == first
        self.entries += one.sealed
        one.sealed = False

    @rule(data=st.data(), text=st.text(min_size=1, max_size=9).filter(str.strip))
    def amend(self, data, text):
        one = self.drawn(data)
        if one:
            self.entered(remarks.amend(self.book, one.entry.hash, text))
            one.remarks.append(text)

    @rule(sign=st.booleans())
    def turn_keys(self, sign):
        """A key begins, or the one that there is ends, and nobody signs."""
        new = self.key is None
        key = self.key or SigningKey.generate()
        self.book.key = key
        self.entered(self.book.append("key", Statement(Action.NEW if new else Action.REVOKE, key.public).body))
        self.key = key if new else None
        self.book.key = self.key if sign else None

    @rule()
    def anchor(self):
        if self.entries:
            head = self.book.remember()
            self.entered(anchors.append(self.book, Anchor(Method.GIT, head, {"object": "a" * 40, "ref": "refs/x"})))

    @rule(data=st.data())
    def prove(self, data):
        one = self.drawn(data)
        if one:
            proven = proofs.check(proofs.prove(self.book, one.entry.hash))
            assert len(proven.of("start")) == one.starts and len(proven.of("outcome")) == (one.value is not None)

    @rule(
        data=st.data(), first=st.integers(1, 12), for_good=st.booleans(), half=st.booleans(),
        what=st.sampled_from(["register", "sealed", "resolve", "withdraw"]),
    )  # fmt: skip
    def disk_fault(self, data, first, for_good, half, what):
        """Some calls fail in the middle of it: nothing acknowledged is missing, and once more enters it once."""
        one = None if what in ("register", "sealed") else self.drawn(data)
        if one is None:
            made = {"nonce": f"fault-{self.entries}", "embargo": what == "sealed", **COMPLETE}
            act = lambda: book.register(self.book, ask(), forecast(), **made)  # noqa: E731
        elif one.sealed or one.withdrawn or one.value is not None:
            return
        elif what == "resolve":
            act = lambda: book.resolve(self.book, one.entry, 0.5)  # noqa: E731
        else:
            act = lambda: remarks.withdraw(self.book, one.entry.hash, "wrong")  # noqa: E731
        entry, before = None, self.book.verify().entries if self.entries else 0
        with pytest.MonkeyPatch.context() as patch:
            names = ("write", "fsync", "ftruncate")
            failing(patch, names, range(first, 1000 if for_good else first + 1), errno.ENOSPC, half)
            try:
                entry = act()
            except ScalingError:
                entry = None
            except OSError:  # of a secret or a blob: the command line makes one sentence of it
                entry = None
        there = (self.book.folder / "entries.jsonl").exists() and self.book.head().size > before
        if entry is None and not there:
            entry = act()
        entry = entry or list(self.book)[-1]  # on disk, although its writer could not be told so
        self.entered(entry)
        assert self.book.append(entry.kind, entry.body, nonce=entry.nonce) == entry  # whole: a torn tail is set aside
        if one is None:
            self.told.append(Told(entry, NOT_STARTED, False, sealed=made["embargo"]))
        elif what == "resolve":
            one.value = 0.5
        else:
            one.withdrawn = True

    @rule()
    def reopen(self):
        if self.entries:
            self.book = Ledger(self.book.folder, create=False, key=self.book.key)

    @invariant()
    def every_prediction_stands_as_was_told(self):
        if not self.entries:
            return
        report = self.book.verify()
        assert report.ok and report.entries == self.entries
        known = standing.known(self.book)
        assert [one.entry for one in known] == [one.entry for one in self.told]
        for found, one in zip(known, self.told, strict=True):
            assert found.state == one.stands and len(found.starts) == one.starts
            assert [a.body["text"] for a in found.amendments] == one.remarks
            record = standing.find(self.book, one.entry.hash)
            assert record.prediction.run_state == one.state
            if isinstance(found, standing.Record):
                assert record == found
                assert (found.resolution and found.resolution.bound) == (one.bound if one.value is not None else None)

    def teardown(self):
        index.FROM_BYTES = FROM_BYTES
        self.home.cleanup()


ORDER = (NOT_STARTED, STARTED, FINISHED)
TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
