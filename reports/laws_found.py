"""What the fits found: the laws as formulas, parameters with intervals, and what is hard to predict and why."""

from __future__ import annotations

from collections.abc import Sequence

from reports.blocks import Block, Bullets, Formula, Heading, Table, Text
from reports.inputs import ReportInput, order_of
from reports.text import MISSING, clean, compute, fixed, listed, number, percent, places, significant, span, times
from scaling.fitted import Fit, FitStatus, Forecast, Grade
from scaling.laws import LAWS


def hard_blocks(report: ReportInput) -> list[Block]:
    """Every subject with its verdict, and the reason where the forecast is not earned."""
    rows, tones = [], []
    forecasts = {id(fit): f for f in reversed(report.forecasts) if (fit := report.fit_of(f)) is not None}
    said = [_said(f, forecasts.get(id(f))) for f in report.fits]
    shared = [t for t in (said[0] if said else []) if len(said) > 1 and all(t in other for other in said)]
    for fit in sorted(report.fits, key=lambda f: order_of(f.subject)):
        forecast = forecasts.get(id(fit))
        grade = str(forecast.grade) if forecast else MISSING
        reasons = _reasons(fit, [t for t in _said(fit, forecast) if t not in shared], grade)
        rows.append(
            [fit.subject.label, fit.law, clean(fit.verdict), times(fit.earned_factor), grade, reasons or "none"]
        )
        tones.append("bad" if grade in ("REFUSED", "UNEARNED") or fit.status != FitStatus.CONVERGED else "")
    if not rows:
        return []
    hard = [r[0] for r, tone in zip(rows, tones, strict=True) if tone]
    text = f"Not earned, or not well determined: {listed(hard)}." if hard else "No forecast was refused."
    return [
        Heading("What is hard to predict, and why", "hard"),
        Text(text),
        *([Text("Of every forecast here:"), Bullets(tuple(shared))] if shared else []),
        Table.of(["what", "law", "verdict", "back-tested to", "grade", "what speaks against it"], rows, tones=tones,
                 wide=[5]),
    ]  # fmt: skip


def _said(fit: Fit, forecast: Forecast | None) -> list[str]:
    """What the forecast and the fit themselves remark."""
    return [clean(t).rstrip(".") for t in (*(forecast.warnings if forecast else ()), *fit.notes)]


def _reasons(fit: Fit, remarks: Sequence[str], grade: str) -> str:
    found = [] if fit.status == FitStatus.CONVERGED else [f"{fit.status}: {fit.status.says}"]
    if grade in (Grade.REFUSED, Grade.UNEARNED):
        found.append("the forecast is not earned by back-tests")
    found += [t for t in remarks if fit.status.says not in t or not found]
    return "; ".join(dict.fromkeys(found))


def parameter_blocks(report: ReportInput) -> list[Block]:
    """The laws as formulas, then every fit's parameters with 90 % intervals."""
    fits = sorted(report.fits, key=lambda f: order_of(f.subject))
    if not fits:
        return []
    blocks: list[Block] = [Heading("Laws and parameters", "parameters")]
    for name in dict.fromkeys(f.law for f in fits):
        blocks.append(_formula(name, next(f for f in fits if f.law == name)))
    roles = list(dict.fromkeys(role for f in fits for role in f.parameters))
    headers = ["fit of", "law", *roles, "run-to-run sd", "runs", "status"]
    rows = [_parameter_row(f, roles) for f in fits]
    tones = ["" if f.status == FitStatus.CONVERGED else "bad" for f in fits]
    blocks += [
        Text("Estimate with its 90 % bootstrap interval. The scale is the excess at the reference compute C_0."),
        Table.of(headers, rows, tones=tones),
    ]
    return blocks


def _formula(name: str, fit: Fit) -> Formula:
    law = LAWS.get(name)
    if law is None:
        return Formula(clean(name), clean(name), "", "", "", "a law this program does not know")
    symbols = ", ".join(f"{p.symbol} is the {p.name}" for p in law.parameters)
    references = ", ".join(f"{k} = {compute(v)}" for k, v in fit.references.items())
    says = f"{law.says}; {symbols}" + (f"; {references} for {fit.subject.label}" if references else "")
    usual = f"Usual form: {law.usual}{_usual_values(fit)}" if law.usual else ""
    metric = clean(fit.subject.metric)
    if law.output is not None:  # an equation: its own symbol stands for the metric
        return Formula(law.name, law.text, law.latex, law.typst, "", f"{says}; {law.output} is the {metric}.", usual)
    return Formula(law.name, law.text, law.latex, law.typst, metric, f"{says}.", usual)


def _usual_values(fit: Fit) -> str:
    """The usual form's constants: a power of C itself, without the reference compute."""
    p, c0 = fit.parameters, fit.references.get("C_0")
    if c0 is None or not {"scale", "exponent"} <= set(p):
        return ""
    factor = number(p["scale"] * c0 ** p["exponent"])
    if fit.law == "power":
        return (f", here ({fit.subject.label}) a = {factor}, b = {number(-p['exponent'])}, c = {number(p['floor'])}, "
                "C in FLOP")  # fmt: skip
    return f", here alpha = {factor}, k = {number(p['exponent'])}, C in FLOP" if fit.law == "neg_log_pass" else ""


def _parameter_row(fit: Fit, roles: Sequence[str]) -> list[str]:
    cells = []
    for role in roles:
        if role not in fit.parameters:
            cells.append(MISSING)
            continue
        low, high = fit.interval(role)
        digits = places(low, high)
        cells.append(f"{fixed(fit.parameters[role], digits)} {span(low, high, digits)}")
    noise = percent(fit.noise) if fit.noise_kind == "log" else significant(fit.noise)
    return [fit.subject.label, fit.law, *cells, noise, str(fit.n_points), str(fit.status)]
