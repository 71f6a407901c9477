"""Figures against limits: sentences that say why a sample fails, or what to look at."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gslrm.proof.limits import REFERENCE_WIDTH, Limits
from gslrm.proof.quality import Quality

HULL_ALONE = 3.0  # times its limit: where the hull test needs no second witness; cut tails stay far below
LEAST_SEEN = 2  # views that show the animal, without which nothing can be compared


@dataclass(frozen=True)
class ViewFigures:
    """What was measured of one view; pixels are the view's own, NaN where nothing can be measured.

    `tangent`, `swing`, `others`: median tangent error of the view, its error against all others, and the median among
    the others. `hull`: mean miss of its body's outline. `lacking`, `excess`: shares of outline that speak for a mask
    with a missing or an additional part. `keypoint`: median reprojection error.
    """

    name: str
    tangent: float
    swing: float
    others: float
    hull: float
    lacking: float
    excess: float
    keypoint: float
    quality: Quality


@dataclass(frozen=True)
class Figures:
    """What was measured of one sample; `width` is that of its pictures, to which `tangent` and `hull` (px) belong."""

    views: tuple[ViewFigures, ...]
    tangent: float
    hull: float
    width: float

    @property
    def empty(self) -> list[str]:
        """Names of the views that show nothing."""
        return [view.name for view in self.views if view.quality.share == 0]


@dataclass(frozen=True)
class Verdict:
    """Why a sample fails, and what is odd but tolerable.

    `disagrees` tells that the views as a whole do not belong together; `suspects` are the views that disagree alone.
    """

    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    disagrees: bool
    suspects: tuple[int, ...]


def judge(figures: Figures, limits: Limits) -> Verdict:
    """Hold figures against limits."""
    scale = figures.width / REFERENCE_WIDTH
    seen = len(figures.views) - len(figures.empty)
    reasons = list(_emptiness(figures, limits))
    disagrees = seen >= LEAST_SEEN and _disagrees(figures, limits, scale)
    suspects = [] if disagrees else [index for index in range(len(figures.views)) if _is_off(figures, index, limits)]
    disagrees |= not suspects and figures.hull > HULL_ALONE * limits.hull * scale
    if disagrees:
        reasons.append(
            f"the silhouettes of the views disagree: tangents of pairs by {figures.tangent:.1f} px (limit "
            f"{limits.tangent * scale:.1f}), rays miss by {figures.hull:.1f} px (limit {limits.hull * scale:.1f})"
        )
    for index in suspects:
        reasons.append(_suspicion(figures.views[index], limits, scale))
    warnings: list[str] = []
    for view in figures.views:
        if view.quality.share > 0:
            reasons.extend(_view_reasons(view, figures, limits, scale))
            if not disagrees and not suspects:  # wrong cameras make every mask look wrong
                reasons.extend(_mask_reasons(view, limits))
                warnings.extend(_mask_warnings(view, limits))
    return Verdict(tuple(reasons), tuple(warnings), disagrees, tuple(suspects))


def severity(figures: Figures, limits: Limits) -> float:
    """How far the geometry is from its limits: 1 at the limit; the worst of the sample, 0 if nothing was measured."""
    scale = figures.width / REFERENCE_WIDTH
    both = min(figures.tangent / (limits.tangent * scale), figures.hull / (limits.hull * scale))
    ratios = [both, figures.hull / (HULL_ALONE * limits.hull * scale)]
    ratios += [view.swing / _swing_limit(view, limits, scale) for view in figures.views]
    ratios += [view.keypoint / (limits.keypoint * scale) for view in figures.views]
    return max((ratio for ratio in ratios if math.isfinite(ratio)), default=0.0)


def _emptiness(figures: Figures, limits: Limits) -> Iterator[str]:
    empty = figures.empty
    if len(empty) > limits.empty_views:
        yield f"{', '.join(empty)}: the mask is empty (allowed: {limits.empty_views} views)"
    if len(figures.views) - len(empty) < LEAST_SEEN:
        yield "fewer than two views show the animal, so nothing proves that cameras and pictures belong together"


def _disagrees(figures: Figures, limits: Limits, scale: float) -> bool:
    """Both tests must speak: tangents suffer from cut tails, hulls from nothing but are blunt."""
    no_tangents = math.isnan(figures.tangent)
    return figures.hull > limits.hull * scale and (no_tangents or figures.tangent > limits.tangent * scale)


def _is_off(figures: Figures, index: int, limits: Limits) -> bool:
    view, scale = figures.views[index], figures.width / REFERENCE_WIDTH
    if view.quality.share > 0 and math.isnan(view.swing):  # such as a camera in the midst of the others' rays
        return figures.hull > limits.hull * scale
    worst = max((other.swing for other in figures.views if not math.isnan(other.swing)), default=0.0)
    # a camera that is off drags its partners along a little
    return view.swing > max(_swing_limit(view, limits, scale), 0.5 * worst)


def _swing_limit(view: ViewFigures, limits: Limits, scale: float) -> float:
    noise = 0.0 if math.isnan(view.others) else view.others
    return max(limits.swing * scale, limits.swing_noise * noise)


def _suspicion(view: ViewFigures, limits: Limits, scale: float) -> str:
    if math.isnan(view.swing):
        return f"{view.name} shares no tangent plane with the other views, and rays miss by {view.hull:.1f} px"
    limit = _swing_limit(view, limits, scale)
    return f"{view.name} disagrees with the other views by {view.swing:.1f} px (limit {limit:.1f})"


def _view_reasons(view: ViewFigures, figures: Figures, limits: Limits, scale: float) -> Iterator[str]:
    name, found = view.name, view.quality
    if view.keypoint > limits.keypoint * scale:
        yield f"{name}: keypoints reproject {view.keypoint:.1f} px off (limit {limits.keypoint * scale:.1f})"
    if not limits.smallest_share <= found.share <= limits.largest_share:
        low, high = limits.smallest_share, limits.largest_share
        yield f"{name}: {found.share:.2%} of the picture is foreground (limits {low:.1%} to {high:.0%})"
    if found.clipped > limits.clipped:
        yield f"{name}: {found.clipped:.0%} of the outline is cut by the picture's border (limit {limits.clipped:.0%})"
    if found.sharpness < limits.sharpness:
        yield f"{name}: is blurred (sharpness {found.sharpness:.2f}, limit {limits.sharpness:.2f})"
    if found.saturated > limits.saturated:
        yield f"{name}: {found.saturated:.0%} of the animal is overexposed (limit {limits.saturated:.0%})"
    ratio = exposure_ratio(view, figures)
    if not 1 / limits.exposure <= ratio <= limits.exposure:
        yield f"{name}: is {ratio:.2g} times as bright as the median camera (limit {limits.exposure:.2g} either way)"


def exposure_ratio(view: ViewFigures, figures: Figures) -> float:
    """Brightness inside the mask over the median view's; 1 where it is not known."""
    brightness = [other.quality.exposure for other in figures.views if other.quality.share > 0]
    middle = float(np.median(brightness)) if brightness else math.nan
    ratio = (view.quality.exposure + 0.01) / (middle + 0.01)  # black on black is no difference in exposure
    return 1.0 if math.isnan(ratio) else ratio


def _mask_reasons(view: ViewFigures, limits: Limits) -> Iterator[str]:
    if view.lacking > limits.lacking:
        share, limit = f"{view.lacking:.0%}", f"{limits.lacking:.0%}"
        yield f"{view.name}: its mask lacks {share} of what the other views outline (limit {limit})"
    if view.excess > limits.excess:
        yield f"{view.name}: other views deny {view.excess:.0%} of its mask's outline (limit {limits.excess:.0%})"


def _mask_warnings(view: ViewFigures, limits: Limits) -> Iterator[str]:
    if limits.mask_warning < view.lacking <= limits.lacking:
        yield f"{view.name}: its mask lacks {view.lacking:.0%} of what the other views outline, such as a tail"
    if limits.mask_warning < view.excess <= limits.excess:
        share = f"{view.excess:.0%}"
        yield f"{view.name}: other views deny {share} of its mask's outline, which has a part too much or they too few"
