"""Many samples to reconstructions on disk: read ahead, batched, written behind, resumable."""

from gslrm.inference.folder import OutputFolder
from gslrm.inference.loop import Pace, Summary, reconstruct_samples
from gslrm.inference.recording import SharedPlacements, share_placements
from gslrm.inference.samples import choose_samples
from gslrm.inference.task import Task, describe_settings

__all__ = [
    "OutputFolder",
    "Pace",
    "SharedPlacements",
    "Summary",
    "Task",
    "choose_samples",
    "describe_settings",
    "reconstruct_samples",
    "share_placements",
]
