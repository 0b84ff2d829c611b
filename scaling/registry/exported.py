"""What left the house: proofs and reports, read back from .json, .html or .pdf and checked without the ledger.

A report carries its model (what it claims) and the proof of its prediction. Checked is that the claims of the model are
those of the entry, and the outcomes those of the outcome entry. What the page says, the room that draws it checks.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from scaling.errors import InputError, LedgerError
from scaling.predictions import Prediction, Resolution
from scaling.records import parse, plain, read_bytes
from scaling.registry import proofs, standing
from scaling.registry.as_proven import record_of
from scaling.registry.embargo import check_opening
from scaling.registry.entries import Entry, Kind
from scaling.registry.keys import Statement
from scaling.registry.ledger import Ledger
from scaling.registry.merkle import Checkpoint
from scaling.registry.proofs import Proven
from scaling.registry.references import PREDICTED
from scaling.registry.signing import SHORT, SignedHead

ALONE = "that nothing was left out (a withdrawal, the end of a key), only the ledger shows: --ledger"
MODEL = "report-model"  # id of the script in HTML; with .json, the name of the attachment in PDF


@dataclass(frozen=True)
class Checked:
    """A file that holds. `what` it is; `heads` a ledger must be consistent with; `says` what was found.

    `alone`: what is left open as long as no ledger is at hand. `signed`: heads whose signatures only its keys check.
    `model`: a report's, whose page is still to be checked.
    """

    what: str
    heads: tuple[Checkpoint, ...]
    says: tuple[str, ...]
    proven: Proven | None = None
    warnings: tuple[str, ...] = ()
    alone: str = ""
    signed: tuple[SignedHead, ...] = ()
    model: Mapping[str, Any] | None = None


def check_file(path: Path) -> Checked:
    """Check a proof, a consistency proof or a report. `InputError`: not readable as one; `LedgerError`: it is false."""
    value = read(path)
    try:
        return _checked(value, path)
    except LedgerError as error:
        raise LedgerError(f"{path}: {error.message}", error.hint, index=error.index) from None
    except InputError as error:
        message = error.message if str(path) in error.message else f"{path}: {error.message}"
        raise InputError(message, error.hint) from None


def _checked(value: Any, path: Path) -> Checked:
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == proofs.CONSISTENCY:
        return _consistency(value)
    if kind == proofs.ENTRY:
        proven = proofs.check(value)
        return Checked("proof", (proven.head,), tuple(sentences(proven)), proven, proven.warnings, ALONE)
    if isinstance(value, Mapping) and {"facts", "blocks"} <= set(value):
        return _report(value, path)
    raise InputError(f"{path} is neither a proof nor a report", "scaling prove ID -o FILE writes a proof")


def _consistency(value: Mapping[str, Any]) -> Checked:
    old, new = proofs.check_consistency(value)
    says = (
        f"the head of {new.size} entries continues the head of {old.size}: nothing before it was changed",
        *(f"{head.size} entries: root {head.root.hex()} of {head.origin}" for head in (old, new)),
    )
    signed = tuple(SignedHead.parse(value[name]) for name in ("old", "new"))
    alone = "that these are heads of your ledger, and who signed them, is NOT checked: compare them with those you hold"
    return Checked("consistency proof", (old, new), says, alone=alone, signed=signed)


def against(checked: Checked, ledger: Ledger) -> list[str]:
    """What a ledger adds to a file: that it continues the file's heads, and what was left out or came later."""
    standing.verify(ledger, checked.heads).raise_first()
    says = [f"the ledger in {ledger.folder} is sound and continues that head"]
    for signed in checked.signed:
        signer = signed.signer(ledger.keyring().known)
        says.append(f"its head of {signed.head.size} entries: {f'signed by key {signer.id}' if signer else 'unsigned'}")
    if checked.proven is None:
        return says
    later = proofs.since(ledger, checked.proven)
    said = [f"since then: {_told(entry)}" for entry in later]
    says += said or ["nothing about it was left out, and nothing was entered since"]
    return says + _beyond(checked.proven, ledger)


def _beyond(proven: Proven, ledger: Ledger) -> list[str]:
    """What the ledger alone tells of the prediction's worth: of outside clocks, and of what came later."""
    if proven.entry.kind not in PREDICTED:
        return []
    known = standing.known_as(ledger, proven.entry)
    labels = known.labels if isinstance(known, standing.Record) else []
    return [f"by the ledger: {label}" for label in labels if label not in worth(proven)]


def read(path: Path) -> Any:
    """The JSON value of a file: itself, the model in an HTML report, or the attachment of a PDF report."""
    return parse(_model(read_bytes(path), path), what=str(path))


def page_of(path: Path) -> tuple[str, str]:
    """What a report is by its first bytes, not by its name ("pdf", "html" or "json"), and its text; "" of a PDF."""
    data = read_bytes(path)
    form = _form(data)
    return form, "" if form == "pdf" else data.decode("utf-8", "replace")


def _form(data: bytes) -> str:
    return "pdf" if data.startswith(b"%PDF") else "html" if data.lstrip()[:1] == b"<" else "json"


def _model(data: bytes, path: Path) -> bytes:
    form = _form(data)
    return _attached(data, path) if form == "pdf" else _embedded(data, path) if form == "html" else data


