"""The frames of one recording placed together instead of each by its own masks."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gslrm import cli
from gslrm.data.placement import Placement
from gslrm.data.sample import read_sample
from gslrm.errors import UserError
from gslrm.inference.samples import input_digest
from gslrm.inference.threads import ahead
from gslrm.motion.placements import rebased, smooth_placements
from gslrm.motion.recording import frame_numbers, ways_to_one_world
from gslrm.reconstruct import Reconstructor, choose_inputs
from gslrm.similarity import Similarity

Alone = tuple[Placement, Similarity | None]  # with how the sample's world follows from the recording's
IDENTITY = Similarity.identity()


@dataclass(frozen=True)
class SharedPlacements:
    """How the frames of a recording are placed: one scale, common axes, centres smoothed over `reach` frames a side."""

    reach: int
    frames: str
    """A digest of all samples that took part: each one's placement depends on the others."""
    found: Mapping[Path, Placement | UserError]

    def of(self, directory: Path) -> Placement:
        """A sample's placement in its own world.

        Raises:
            UserError: the sample cannot be read, or does not show where its object is.
        """
        found = self.found[directory]
        if isinstance(found, UserError):
            raise found
        return found


def share_placements(
    reconstructor: Reconstructor, samples: Sequence[Path], *, input_views: str | None, reach: int, workers: int
) -> SharedPlacements:
    """Look at the input masks of all samples, and place them together; those that cannot be placed stay out.

    Args:
        reconstructor: says how samples are read and placed.
        samples: directories of all frames, those that are complete already too.
        input_views: as a user writes them.
        reach: see `gslrm.motion.placements.smooth_placements`.
        workers: threads that read.

    Raises:
        UserError: some samples know how they lie in the recording's world and others do not.
    """
    look = partial(_place_alone, reconstructor, input_views)
    with closing(ahead(look, samples, workers=workers, limit=1 + 2 * workers)) as looking:
        alone = dict(cli.track(looking, "placing", total=len(samples)))
    placed = {directory: seen for directory, seen in alone.items() if not isinstance(seen, UserError)}
    failed = {directory: seen for directory, seen in alone.items() if isinstance(seen, UserError)}
    return SharedPlacements(reach, _digest(placed), _together(placed, reach) | failed)


def _place_alone(reconstructor: Reconstructor, input_views: str | None, directory: Path) -> Alone:
    sample = read_sample(directory)
    inputs = choose_inputs(reconstructor.config, sample, input_views)
    return reconstructor.find_placement(sample, inputs), sample.world_from_source


def _together(alone: Mapping[Path, Alone], reach: int) -> dict[Path, Placement | UserError]:
    """Smoothed in the recording's world, returned in each sample's own."""
    if not alone:
        return {}
    names, worlds = [directory.name for directory in alone], [world for _, world in alone.values()]
    numbers = dict(zip(alone, frame_numbers(names), strict=True))
    ways = dict(zip(alone, ways_to_one_world(names, worlds), strict=True))
    order = sorted(alone, key=numbers.__getitem__)
    shared = [rebased(alone[directory][0], ways[directory] or IDENTITY) for directory in order]
    smooth = smooth_placements(shared, [float(numbers[directory]) for directory in order], reach=reach)
    return {
        directory: rebased(placement, (ways[directory] or IDENTITY).inverse())
        for directory, placement in zip(order, smooth, strict=True)
    }


def _digest(samples: Iterable[Path]) -> str:
    words = sorted(f"{directory.name} {input_digest(directory)}" for directory in samples)
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
