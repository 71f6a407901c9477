"""Proof that the cameras, pictures and masks of a sample belong together, in pixels, with the likely cause if not."""

from gslrm.proof.limits import Limits
from gslrm.proof.prove import Proof, prove

__all__ = ["Limits", "Proof", "prove"]
