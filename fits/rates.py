"""How often each verdict errs, by number of compute scales: measured on simulated worlds, read from a table.

`python benchmarks/verdicts.py` writes the table; its worlds and its noise stand in it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from scaling.records import parse
from scaling.verdicts import Verdict

TABLE = Path(__file__).parent / "verdict_rates.json"


def rated(found: Verdict) -> Verdict:
    """The verdict with its false-alarm rate and power at the largest tabulated number of scales that it has."""
    table = _table()
    about = table.get("verdicts", {}).get(found.name)
    known = [row for row in about["rates"] if row["points"] <= found.points] if about else []
    if not known:
        return found
    row = known[-1]
    at = f"at {row['points']} scales, {table['noise']}: {about['false_alarm_in']}; {about['power_in']}"
    return replace(
        found,
        false_alarm=row["false_alarm"],
        power=row["power"],
        simulations=table["simulations"],
        measured=at,
    )


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return parse(TABLE.read_bytes(), what=TABLE.name) if TABLE.exists() else {}