def _attached(data: bytes, path: Path) -> bytes:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what is wrong is said here, once
    try:
        found = PdfReader(io.BytesIO(data)).attachments.get(f"{MODEL}.json", [])
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(f"{path} could not be read as a PDF: {error}") from None
    if len(found) != 1:
        raise InputError(f"{path} carries {len(found)} report models where one belongs", "is it a report of this tool?")
    return bytes(found[0])


class _Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.models: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script" and ("id", MODEL) in attrs
        if self._inside:
            self.models.append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.models[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def _embedded(data: bytes, path: Path) -> bytes:
    scripts = _Scripts()
    scripts.feed(data.decode("utf-8", "replace"))
    scripts.close()
    if len(scripts.models) != 1:
        found = len(scripts.models)
        raise InputError(f"{path} carries {found} report models where one belongs", "is it a report of this tool?")
    return scripts.models[0].encode()


def _report(model: Mapping[str, Any], path: Path) -> Checked:
    facts, proof = model["facts"], model.get("proof")
    if proof is None or not isinstance(facts, Mapping):
        raise InputError(f"{path} carries no proof", "it is of a forecast that was not registered, or was made earlier")
    proven = proofs.check(proof)
    stated = {
        "entry": proven.entry.hash,
        "seq": proven.entry.seq,
        "head": proven.head.root.hex(),
        "size": proven.head.size,
        "outcome": next((e.hash for e in proven.of(Kind.OUTCOME)), None),
    }
    for name, value in stated.items():
        if facts.get(name) != value:
            raise LedgerError(f"the report states {name} {facts.get(name)!r:.80}, its proof shows {value!r:.80}")
    says = sentences(proven)
    prediction = prediction_of(proven)
    if prediction is None:
        says.append("the prediction is under embargo: its claims can be compared once it is revealed")
    else:
        _compare(facts.get("claims"), prediction, proven)
        says.append(
            f"the {len(prediction.claims)} claims that the report carries are the registered ones"
            + (", with the outcomes of the ledger" if proven.of(Kind.OUTCOME) else "")
        )
    return Checked("report", (proven.head,), tuple(says), proven, proven.warnings, ALONE, model=model)


def prediction_of(proven: Proven) -> Prediction | None:
    """What was predicted; None while it is sealed. A reveal that does not match is an error."""
    if proven.entry.kind == Kind.PREDICTION:
        return Prediction.from_body(proven.entry.body)
    for reveal in proven.of(Kind.REVEAL):
        try:
            check_opening(proven.entry.body, reveal.body)
        except InputError as error:
            raise LedgerError(f"entry {reveal.seq}: {error.message}", index=reveal.seq) from None
        return Prediction.from_body(reveal.body["opened"])
    return None


def _compare(claims: Any, prediction: Prediction, proven: Proven) -> None:
    measured = {}
    if outcomes := proven.of(Kind.OUTCOME):
        measured = {k: m.value for k, m in Resolution.from_body(outcomes[0].body).values.items()}
    registered = {
        c.id: {"quantiles": list(c.quantiles), "draws": c.draws_digest, "measured": measured.get(c.id)}
        for c in prediction.claims
    }
    if not isinstance(claims, Mapping) or set(claims) != set(registered):
        raise LedgerError("the report's claims are not those of its prediction: some were added or left out")
    for name, there in registered.items():
        found = claims[name]
        for field, value in plain(there).items():
            if not isinstance(found, Mapping) or found.get(field) != value:
                raise LedgerError(f"the report's {field} of claim {name} are not the registered ones")


def sentences(proven: Proven) -> list[str]:
    """What a proof shows, for people."""
    entry = proven.entry
    signer = proven.signer
    by = f"signed by key {signer.id}" if signer else "unsigned"
    head = f"signed by key {proven.head_signer.id}" if proven.head_signer else "unsigned"
    says = [
        f"{entry.kind} {entry.hash}, entry {entry.seq} of {proven.head.size}, "
        f"dated {entry.time} by its writer's clock, {by}",
        f"it stands under the head {proven.head.root.hex()} ({proven.head.origin}, {head})",
    ]
    for other in proven.related:
        other_signer = proven.signers[other.hash]
        says.append(_told(other, f"signed by key {other_signer.id}" if other_signer else "unsigned"))
    return says + worth(proven)


def _told(entry: Entry, signed: str = "") -> str:
    """One entry about another, or about a key."""
    what = "WITHDRAWN" if entry.kind == Kind.WITHDRAW else str(entry.kind)
    if statement := Statement.of(entry.kind, entry.body):
        what = f"{statement.action} key {statement.key.id}"
        what += f" in place of {statement.replaces[:SHORT]}" if statement.replaces else ""
    reason = entry.body.get("reason") or entry.body.get("text") or ""
    return ", ".join(filter(None, [f"{what} in entry {entry.seq}", f"dated {entry.time}", signed])) + (
        f": {reason}" if reason else ""
    )


def worth(proven: Proven) -> list[str]:
    """What makes the prediction worth less than it looks; that it cannot be read is no less."""
    try:
        prediction = prediction_of(proven)
        return record_of(proven, prediction).labels if prediction else []
    except InputError as error:
        return [f"what it says cannot be read: {error.message}"]
