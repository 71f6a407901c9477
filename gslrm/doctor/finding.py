"""One line of the doctor's report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """With a `cure` it is a fault that must be repaired, with a `hint` it may be."""

    name: str
    value: str
    cure: str = ""
    hint: str = ""


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.2f} GiB" if abs(size) < 10 * 2**30 else f"{size / 2**30:.1f} GiB"
