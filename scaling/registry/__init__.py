"""The append-only, hash-chained ledger of predictions and what became of them."""

from scaling.registry.entries import Entry, Kind, seed_for
from scaling.registry.ledger import Ledger
from scaling.registry.merkle import Checkpoint
from scaling.registry.verify import Problem, Reason, VerifyReport

__all__ = ["Checkpoint", "Entry", "Kind", "Ledger", "Problem", "Reason", "VerifyReport", "seed_for"]
