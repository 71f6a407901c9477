"""An estimate and its advice as lines of text."""

from collections.abc import Iterator

from gslrm.doctor.advice import Advice
from gslrm.doctor.estimate import Estimate
from gslrm.doctor.finding import gib

WIDTH = 34
LITTLE = 2**20  # bytes below which a part is not shown


def describe(estimate: Estimate, *, shown: float | None) -> Iterator[str]:
    """What a configuration takes, part by part; `shown` is told where it counts."""
    rehearsal, target = estimate.rehearsal, estimate.target
    yield _line("parameters", f"{rehearsal.parameters:,}, of which {rehearsal.trained:,} are trained")
    yield _line("per sample", f"{estimate.tokens:,} tokens, {rehearsal.gaussians:,} Gaussians")
    if shown is not None:
        yield _line("assumed", f"{shown:.0%} of the patches and pixels show the object (--shown)")
    yield f"\nmemory on {target.name} at the peak of a pass in {target.amp}, {_kind(estimate)}"
    for label, size in rehearsal.bytes_at_peak.items():
        if size >= LITTLE:
            yield _line(f"  {label}", _column(size))
    yield _line("  all that lives", _column(rehearsal.peak))
    yield _line(f"  kept by the allocator, {target.retained:.0%}", _column(round(target.retained * rehearsal.peak)))
    yield _line("  process and libraries", _column(target.base))
    yield _line("  together", f"{_column(estimate.taken)} of {gib(target.memory)}: {verdict(estimate)}")
    if rehearsal.host_bytes:
        yield _line("  besides, in the host's memory", _column(rehearsal.host_bytes))
    yield f"\ntime, {target.speed.origin}"
    parts = {
        f"{rehearsal.flops / 1e12:.2f} TFLOP in products": estimate.matrix_seconds,
        f"{rehearsal.moved_bytes / 1e9:.1f} GB moved": estimate.elementwise_seconds,
        f"{rehearsal.splat_views / 1e6:.2f} M Gaussian-views drawn": estimate.rendering_seconds,
        "updates of the weights": estimate.update_seconds,
    }
    for name, seconds in parts.items():
        yield _line(f"  {name}", f"{seconds:8.3f} s")
    yield _line("  a pass, without loading data", f"{estimate.pass_seconds:8.3f} s")
    yield _line(f"  {estimate.passes:,} passes", duration(estimate.run_seconds))


def describe_reconstruction(estimate: Estimate) -> Iterator[str]:
    """What inference takes, in one line."""
    seconds = estimate.matrix_seconds + estimate.elementwise_seconds
    yield f"\nreconstructing one sample, without training: {gib(estimate.taken)}, {seconds:.2f} s in the network"


def recommend(advice: Advice, now: Estimate) -> Iterator[str]:
    """What to change, in order."""
    if not advice.suggestions:
        yield "\nnothing to change: no setting tried is faster" if now.fits else "\nno setting tried saves memory"
        return
    if now.fits and not now.is_close:
        yield "\nthere is room to be faster"
    else:
        yield "\nwhat saves memory, in the order in which to try it (each by itself)"
    for number, suggestion in enumerate(advice.suggestions, start=1):
        yield f"  {number}. {suggestion}"
    if advice.result is not None and advice.followed:
        *numbers, last = (str(index + 1) for index in advice.followed)
        which = f"{', '.join(numbers)} and {last} together" if numbers else last
        fits = f"fits, {gib(advice.result.spare)} to spare" if advice.result.fits else "still does not fit"
        yield f"with {which} it takes {gib(advice.result.taken)} and {fits}"


def verdict(estimate: Estimate) -> str:
    """Whether it fits, and by how much."""
    if not estimate.fits:
        return f"DOES NOT FIT, {gib(-estimate.spare)} too much"
    close = ", which is less than the estimate may err" if estimate.is_close else ""
    return f"fits, {gib(estimate.spare)} to spare{close}"


def duration(seconds: float) -> str:
    """Time for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def _kind(estimate: Estimate) -> str:
    return "computed; no GPU was measured" if estimate.target.is_card else "computed"


def _line(name: str, value: str) -> str:
    return f"{name:<{WIDTH}} {value}"


def _column(size: int) -> str:
    return f"{size / 2**30:8.2f} GiB"
