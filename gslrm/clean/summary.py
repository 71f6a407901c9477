"""What cleaning did to all samples of a run, in words."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gslrm.errors import UserError
from gslrm.metrics import average

Report = Mapping[str, Any]


def read_reports(root: Path) -> list[Report]:
    """The `clean.json` of every sample in an output folder of inference.

    Raises:
        UserError: one of them is damaged.
    """
    reports = []
    for path in sorted(root.glob("*/clean.json")):
        try:
            reports.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); let --redo make the sample again") from error
    return reports


def cleaning_text(reports: Sequence[Report]) -> str:
    """How many Gaussians stay, and what that costs at the views that were given and at the others, as means.

    `reports` are those of `clean_reconstruction`, at least one.
    """
    before = sum(report["steps"][0]["before"] for report in reports)
    after = sum(report["steps"][-1]["after"] for report in reports)
    lines = [f"{after} of {before} Gaussians stay ({after / before:.1%}) in {len(reports)} samples"]
    for kind in ("input", "heldout"):
        scored = [report["cost"][kind] for report in reports if kind in report["cost"]]
        if scored:
            changes = average([{name: values["change"] for name, values in scores.items()} for scores in scored])
            told = (f"{name} {change:+.{3 if name == 'mask_iou' else 2}f}" for name, change in changes.items())
            lines.append(f"{kind} views: {', '.join(told)}")
    return "\n".join(lines)
