"""What is entered about a prediction later, beside its run and its outcome: an opening, a withdrawal, a remark."""

from __future__ import annotations

from scaling.errors import InputError
from scaling.registry.book import BLOB
from scaling.registry.embargo import Secret
from scaling.registry.entries import Entry, Kind
from scaling.registry.ledger import Ledger
from scaling.registry.references import PREDICTED
from scaling.registry.standing import entry_of, find, known_as, predicted


def reveal(ledger: Ledger, prefix: str) -> Entry:
    """Append what a commit entry hid: its salt, the prediction, the draws. Done already, the entry that is there."""
    record = find(ledger, prefix)
    if record.revealed:
        return record.revealed
    if not record.sealed:
        raise InputError(f"prediction {record.entry.hash[:12]} is not under embargo", "there is nothing to reveal")
    secret = Secret.read(ledger.folder, record.entry.body["commitment"])
    ledger.check_ready()
    blobs = sorted(ledger.put_blob(data, BLOB) for data in secret.blobs.values())
    body = {"commit": record.entry.hash, "salt": secret.salt, "opened": secret.opened, "blobs": blobs, "v": 1}
    return ledger.append(Kind.REVEAL, body, nonce=f"reveal-{record.entry.hash[:32]}")


def withdraw(ledger: Ledger, prefix: str, reason: str) -> Entry:
    """Append a tombstone: the prediction stays, and is shown as withdrawn. A resolved one cannot be withdrawn."""
    if not reason.strip():
        raise InputError("a withdrawal needs a reason", "say in a few words why: it stands beside the prediction")
    entry = predicted(ledger, prefix)
    found = known_as(ledger, entry)
    if found.outcomes:
        raise InputError(
            f"prediction {entry.hash[:12]} is resolved (entry {found.outcomes[0].seq}) and cannot be withdrawn",
            "append an amend entry that says what was wrong",
        )
    if found.withdrawn:
        raise InputError(f"prediction {entry.hash[:12]} is withdrawn already (entry {found.withdrawn.seq})")
    body = {"prediction": entry.hash, "reason": reason}
    return ledger.append(Kind.WITHDRAW, body, nonce=f"withdraw-{entry.hash[:32]}")


def amend(ledger: Ledger, prefix: str, text: str) -> Entry:
    """Append a remark on any entry: it is shown beside what it amends, and changes nothing of it."""
    if not text.strip():
        raise InputError("an amendment needs a text", "say what was wrong, or what became known")
    entry = entry_of(ledger, prefix)
    about = entry.hash if entry.kind in PREDICTED else entry.prediction
    body = {"amends": entry.hash, "text": text, **({"prediction": about} if about else {})}
    return ledger.append(Kind.AMEND, body)
