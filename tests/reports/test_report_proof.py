"""A report carries the proof of its prediction, and is checked against it without the ledger."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import report_example
from pypdf import PdfReader, PdfWriter

from reports import forecast_document, render
from reports.blocks import Bullets, ClaimCards, Figure, Text, Warning
from reports.checked import check_report
from reports.inputs import Receipt
from scaling.__main__ import main
from scaling.errors import InputError, LedgerError, NotChecked
from scaling.labels import NO_CLOCK, UNSHOWN
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
        receipt=Receipt.of(proven, record.entry),
        resolution=record.resolution,
        outcome_receipt=Receipt.of(proven, record.outcomes[0]),
        course=record.course,
        scores=record.scores,
        notes=(*plain.notes, *record.remarks),
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


def checked_page(path):
    """What `scaling verify` does with a report, by the part that draws it."""
    found = exported.check_file(path)
    return check_report(path, found.model, found.proven)


@pytest.mark.parametrize(
    ("suffix", "unchecked"), [("html", ""), ("json", ""), ("pdf", "the pages of a PDF are not read")]
)
def test_the_page_says_what_the_proof_gives(document, tmp_path, suffix, unchecked):
    path = render(document, tmp_path / f"report.{suffix}")
    why, says = checked_page(path)
    assert why == unchecked and "word for word, what the proof gives" in says[0] and "no proof of them" in says[1]
    assert (suffix == "html") == any("what this program draws of its model" in line for line in says)


def test_a_page_that_was_changed_is_named(document, tmp_path):
    """Numbers, warnings, figures, what stands behind the end; the model beside it is as it was."""
    path = render(document, tmp_path / "report.html")
    sound = path.read_text()
    card = document.find(ClaimCards)[0].cards[0]
    figure = document.find(Figure)[0]
    start, end = sound.index('<figure id="'), sound.index("</figure>")
    for page, says in (
        (sound.replace(f'<p class="big">{card.value}', '<p class="big">0.999', 1), "'0.999|\\bbig"),
        (sound.replace('<p class="warning"', '<p hidden class="warning"', 1), "says something else"),
        (sound.replace("</main>", "<p>Great success</p></main>"), "Great success"),
        (sound + "<h1>Great success</h1>", "says something else|other lines"),
        (sound + "\n<h1>Great success</h1>", "other lines"),
        (sound.replace(figure.caption, "All good"), "figures are not those"),
        (sound[:start] + sound[end + len("</figure>\n") :], "figures are not those"),
        (sound.replace("</style>", "main{display:none}</style>"), "says something else"),
    ):
        assert page != sound
        path.write_text(page)
        assert exported.check_file(path).what == "report"  # its model is sound
        with pytest.raises(LedgerError, match=says):
            checked_page(path)


def test_a_model_that_was_changed_is_named_although_its_page_agrees(document, tmp_path):
    """Both are made anew by who knows the program: what the proof gives cannot be made anew."""
    blocks, name = list(document.blocks), tmp_path / "report.html"
    cards = document.find(ClaimCards)[0]
    at = blocks.index(cards)
    better = ClaimCards((replace(cards.cards[0], value="0.999"), *cards.cards[1:]))
    warning = next(i for i, b in enumerate(blocks) if isinstance(b, Warning))
    scored = next(i for i, b in enumerate(blocks) if getattr(b, "anchor", "") == "scores") + 2
    told = next(i for i, b in enumerate(blocks) if isinstance(b, Bullets) and any("a remark" in t for t in b.items))
    for changed in (
        [*blocks[:at], better, *blocks[at + 1 :]],
        [*blocks[:warning], *blocks[warning + 1 :]],
        [Text("Great success"), *blocks],
        [*blocks[:at], Text("Great success"), *blocks[at:]],
        [*blocks[:scored], *blocks[scored + 1 :]],
        [*blocks[:told], *blocks[told + 1 :]],
        [],
    ):
        path = render(replace(document, blocks=tuple(changed)), name)
        with pytest.raises(LedgerError, match="does not say what its proof gives"):
            checked_page(path)
    own = render(replace(document, title="Great success"), name)  # what no proof speaks of
    assert checked_page(own)[0] == "" and checked_page(own)[1][1].startswith("title, ")


def test_the_label_of_no_outside_clock_cannot_be_cut_from_a_report(document, ledger, tmp_path):
    """The attack: the warning left out of the model, and the page drawn of it anew."""
    (at,) = [i for i, b in enumerate(document.blocks) if isinstance(b, Warning) and UNSHOWN in vars(b).values()]
    cut = replace(document, blocks=(*document.blocks[:at], *document.blocks[at + 1 :]))
    path = render(cut, tmp_path / "report.html")
    with pytest.raises(LedgerError, match="does not say what its proof gives: warning 'No outside clock"):
        checked_page(path)
    assert f"by the ledger: {NO_CLOCK}" in exported.against(exported.check_file(path), ledger)


def test_no_model_ends_in_a_traceback(document, tmp_path):
    """Blocks of no kind, without a field, or with something else in it: of each kind the first."""
    path = render(document, tmp_path / "report.json")
    found = exported.check_file(path)
    first = {b["kind"]: i for i, b in reversed(list(enumerate(found.model["blocks"])))}
    page = tmp_path / "page.html"
    page.write_text("<p>")
    for i in first.values():
        block = found.model["blocks"][i]
        changed = [None, {}, 7, {"kind": "nonsense"}, *({**block, name: 7} for name in block)]
        changed += [{k: v for k, v in block.items() if k != name} for name in block]
        for other in changed:
            model = {**found.model, "blocks": [*found.model["blocks"][:i], other, *found.model["blocks"][i + 1 :]]}
            with pytest.raises(LedgerError):
                check_report(page, model, found.proven)


def test_a_report_of_another_program_may_be_drawn_otherwise(document, tmp_path):
    """By its own word, which nothing protects: what is drawn otherwise is not checked, and what none draws is named."""
    other = replace(document, facts={**document.facts, "drawn_by": "0" * 64})
    path = render(other, tmp_path / "report.html")
    assert checked_page(path)[0] == ""
    sound = path.read_text()
    for old, new, error, says in (
        ("</main>", "</main><hr>", NotChecked, "either another version of this program made it or it was changed"),
        ("</main>", "<script>alert(1)</script></main>", LedgerError, "3 scripts where 2 belong"),
        ("</main>", '<svg onload="x()"></svg></main>', LedgerError, "<svg onload>"),
        ("</main>", '<a href=" JavaScript:x()">a</a></main>', LedgerError, "<a href>"),
        ("</main>", '<iframe src="data:text/html,x"></iframe></main>', LedgerError, "<iframe>"),
        ("</html>", "</html><h1>Great success</h1>", LedgerError, "behind its end"),
        ("</html>", "</html><h1>Great success</h1></html>", LedgerError, "behind its end"),
        ("<!doctype", "<h1>Great success</h1><!doctype", LedgerError, "before its beginning"),
    ):
        path.write_text(sound.replace(old, new))
        with pytest.raises(error, match=says):
            checked_page(path)
    for blocks, error in (
        (document.blocks[1:], LedgerError),
        ((Text("Great success"), *document.blocks), LedgerError),
        ((Text("Great success", "lead"), *document.blocks), NotChecked),
    ):
        with pytest.raises(error):
            checked_page(render(replace(other, blocks=blocks), path))


def test_a_blank_pdf_with_the_model_says_that_no_page_was_read(document, tmp_path):
    path = render(document, tmp_path / "report.pdf")
    blank = PdfWriter()
    blank.add_blank_page(200, 200)
    blank.add_attachment("report-model.json", PdfReader(path).attachments["report-model.json"][0])
    for name in ("blank.pdf", "blank.json", "blank.html"):  # its name is its maker's word
        blank.write(tmp_path / name)
        assert checked_page(tmp_path / name)[0] == "the pages of a PDF are not read"


def test_the_verb_says_in_its_first_line_what_was_checked(document, ledger, tmp_path, capsys, monkeypatch):
    """With the part that draws, as it is installed, and without."""
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"][
        "scaling.reports"
    ]
    installed = tmp_path / "site" / "x-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Name: x\nVersion: 1\n")
    lines = "".join(f"{name} = {value}\n" for name, value in declared.items())
    (installed / "entry_points.txt").write_text(f"[scaling.reports]\n{lines}")
    for suffix, first in (
        ("html", "good: report: the claims hold, and the page says them\n"),
        ("pdf", "good: report: the claims hold; the page itself was NOT checked: the pages of a PDF are not read\n"),
    ):
        path = render(document, tmp_path / f"report.{suffix}")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(tmp_path / "site"))
            assert main(["verify", str(path)]) == 0
            assert capsys.readouterr().out.startswith(first)
        path.write_bytes(path.read_bytes() + b"\n<p>more</p>")
    other = replace(document, title="Great success", facts={**document.facts, "drawn_by": "0" * 64})
    foreign = render(other, tmp_path / "foreign.html")
    foreign.write_text(foreign.read_text().replace("</main>", "<p>Great success</p></main>"))
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path / "site"))
        assert main(["verify", str(foreign), "--ledger", str(ledger.folder)]) == 3
        out = capsys.readouterr().out
        assert out.startswith("NOT CHECKED: report: it says something else than its proof gives") and "good" not in out
        assert main(["verify", str(foreign), "--json"]) == 3
        told = json.loads(capsys.readouterr().out)
        assert not told["ok"] and not told["page_checked"] and "another version" in told["unchecked"]
        assert main(["verify", str(tmp_path / "report.html"), "--ledger", str(ledger.folder)]) == 4
        assert "other lines than its model gives" in capsys.readouterr().err
