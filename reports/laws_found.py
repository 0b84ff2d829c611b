"""What the fits found: the laws as formulas, parameters with intervals, and what is hard to predict and why."""

from __future__ import annotations

from collections.abc import Sequence

from reports.blocks import Block, Bullets, Formula, Heading, Table, Text
from reports.inputs import ReportInput, order_of
from reports.methods import MIXED, mixed_kinds
from reports.text import MISSING, clean, compute, fixed, listed, number, percent, places, significant, span, times
from scaling.fitted import Fit, FitStatus, Forecast, Grade
from scaling.laws import LAWS
from scaling.names import law_of, name_of


def hard_blocks(report: ReportInput) -> list[Block]:
    """Every subject with its verdict, and the reason where the forecast is not earned."""
    pairs = _pairs(report)
    names = [_name(report, fit, forecast) for fit, forecast in pairs]
    said = [_said(report, fit, forecast) for fit, forecast in pairs]
    shared = [t for t in (said[0] if said else []) if len(said) > 1 and all(t in other for other in said)]
    rows, tones = [], []
    factors = {_tested(fit, forecast) for fit, forecast in pairs}
    for name, (fit, forecast), remarks in zip(names, pairs, said, strict=True):
        grade = str(forecast.grade) if forecast else MISSING
        reasons = _reasons(fit, [t for t in remarks if t not in shared], grade)
        law = forecast.law if forecast else fit.law if fit else MISSING
        tested = [times(_tested(fit, forecast))] if len(factors) > 1 else []
        rows.append([name, clean(law), clean(fit.verdict) if fit else MISSING, *tested, grade, reasons or "none"])
        unsure = fit is not None and fit.status != FitStatus.CONVERGED
        tones.append("bad" if grade in ("REFUSED", "UNEARNED") or unsure else "")
    if not rows:
        return []
    hard = [r[0] for r, tone in zip(rows, tones, strict=True) if tone]
    text = f"Not earned, or not well determined: {listed(hard)}." if hard else "No forecast was refused."
    apart = ["back-tested to"] if len(factors) > 1 else []
    headers = ["what", "law", "verdict", *apart, "grade", "what speaks against it"]
    same = next(iter(factors))
    text += f" Every one was back-tested to {times(same)}." if not apart and same else ""
    explained = mixed_kinds(forecast.law for _, forecast in pairs if forecast)
    statuses = dict.fromkeys(fit.status for fit, _ in pairs if fit and fit.status != FitStatus.CONVERGED)
    explained += [f"{status}: {status.says}." for status in statuses]
    return [
        Heading("What is hard to predict, and why", "hard"),
        Text(" ".join([text, *explained])),
        *([Text("Of every forecast here:"), Bullets(tuple(shared))] if shared else []),
        Table.of(headers, rows, tones=tones, wide=[len(headers) - 1]),
    ]


def _tested(fit: Fit | None, forecast: Forecast | None) -> float | None:
    return forecast.earned_factor if forecast else fit.earned_factor if fit else None


def _pairs(report: ReportInput) -> list[tuple[Fit | None, Forecast | None]]:
    """Every forecast with its question's fit, and the fits without one, in reading order."""
    made: list[tuple[Fit | None, Forecast | None]] = [(report.fit_of(f), f) for f in report.forecasts]
    used = {id(fit) for fit, _ in made}
    made += [(fit, None) for fit in report.fits if id(fit) not in used]
    return sorted(made, key=lambda pair: order_of((pair[1] or pair[0]).subject))  # type: ignore[union-attr]


def _name(report: ReportInput, fit: Fit | None, forecast: Forecast | None) -> str:
    name = name_of(forecast, report.forecasts) if forecast else name_of(fit, report.fits) if fit else MISSING
    return clean(name)


def _said(report: ReportInput, fit: Fit | None, forecast: Forecast | None) -> list[str]:
    """What the forecast and the fit themselves remark. Gates by their number in the table that tells of them."""
    remarks = []
    for text in (*(forecast.warnings if forecast else ()), *(fit.notes if fit else ())):
        for at, gate in enumerate(report.known_gates, 1):
            if text.startswith((f"gate {gate.name}:", f"refused: gate {gate.name} ")):
                text = f"{'refused: ' * text.startswith('refused')}gate {at} {gate.state}"
        remarks.append(clean(text).rstrip("."))
    return remarks


def _reasons(fit: Fit | None, remarks: Sequence[str], grade: str) -> str:
    found = [str(fit.status)] if fit and fit.status != FitStatus.CONVERGED else []
    if grade in (Grade.REFUSED, Grade.UNEARNED):
        found.append("the forecast is not earned by back-tests")
    found += [t for t in remarks if not fit or fit.status.says not in t or not found]
    return "; ".join(dict.fromkeys(found))


def parameter_blocks(report: ReportInput) -> list[Block]:
    """The laws as formulas, then every fit's parameters with 90 % intervals."""
    fits = sorted(report.fits, key=lambda f: order_of(f.subject))
    if not fits:
        return []
    blocks: list[Block] = [Heading("Laws and parameters", "parameters"), *_mixed(report)]
    for name in dict.fromkeys(f.law for f in fits):
        blocks.append(_formula(name, next(f for f in fits if f.law == name)))
    roles = list(dict.fromkeys(role for f in fits for role in f.parameters))
    headers = ["fit of", "law", *roles, "run-to-run sd", "runs", "status"]
    rows = [_parameter_row(f, roles) for f in fits]
    tones = ["" if f.status == FitStatus.CONVERGED else "bad" for f in fits]
    how = "; ".join(dict.fromkeys(clean(f.method) for f in fits))
    blocks += [
        Text(
            f"Estimate, with the central 90 % of its draws ({how}). The scale is the excess at the reference compute "
            "C_0."
        ),
        Table.of(headers, rows, tones=tones),
    ]
    return blocks


def _mixed(report: ReportInput) -> list[Block]:
    """What the forecasts that are not of one law are, and of what the headline ones consist."""
    kinds = mixed_kinds(c.law for c in report.claims)
    if not kinds:
        return []
    own = [c for c in report.shown_headlines if not law_of(c.law)]
    made = [f"{clean(name_of(c, report.claims))}: {clean(c.method)}." for c in own]
    text = f"{' '.join(kinds)} The laws that they are made from stand below."
    return [Text(text), *([Bullets(tuple(made))] if made else [])]


def _formula(name: str, fit: Fit) -> Formula:
    law = LAWS.get(name)
    if law is None:
        return Formula(clean(name), clean(name), "", "", "", MIXED.get(name, "a law this program does not know"))
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
    return [clean(fit.subject.label), clean(fit.law), *cells, noise, str(fit.n_points), str(fit.status)]
