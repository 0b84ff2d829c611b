"""Numbers that others published, typed in as facts. The data behind them are not shipped: see `data_file`."""

from __future__ import annotations

import os
from pathlib import Path

# Besiroglu et al. (2024), arXiv 2404.10102, on 240 runs read off Hoffmann et al. (2022), figure 4: 245 less the 5
# highest losses. E, A, B, alpha, beta. The printed point is the least-absolute-deviation limit of their objective to
# its digits; the Huber(1e-3) optimum itself was re-derived from the same points.
CHINCHILLA_HUBER_OBJECTIVE = 0.00101827401780
CHINCHILLA_HUBER = (1.817218, 477.83, 2143.42, 0.347311, 0.367172)
CHINCHILLA_LIMIT = (1.8172, 481.93, 2085.0, 0.3478, 0.3658)  # delta 1e-6; printed: 1.8172 482.01 2085.43 .3478 .3658
CHINCHILLA_ERRORS = (0.0257, 124.5, 1293.0, 0.0154, 0.0206)  # standard errors of 4,000 bootstraps
CHINCHILLA_SHARE, CHINCHILLA_SHARE_ERROR = 0.513, 0.020  # beta / (alpha + beta)

# Gadre et al. (2024), arXiv 2403.08540: relative errors of predictions from five models of up to 4.1e8 parameters.
GADRE_LOSS = {"rpj-open_lm_1b-32.0": 0.00710, "rpj-open_lm_7b-1.0": 0.00732}
GADRE_ERROR = {"rpj-open_lm_1b-32.0": 0.0364, "rpj-open_lm_7b-1.0": 0.0005}

# Caballero et al. (2022), arXiv 2210.14891: 3 points past the break from 14 before it.
ADDITION_RMSLE = 0.0109


def data_file(name: str) -> Path | None:
    """A public data set in the folder SCALING_PUBLIC_DATA, else in ../shared/data; None where it is not there."""
    root = Path(os.environ.get("SCALING_PUBLIC_DATA", Path(__file__).parents[3] / "shared" / "data"))
    return root / name if (root / name).exists() else None
