"""Any order of appends, crashes, reopenings, heads and blobs leaves a ledger that verifies and has lost nothing."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from scaling import records
from scaling.errors import InputError
from scaling.registry import Ledger, Reason, index, proofs
from scaling.registry.embargo import Secret
from scaling.registry.entries import read_entry
from scaling.registry.keys import Action, Statement
from scaling.registry.merkle import Tree, leaf_hash, root, verify_consistency
from scaling.registry.signing import SignedHead, SigningKey

FROM_BYTES = index.FROM_BYTES
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
BODIES = st.dictionaries(st.text(max_size=5).filter(lambda k: k not in ("prediction", "blobs")), VALUES, max_size=4)


class LedgerMachine(RuleBasedStateMachine):
    """The model: the lines that were acknowledged, and the heads that were handed out."""

    @initialize()
    def start(self):
        self.home = tempfile.TemporaryDirectory()
        self.book = Ledger(self.home.name)
        self.path = Path(self.home.name) / "entries.jsonl"
        self.lines, self.heads, self.told, self.torn = [], [], [], []
        self.nonces, self.sealed, self.opened, self.keys, self.proofs = {}, {}, set(), [], []
        self.keep(self.book.append("key", {}))

    def keep(self, entry):
        self.lines.append(entry.line)

    @rule(body=BODIES, nonce=st.sampled_from([None, "a", "b.c"]))
    def predict(self, body, nonce):
        if nonce in self.nonces and self.nonces[nonce] != records.canonical(body):
            with pytest.raises(InputError, match="other content"):
                self.book.append("prediction", body, nonce)
            return
        entry = self.book.append("prediction", body, nonce)
        if nonce not in self.nonces:
            self.keep(entry)
            self.told.append(entry.hash)
        self.nonces[entry.nonce] = records.canonical(body)
        assert records.canonical(entry.body) == records.canonical(body)

    @rule(data=st.data(), kind=st.sampled_from(["start", "outcome", "withdraw"]))
    def refer(self, data, kind):
        if self.told:
            self.keep(self.book.append(kind, {"prediction": data.draw(st.sampled_from(self.told))}))

    @rule(sign=st.booleans())
    def turn_keys(self, sign):
        """A first key, then another in its place; what follows is signed by the valid one, or not at all."""
        new, old = SigningKey.generate(), self.keys[-1] if self.keys else None
        self.book.key = old or new
        action = Action.ROTATE if old else Action.NEW
        self.keep(self.book.append("key", Statement(action, new.public, old.public.hex if old else None).body))
        if old:
            with pytest.raises(InputError, match="was replaced"):
                self.book.append("amend", {})
        self.keys.append(new)
        self.book.key = new if sign else None

    @rule(body=BODIES)
    def seal(self, body):
        secret = Secret.of({"body": body, "until": "2030-01-01"}, {})
        entry = self.book.append("commit", {"commitment": secret.commitment, "until": "2030-01-01"})
        self.keep(entry)
        self.sealed[entry.hash] = secret

    @rule(data=st.data(), change=st.booleans())
    def reveal(self, data, change):
        if self.sealed:
            commit = data.draw(st.sampled_from(sorted(self.sealed)))
            secret = self.sealed[commit]
            opened = {**secret.opened, **({"more": 1} if change else {})}
            if change:
                with pytest.raises(InputError, match="does not match"):
                    self.book.append("reveal", {"commit": commit, "salt": secret.salt, "opened": opened})
                return
            self.keep(self.book.append("reveal", {"commit": commit, "salt": secret.salt, "opened": opened}))
            self.opened.add(commit)

    @rule(data=st.data())
    def resolve_a_sealed_one(self, data):
        if self.sealed:
            commit = data.draw(st.sampled_from(sorted(self.sealed)))
            if commit in self.opened:
                self.keep(self.book.append("outcome", {"prediction": commit}))
            else:
                with pytest.raises(InputError, match="not revealed before it"):
                    self.book.append("outcome", {"prediction": commit})

    @rule(data=st.data())
    def amend(self, data):
        line = data.draw(st.sampled_from(self.lines))
        self.keep(self.book.append("amend", {"amends": read_entry(line).hash, "text": "x"}))

    @rule(data=st.data())
    def prove(self, data):
        entry = read_entry(data.draw(st.sampled_from(self.lines)))
        proof = proofs.prove(self.book, entry.hash)
        assert proofs.check(proof).entry == entry
        self.heads.append(proofs.check(proof).head)
        self.proofs.append(SignedHead.parse(proof["checkpoint"]))

    @rule(data=st.data())
    def continue_an_earlier_head(self, data):
        if self.proofs:
            old = data.draw(st.sampled_from(self.proofs))
            assert proofs.check_consistency(proofs.prove_consistency(self.book, old))[0] == old.head
            self.heads.append(self.book.head())

    @rule(blob=st.binary(max_size=40))
    def store(self, blob):
        digest = self.book.put_blob(blob, "bin")
        assert self.book.get_blob(digest) == blob
        self.keep(self.book.append("commit", {"blobs": [digest]}))

    @rule(kind=st.sampled_from(["start", "outcome"]))
    def refer_to_nothing(self, kind):
        with pytest.raises(InputError):
            self.book.append(kind, {"prediction": "0" * 64})

    @rule()
    def reopen(self):
        self.book = Ledger(self.home.name, create=False, key=self.book.key)

    @rule(tail=st.binary(min_size=1, max_size=60).map(lambda b: b.replace(b"\n", b"\0")))
    def crash(self, tail):
        with open(self.path, "ab") as file:
            file.write(tail)
        assert [p.reason for p in self.book.verify().problems] == [Reason.TORN_TAIL]
        assert self.book.head().size == len(self.lines)
        self.keep(self.book.append("key", {}))
        self.torn.append(tail)

    @rule(keep=st.floats(0, 1, exclude_max=True))
    def crash_in_an_append(self, keep):
        sound = self.path.read_bytes()
        line = self.book.append("key", {"lost": True}).line
        part = line[: int(keep * len(line))]
        self.path.write_bytes(sound + part)
        self.keep(self.book.append("key", {}))
        self.torn += [part] * bool(part)

    @rule()
    def hand_out_a_head(self):
        self.heads.append(self.book.remember())

    @rule(short=st.booleans())
    def long_or_short(self, short):
        """With an index of where entries stand, or without."""
        index.FROM_BYTES = 2**30 if short else 1

    @invariant()
    def nothing_is_lost(self):
        report = self.book.verify(self.heads)
        assert report.ok, report.problems
        leaves = [leaf_hash(line) for line in self.lines]
        assert [entry.line for entry in self.book] == self.lines
        assert (report.head.size, report.head.root) == (len(leaves), root(leaves))
        for head in self.heads[-3:]:
            verify_consistency(head.size, len(leaves), head.root, report.head.root, Tree(leaves).consistency(head.size))
        assert sorted(path.read_bytes() for path in self.path.parent.glob("torn-*")) == sorted(self.torn)

    def teardown(self):
        index.FROM_BYTES = FROM_BYTES
        self.home.cleanup()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
