"""A report carries the proof of its prediction, and is checked against it without the ledger."""

import json
from dataclasses import replace

import pytest
import report_example
from pypdf import PdfWriter

from reports import forecast_document, render
from reports.project import _receipt
from scaling.errors import InputError, LedgerError
from scaling.predictions import Measured
from scaling.registry import Ledger, book, exported, proofs, remarks, standing
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import SigningKey
from tests.predictions import COMPLETE, ask


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    key = SigningKey.generate()
    ledger = Ledger(tmp_path_factory.mktemp("proof") / "ledger", key=key)
    ledger.append("key", Statement(Action.NEW, key.public).body)
    return ledger


@pytest.fixture(scope="module")
def report(ledger):
    """The example's report on a real entry: registered, resolved, amended."""
    plain = report_example.example(first=2)
    made = [
        replace(f, prior="no floor", sources={"points.csv": "a" * 64}) for f in plain.forecasts if f.grade != "REFUSED"
    ]
    told = book.register(ledger, [ask(f.subject.label) for f in made], made, **COMPLETE, protocol="all problems")
    prediction = standing.find(ledger, told.hash).prediction
    values = {c.id: Measured(c.median, n=100, protocol=c.subject.protocol) for c in prediction.claims}
    book.resolve(ledger, told, values)
    remarks.amend(ledger, told.hash, 'a remark </script> with "marks" and ﷽')
    record = standing.find(ledger, told.hash)
    proof = proofs.prove(ledger, told.hash)
    proven = proofs.check(proof)
    return replace(
        plain,
        prediction=record.prediction,
        receipt=_receipt(proven, record.entry),
        resolution=record.resolution,
        outcome_receipt=_receipt(proven, record.outcomes[0]),
        scores=record.scores,
        proof=proof,
    )


@pytest.fixture(scope="module")
def document(report):
    return forecast_document(report)


@pytest.mark.parametrize("suffix", ["html", "pdf", "json"])
def test_it_holds_in_every_form(document, ledger, tmp_path, suffix):
    path = render(document, tmp_path / f"report.{suffix}")
    checked = exported.check_file(path)
    says = " ".join(checked.says)
    assert checked.what == "report"
    assert "signed by key" in says and "claims that the report carries are the registered ones" in says
    assert "with the outcomes of the ledger" in says and "a remark" in says
    assert ledger.verify(checked.heads).ok


def test_what_was_changed_is_named(document, report, tmp_path):
    path = tmp_path / "report.json"
    sound = json.loads(render(document, path).read_text())
    name = next(iter(sound["facts"]["claims"]))

    def changed(edit):
        model = json.loads(json.dumps(sound))
        edit(model["facts"], model)
        path.write_text(json.dumps(model))
        return path

    for edit, says in (
        (lambda f, m: f["claims"][name]["quantiles"].__setitem__(0, 0.0), f"quantiles of claim {name}"),
        (lambda f, m: f["claims"][name].update(measured=0.1), f"measured of claim {name}"),
        (lambda f, m: f["claims"].pop(name), "some were added or left out"),
        (lambda f, m: f.update(outcome=None), "states outcome None"),
        (lambda f, m: f.update(entry="0" * 64), "states entry"),
        (lambda f, m: f.update(head="0" * 64), "states head"),
        (lambda f, m: m["proof"]["entries"].pop(2), "states outcome"),
        (lambda f, m: m["proof"].update(entry="0" * 64), "does not hold the entry"),
    ):
        with pytest.raises(LedgerError, match=says):
            exported.check_file(changed(edit))
    with pytest.raises(InputError, match="carries no proof"):
        exported.check_file(changed(lambda f, m: m.pop("proof")))


def test_a_pdf_with_two_models_is_refused(document, tmp_path):
    path = render(document, tmp_path / "report.pdf")
    writer = PdfWriter(clone_from=path)
    writer.add_attachment("report-model.json", b"{}")
    writer.write(tmp_path / "two.pdf")
    with pytest.raises(InputError, match="carries 2 report models"):
        exported.check_file(tmp_path / "two.pdf")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError):
        exported.check_file(path)
