"""How well a prepared recording agrees with what is known about it: true masks, a true mesh, the true rig.

    python benchmarks/prepared_recording.py --samples OUT --recording DIR --calibration DIR/label3d_dannce.mat

DIR holds `masks_gt/CAMERA/frame_000012.png` (coverage in raw pixels), `mesh_gt/frame_000012.npz` (`vertices`, in the
rig's world) and `mesh_gt/faces.npz`. Samples must be in the rig's own world.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gslrm import cli

if TYPE_CHECKING:
    import numpy as np

    from gslrm.data.rig import RigCamera
    from gslrm.data.sample import SampleView

FINE = 4  # samples per pixel and axis of the silhouette; distances are measured in steps of a quarter of a pixel
FRACTION_BITS = 4


def main() -> int:
    """Parse, compare every frame that has a true mask, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    arguments = parser.parse_args()

    import numpy as np

    from gslrm.data.calibration import read_calibration
    from gslrm.data.sample import read_sample

    rig = read_calibration(arguments.calibration)
    faces = next(iter(np.load(arguments.recording / "mesh_gt" / "faces.npz").values()))
    overlaps, distances, residuals = [], [], []
    for path in sorted((arguments.recording / "mesh_gt").glob("frame_*.npz")):
        vertices = np.load(path)["vertices"].astype(np.float64)
        views = read_sample(arguments.samples / path.stem).views
        residuals.append(_residual(vertices, views, rig.cameras))
        for view, camera in zip(views, rig.cameras, strict=True):
            mask_path = arguments.recording / "masks_gt" / camera.name / f"{path.stem}.png"
            overlaps.append(_overlap(view, camera, mask_path))
            distances.append(_distance(view, vertices, faces))
        cli.report(f"{path.stem}: IoU {' '.join(f'{value:.3f}' for value in overlaps[-len(views) :])}")
    cli.report(
        f"{len(overlaps)} views: mask IoU mean {np.mean(overlaps):.4f}, least {np.min(overlaps):.4f}; silhouette "
        f"{np.median(distances):.2f} px (worst view {np.max(distances):.2f}); cameras {np.max(residuals):.2g} px"
    )
    return 0


def _overlap(view: "SampleView", camera: "RigCamera", path: Path) -> float:
    """Intersection over union of the written mask and the true one, carried through lens and crop."""
    import numpy as np

    from gslrm.data.images import read_grey
    from gslrm.data.lens import Cutout, resample

    true = resample(Cutout(0, 0, read_grey(path)[..., None]), camera, view.camera)[..., 0] > 0.5
    written = read_grey(view.mask_path) > 0.5
    return float(np.logical_and(true, written).sum() / np.logical_or(true, written).sum())


def _distance(view: "SampleView", vertices: "np.ndarray", faces: "np.ndarray") -> float:
    """Median distance in pixels from the mesh's silhouette to the written mask's boundary."""
    import cv2
    import numpy as np
    import torch

    from gslrm.data.images import read_grey

    pixel = view.camera.project(torch.from_numpy(vertices))[0].numpy()
    mesh = np.zeros((view.camera.height * FINE, view.camera.width * FINE), np.uint8)
    points = np.rint((pixel * FINE - 0.5) * 2**FRACTION_BITS).astype(np.int32)
    for face in faces:
        cv2.fillConvexPoly(mesh, points[face], 255, shift=FRACTION_BITS)
    written = cv2.resize(read_grey(view.mask_path), mesh.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    away = cv2.distanceTransform(1 - _boundary(written.astype(np.uint8)), cv2.DIST_L2, 5)
    return float(np.median(away[_boundary(mesh) > 0])) / FINE


def _boundary(mask: "np.ndarray") -> "np.ndarray":
    import cv2
    import numpy as np

    parts, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(mask), parts, -1, 1, 1)


def _residual(vertices: "np.ndarray", views: "tuple[SampleView, ...]", cameras: "tuple[RigCamera, ...]") -> float:
    """Median pixels between true points in the crops and what the written cameras triangulate from them, seen again."""
    import numpy as np
    import torch

    from gslrm.cameras import nearest_to_lines

    some = vertices[:: max(1, len(vertices) // 200)]
    ahead = [
        camera.rays(camera.project(some)) @ camera.camera_from_world[:3, :3] + camera.position for camera in cameras
    ]
    pixel = [view.camera.project(torch.from_numpy(point))[0] for view, point in zip(views, ahead, strict=True)]
    rays = torch.stack([_directions(view, seen) for view, seen in zip(views, pixel, strict=True)], dim=1)
    origins = torch.stack([view.camera.position for view in views])
    points = torch.stack([nearest_to_lines(origins, direction) for direction in rays if direction.isfinite().all()])
    kept = rays.isfinite().all(dim=2).all(dim=1)
    again = [view.camera.project(points)[0] - seen[kept] for view, seen in zip(views, pixel, strict=True)]
    return float(np.median(torch.stack(again).norm(dim=-1)))


def _directions(view: "SampleView", pixel: "np.ndarray") -> "np.ndarray":
    import torch

    offset = (pixel - view.camera.center) / view.camera.focal
    ray = torch.cat([offset, torch.ones_like(offset[:, :1])], dim=1) @ view.camera.world_from_camera[:3, :3].mT
    return torch.nn.functional.normalize(ray, dim=1)


if __name__ == "__main__":
    cli.run(main)
