"""Any order of appends, crashes, disk faults, reopenings, heads, keys, anchors and blobs leaves a ledger that verifies
and has lost nothing."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from scaling import records
from scaling.errors import InputError, LedgerError
from scaling.registry import Ledger, Reason, anchors, index, proofs
from scaling.registry.anchors import Anchor, Method
from scaling.registry.embargo import Secret
from scaling.registry.entries import read_entry
from scaling.registry.keys import Action, Statement
from scaling.registry.merkle import Tree, leaf_hash, root, verify_consistency
from scaling.registry.signing import SignedHead, SigningKey
from tests.faults import failing

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

    @rule(sign=st.booleans(), lost=st.booleans())
    def turn_keys(self, sign, lost):
        """A first key, then another in its place; what follows is signed by the valid one, or not at all."""
        new, old = SigningKey.generate(), self.keys[-1] if self.keys else None
        self.book.key = new if old is None else None if lost else old
        action = Action.ROTATE if old else Action.NEW
        body = Statement(action, new.public, old.public.hex if old else None, lost=bool(old) and lost).body
        self.keep(self.book.append("key", body))
        if old:
            self.refuses(old, "was lost, and replaced" if lost else "was replaced")
        self.keys.append(new)
        self.book.key = new if sign else None

    @rule(lost=st.booleans())
    def revoke(self, lost):
        """By itself, or without it where it is lost; then none is valid until another begins."""
        if self.keys:
            old = self.keys.pop()
            self.book.key = None if lost else old
            if lost:
                with pytest.raises(InputError, match="without a signature"):
                    self.book.append("key", Statement(Action.REVOKE, old.public).body)
            self.keep(self.book.append("key", Statement(Action.REVOKE, old.public, lost=lost, reason="x").body))
            self.refuses(old, "was lost, and revoked" if lost else "was revoked")
            self.keys.clear()
            self.book.key = None

    def refuses(self, key, why):
        with pytest.raises(InputError, match=why):
            Ledger(self.home.name, key=key).append("amend", {})

    @rule()
    def a_stranger_signs(self):
        self.refuses(SigningKey.generate(), "was never entered")

    @rule(data=st.data(), number=st.integers(0, 3))
    def anchor(self, data, number):
        """Any head that was handed out; the same evidence again is the same entry."""
        heads = [head for head in self.heads if head.size]
        head = data.draw(st.sampled_from(heads)) if heads else self.book.head()
        made = Anchor(Method.GIT, head, {"object": f"{number:040x}", "ref": "refs/heads/x", "form": "commit"})
        entry = anchors.append(self.book, made)
        if entry.line not in self.lines:
            self.keep(entry)
        assert anchors.append(self.book, made) == entry and Anchor.from_entry(entry) == made

    @rule(
        first=st.integers(1, 5), for_good=st.booleans(), half=st.booleans(),
        names=st.sampled_from([("write",), ("fsync",), ("write", "fsync", "ftruncate")]),
        code=st.sampled_from([errno.ENOSPC, errno.EIO]),
    )  # fmt: skip
    def disk_fault(self, first, for_good, half, names, code):
        """Some calls of an append fail: what is acknowledged is there, and a retry enters it once."""
        nonce, entry, said = f"fault-{len(self.lines)}", None, os.strerror(code)
        with pytest.MonkeyPatch.context() as patch:
            failing(patch, names, range(first, 1000 if for_good else first + 1), code, half)
            try:
                entry = self.book.append("amend", {"fault": first}, nonce)
            except (InputError, LedgerError) as error:
                said = str(error)
        assert os.strerror(code) in said
        again = self.book.append("amend", {"fault": first}, nonce)
        assert entry in (None, again)
        self.keep(again)
        whole = {path.read_bytes() for path in self.path.parent.glob("torn-*")} - set(self.torn)
        assert all(b'"fault"' in tail for tail in whole)
        self.torn += whole

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
