"""What to change, found by estimating again with each change."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gslrm.config import Config
from gslrm.doctor.changes import EFFECTS, SAME, Change, changed, luxuries, savings
from gslrm.doctor.estimate import SHOWN, Estimate, estimate
from gslrm.doctor.finding import gib
from gslrm.errors import UserError

WORTH = 0.01  # share of the memory below which a change is not worth telling
WORTH_TIME = 0.03  # share of the time
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suggestion:
    """A change with what it saves and costs."""

    change: Change
    saved_bytes: int
    """Negative where it takes more."""
    time_ratio: float
    """Seconds of a sample with it, by those without."""

    def __str__(self) -> str:
        saved = f"saves {gib(self.saved_bytes)}" if self.saved_bytes >= 0 else f"takes {gib(-self.saved_bytes)} more"
        percent = round(100 * (self.time_ratio - 1))
        time = f"costs about {percent} % time" if percent > 0 else f"saves about {-percent} % time"
        remarks = [
            saved,
            time if percent else "",
            "" if self.change.effect == SAME else f"changes {self.change.effect}",
        ]
        return f"{self.change}  " + ", ".join(remark for remark in [*remarks, self.change.remark] if remark)


@dataclass(frozen=True)
class Advice:
    """Suggestions in the order in which to follow them."""

    suggestions: tuple[Suggestion, ...]
    followed: tuple[int, ...] = ()
    """Which of them to follow together, until it fits or none is left; counted from 0."""
    result: Estimate | None = None
    """With those followed; none where it fits already."""


def advise(config: Config, now: Estimate, *, shown: float = SHOWN) -> Advice:
    """What saves memory where a configuration does not fit; what saves time where it does."""
    logger.info("estimating again with every change that may help, a second or two for each")
    if now.fits and not now.is_close:
        return Advice(tuple(_faster(config, now, shown=shown)))
    suggestions = _smaller(config, now, shown=shown)
    if now.fits:
        return Advice(tuple(suggestions))
    return _follow(config, suggestions, now, shown=shown)


def _smaller(config: Config, now: Estimate, *, shown: float) -> list[Suggestion]:
    """One suggestion per key; least effect first, then least time for what is saved."""
    tried = _try(config, savings(config, amp=now.target.amp), now, shown=shown)
    by_keys: dict[frozenset[str], list[Suggestion]] = {}
    for suggestion in tried:
        if suggestion.saved_bytes > WORTH * now.taken:
            by_keys.setdefault(frozenset(suggestion.change.values), []).append(suggestion)
    chosen = [_least_that_fits(suggestions, now) for suggestions in by_keys.values()]
    return sorted(chosen, key=lambda found: (EFFECTS.index(found.change.effect), _price(found), -found.saved_bytes))


def _least_that_fits(suggestions: list[Suggestion], now: Estimate) -> Suggestion:
    """Of several values of one key the mildest that is enough, or the one that saves most."""
    enough = [found for found in suggestions if now.spare + found.saved_bytes >= 0]
    return min(enough or suggestions, key=lambda found: found.saved_bytes if enough else -found.saved_bytes)


def _price(suggestion: Suggestion) -> float:
    """Share of time for each byte that is saved; none for what time does not show."""
    return max(0.0, suggestion.time_ratio - 1) / suggestion.saved_bytes


def _faster(config: Config, now: Estimate, *, shown: float) -> list[Suggestion]:
    """What still fits, most time saved first; one suggestion per key."""
    tried = _try(config, luxuries(config), now, shown=shown)
    worth = [found for found in tried if found.time_ratio < 1 - WORTH_TIME and now.spare + found.saved_bytes >= 0]
    best: dict[frozenset[str], Suggestion] = {}
    for suggestion in sorted(worth, key=lambda found: found.time_ratio):
        best.setdefault(frozenset(suggestion.change.values), suggestion)
    return list(best.values())


def _try(config: Config, changes: Iterable[Change], now: Estimate, *, shown: float) -> Iterator[Suggestion]:
    for change in changes:
        other = changed(config, change)
        if other is None:
            continue
        try:
            then = estimate(other, now.target, shown=shown)
        except UserError:  # a package for it is missing here
            continue
        yield Suggestion(change, now.taken - then.taken, then.sample_seconds / now.sample_seconds)


def _follow(config: Config, suggestions: list[Suggestion], now: Estimate, *, shown: float) -> Advice:
    """Follow one suggestion after the other until it fits."""
    result, followed = now, []
    for index, suggestion in enumerate(suggestions):
        further = changed(config, suggestion.change)
        if further is None:  # two ways to the same end
            continue
        config, result = further, estimate(further, now.target, shown=shown)
        followed.append(index)
        if result.fits:
            break
    return Advice(tuple(suggestions), tuple(followed), result)
