"""Everything measured as tables of text, for documents as for pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gslrm.evaluation.scoring import MODEL, Scores
from gslrm.evaluation.summary import intervals, per_camera
from gslrm.scorecard.marks import marks_of
from gslrm.scorecard.results import HEADLINE, Results
from gslrm.scorecard.seconds import PARTS
from gslrm.scorecard.settings import EVERYTHING, FLOAT32, HULL, PERMUTED, PERMUTED_FLOAT32

COLUMNS = {"psnr_crop": "psnr_crop", "mask_iou": "IoU", "psnr_fg": "psnr_fg", "ssim_crop": "ssim_crop"}
DEPTH = {"depth_error": "depth, mm"}
BELOW_ONE = {"mask_iou", "ssim_crop"}
METHODS = {
    "white": "white paper",
    "mean_colour": "one mean colour",
    "nearest_input": "nearest input picture",
    HULL: "coloured visual hull",
    MODEL: "**this model**",
}
PART_NAMES = {
    "read": "reading the input pictures",
    "normalise": "placing and resampling them",
    "hull": "marching the hull",
    "network": "network",
    "render": "one picture at the size of the held-out views",
}


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; the first cell of a row names it."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """The table under its title, as documents hold it."""
        lines = [f"### {self.title}", "", _row(self.headers), "|---" * len(self.headers) + "|"]
        lines += [_row(row) for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


def all_tables(results: Results) -> dict[str, Table]:
    """Every table by its name in the report."""
    refined = {"refined": refined_table(results)} if results.refined() else {}
    return {
        "marks": marks_table(results),
        "methods": methods_table(results),
        **refined,
        "views": views_table(results),
        "left_out": left_out_table(results),
        "errors": errors_table(results),
        "cameras": cameras_table(results),
        "samples": samples_table(results),
        "seconds": seconds_table(results),
    }


def marks_table(results: Results) -> Table:
    """What was asked for and what was found."""
    rows = []
    for mark in marks_of(results):
        bound = f"{'at least' if mark.at_least else 'at most'} {mark.bound:g}"
        rows.append((mark.label, f"{mark.found:.{mark.digits}f}", bound, "yes" if mark.is_met else "**no**"))
    return Table("What it is held to", ("", "found", "asked for", "met"), tuple(rows))


def methods_table(results: Results) -> Table:
    """The model beside what needs none."""
    columns = COLUMNS | DEPTH
    present = [method for method in METHODS if results.means(EVERYTHING, method)]
    rows = [(METHODS[method], *figures(results.means(EVERYTHING, method), columns)) for method in present]
    spans = intervals(results.whole).get("heldout", {}).get(MODEL, {})
    if spans:
        rows.append(("its 95 % interval", *(_span(spans.get(name), name, results.unit) for name in columns)))
    count = len(results.samples_by_score())
    views = len({score.view for score in results.whole})
    note = f"Means over {views} held-out cameras, then {count} samples; intervals are bootstraps over samples."
    return Table("At cameras it was not given", ("", *columns.values()), tuple(rows), note)


def refined_table(results: Results) -> Table:
    """The model and steps from its prediction, all on the samples that were refined."""
    columns, refined = COLUMNS | DEPTH, results.refined()
    same = results.on_the_same_samples(refined[0].name)
    rows = [("as predicted", *figures(results.mean_of(same), columns))]
    rows += [(setting.label, *figures(results.means(setting.name), columns)) for setting in refined]
    count = len({score.directory for score in same})
    return Table("Refined", ("", *columns.values()), tuple(rows), f"Means over the same {count} samples in every row.")


def views_table(results: Results) -> Table:
    """Fewer and fewer input views, the cameras compared being the same."""
    columns = COLUMNS | DEPTH
    total = len(results.left_out())
    whole, fewer = results.means(EVERYTHING), results.mean_without_one()
    rows = [(f"{total}", *figures(whole, columns), "")]
    loss = sum(results.drop(setting.name) for setting in results.left_out()) / total
    rows.append((f"{total - 1}, each camera left out in turn", *figures(fewer, columns), f"{loss:.2f}"))
    for setting in (setting for setting in results.settings if setting.views is not None):
        means = results.means(setting.name)
        label = f"{setting.views}, as far apart as they can be"
        rows.append((label, *figures(means, columns), f"{results.drop(setting.name):.2f}"))
    exact = results.greatest_change(FLOAT32, PERMUTED_FLOAT32)
    rounded = results.greatest_change(EVERYTHING, PERMUTED)
    note = (
        f"Giving the views in another order changes the psnr_crop of no picture by more than {exact:.2g} dB in "
        f"float32, {rounded:.2g} dB in {results.seconds['precision']}, in which the network runs."
    )
    return Table("Fewer views", ("views given", *columns.values(), "loss, dB"), tuple(rows), _with_scope(note, results))


def left_out_table(results: Results) -> Table:
    """What each input camera is worth."""
    columns = COLUMNS | DEPTH
    rows = []
    for setting in results.left_out():
        assert setting.left_out is not None
        view = missing_view(results, setting.name)
        drop = f"{results.drop(setting.name):.2f}"
        rows.append((f"without view {view}", *figures(results.means(setting.name), columns), drop))
    return Table("Each single camera left out", ("", *columns.values(), "loss, dB"), tuple(rows))


def missing_view(results: Results, name: str) -> int:
    """The number of the input view that a setting leaves out."""
    every = {view for score in results.whole for view in score.inputs}
    (view,) = every - {view for score in results.scores[name] for view in score.inputs}
    return view


def errors_table(results: Results) -> Table:
    """Wrong masks and wrong cameras, for the model and the hull alike."""
    headers = ("", "psnr_crop", "IoU", "psnr_fg", "ssim_crop", "loss, dB", "hull: psnr_crop", "hull: IoU")
    disturbed = [setting for setting in results.settings if setting.disturbance.any]
    rows = []
    if disturbed:
        exact = results.on_the_same_samples(disturbed[0].name)
        hull = figures(results.mean_of(exact, HULL), ("psnr_crop", "mask_iou"))
        rows.append(("exact", *figures(results.mean_of(exact), COLUMNS), "", *hull))
    for setting in disturbed:
        hull = figures(results.means(setting.name, HULL), ("psnr_crop", "mask_iou"))
        drop = f"{results.drop(setting.name):.2f}"
        rows.append((setting.label, *figures(results.means(setting.name), COLUMNS), drop, *hull))
    note = (
        "Only what the model and the hull are given is wrong; the pictures and cameras they are compared with are "
        "exact. Camera errors are standard deviations along and about each axis, each camera by itself; turned cameras "
        "err as a calibration does that was fitted to points."
    )
    return Table("Wrong masks, wrong calibration", headers, tuple(rows), _with_scope(note, results))


def cameras_table(results: Results) -> Table:
    """Every held-out camera."""
    columns = COLUMNS | DEPTH
    rows = []
    for camera in per_camera(results.whole):
        scores = [score for score in results.whole if score.view == camera["view"]]
        hull = figures(results.mean_of(scores, HULL), (HEADLINE,))
        rows.append((f"{camera['view']} {camera['camera']}", *figures(results.mean_of(scores), columns), *hull))
    return Table("Each held-out camera", ("", *columns.values(), "hull: psnr_crop"), tuple(rows))


def samples_table(results: Results) -> Table:
    """Every sample, the worst first."""
    columns = COLUMNS | DEPTH
    rows = []
    for directory in results.samples_by_score():
        (name,) = {score.sample for score in results.whole if score.directory == directory}
        hull = figures(results.of_sample(directory, HULL), (HEADLINE,))
        rows.append((name, *figures(results.of_sample(directory), columns), *hull))
    return Table("Each sample, the worst first", ("", *columns.values(), "hull: psnr_crop"), tuple(rows))


def seconds_table(results: Results) -> Table:
    """What a mouse takes."""
    seconds = results.seconds
    rows = [(PART_NAMES[part], f"{seconds['parts'][part]:.3f}") for part in PARTS]
    rows.insert(-1, ("**from files to Gaussians**", f"**{seconds['reconstruction']:.3f}**"))
    load = "" if seconds["load"] is None else f", load {seconds['load']}"
    note = (
        f"Medians over {seconds['samples']} samples on {seconds['device']}, {seconds['processors']} processors, "
        f"{seconds['threads']} threads, {seconds['precision']}{load}."
    )
    return Table("Seconds per mouse", ("", "s"), tuple(rows), note)


def figures(scores: Scores, names: Mapping[str, str] | Sequence[str]) -> list[str]:
    """Scores as text, a dash where there is none."""
    return [figure(scores[name], name) if name in scores else "–" for name in names]


def figure(value: float, name: str) -> str:
    """Three decimals without the leading zero for shares, two for the rest."""
    if name in BELOW_ONE:
        return f"{value:.3f}".removeprefix("0") if 0 < value < 1 else f"{value:.0f}"
    return f"{value:.2f}"


def _span(span: Sequence[float] | None, name: str, unit: float) -> str:
    scale = unit if name in DEPTH else 1.0
    return "–" if span is None else " to ".join(figure(scale * end, name) for end in span)


def _with_scope(note: str, results: Results) -> str:
    """The note, with a word on how many samples were measured where not all were."""
    total = len(results.samples_by_score())
    counts = {len({score.directory for score in results.scores[setting.name]}) for setting in results.settings}
    fewer = counts - {total}
    return note + (f" Where not all {total} samples were used, {min(fewer)} evenly spread ones were." if fewer else "")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
