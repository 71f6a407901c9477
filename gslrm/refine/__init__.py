"""Per-scene refinement: gradient steps on one sample's Gaussians, kept only where a camera left out says they help."""

from gslrm.refine.refinement import Refinement, judged_refinement, refine

__all__ = ["Refinement", "judged_refinement", "refine"]
