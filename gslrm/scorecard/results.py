"""All that was measured of one checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gslrm.evaluation.scoring import MODEL, Scores, ViewScore
from gslrm.evaluation.summary import summarise
from gslrm.metrics import average
from gslrm.scorecard.settings import EVERYTHING, Setting

HEADLINE = "psnr_crop"


@dataclass(frozen=True)
class Results:
    """Scores of held-out views by setting; every setting's samples are among those of the first."""

    settings: Sequence[Setting]
    scores: Mapping[str, Sequence[ViewScore]]
    seconds: Mapping[str, Any]
    unit: float
    """Millimetres of one unit of the samples' worlds."""

    @property
    def whole(self) -> Sequence[ViewScore]:
        """Scores with all views and no error."""
        return self.scores[EVERYTHING]

    def means(self, name: str, method: str = MODEL) -> Scores:
        """Means of a setting over views, then samples; depth in millimetres."""
        return self.mean_of(self.scores[name], method)

    def mean_of(self, scores: Sequence[ViewScore], method: str = MODEL) -> Scores:
        """Means of held-out views, then samples, depth in millimetres; empty if no view has the method."""
        found = summarise(scores).get("heldout", {}).get(method, {})
        return found | ({"depth_error": self.unit * found["depth_error"]} if "depth_error" in found else {})

    def on_the_same_samples(self, name: str) -> Sequence[ViewScore]:
        """Scores with all views and no error, of the samples that a setting was measured on."""
        samples = {score.directory for score in self.scores[name]}
        return [score for score in self.whole if score.directory in samples]

    def drop(self, name: str) -> float:
        """What a setting costs in psnr_crop, dB, on its own samples."""
        return self.mean_of(self.on_the_same_samples(name))[HEADLINE] - self.means(name)[HEADLINE]

    def left_out(self) -> list[Setting]:
        """The settings in which one camera is missing."""
        return [setting for setting in self.settings if setting.left_out is not None]

    def refined(self) -> list[Setting]:
        """The settings with gradient steps on each sample."""
        return [setting for setting in self.settings if setting.refine]

    def numbers_of_views(self) -> list[tuple[int, str]]:
        """Numbers of input views with the settings that give so many, but for those that leave a certain one out."""
        fewer = [(setting.views, setting.name) for setting in self.settings if setting.views is not None]
        return [(len(self.left_out()), EVERYTHING), *fewer]

    def mean_without_one(self) -> Scores:
        """Means over the cameras that are left out in turn."""
        return average([self.means(setting.name) for setting in self.left_out()])

    def greatest_change(self, before: str, after: str) -> float:
        """The largest difference of any view's psnr_crop between two settings, dB."""
        known = {(score.directory, score.view): score.model for score in self.scores[before]}
        pairs = [(score.model, known[score.directory, score.view]) for score in self.scores[after]]
        return max((abs(after[HEADLINE] - first[HEADLINE]) for after, first in pairs if HEADLINE in after), default=0.0)

    def samples_by_score(self) -> list[str]:
        """Directories of all samples, that of the lowest psnr_crop first."""
        directories = list(dict.fromkeys(score.directory for score in self.whole))
        return sorted(directories, key=lambda directory: self.of_sample(directory).get(HEADLINE, 0.0))

    def of_sample(self, directory: str, method: str = MODEL) -> Scores:
        """Means over the views of one sample."""
        return self.mean_of([score for score in self.whole if score.directory == directory], method)
