"""Gaussians over time: a recording's frames as one sequence, steadied, measured, shown."""

from gslrm.motion.sequence import Frame, FrameCamera, GaussianSequence, read_sequence, write_sequence

__all__ = ["Frame", "FrameCamera", "GaussianSequence", "read_sequence", "write_sequence"]
