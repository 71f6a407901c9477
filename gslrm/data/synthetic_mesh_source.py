"""A user's own animated mesh instead of the procedural mouse: one file per frame, lit and placed like the mice.

Files are read by trimesh, which is kept up, small, and knows OBJ, glTF, GLB, PLY, STL and OFF with their colours.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gslrm.data.synthetic_field import Skin
from gslrm.data.synthetic_light import sample_light
from gslrm.data.synthetic_raster import Mesh
from gslrm.data.synthetic_tubes import vertex_normals
from gslrm.errors import UserError

SUFFIXES = {".obj", ".gltf", ".glb", ".ply", ".stl", ".off"}
SMALLEST, LARGEST = 5.0, 210.0  # mm
KEPT = 32  # frames in memory
GREY = 0.5  # of meshes without colours
FINEST = 3  # times that triangles are split in four so that a texture's detail is not lost between vertices
TEXTURE_STEP = 1.2  # mm between vertices that take colours from a texture


def mesh_files(paths: Sequence[Path]) -> list[Path]:
    """The meshes that paths name, in order; a directory stands for those in it, sorted by name.

    Raises:
        UserError: nothing is there, or a file is of a kind that is not read.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(file for file in path.glob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not found:
            raise UserError(f"--mesh {path}: holds no mesh; expected files ending in {', '.join(sorted(SUFFIXES))}")
        files += found
    for file in files:
        if file.suffix.lower() not in SUFFIXES:
            raise UserError(f"--mesh {file}: is no mesh; expected a file ending in {', '.join(sorted(SUFFIXES))}")
        if not file.is_file():
            raise UserError(f"--mesh {file}: no such file or directory")
    return files


def read_mesh(path: Path, *, scale: float, up: str) -> Mesh:
    """A mesh in mm with z up; its colours are those of its vertices or of its texture, else grey.

    Args:
        path: the file.
        scale: mm per unit of the file.
        up: the file's upward axis, y or z.

    Raises:
        UserError: trimesh is missing, or the file cannot be read or holds no triangle.
    """
    try:
        import trimesh  # only users with a mesh of their own need it
    except ImportError as error:
        raise UserError("--mesh needs trimesh: pip install 'mouse-facelift[trimesh]'") from error
    try:
        loaded: Any = trimesh.load(str(path), force="mesh", process=False)
        vertices, faces = np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64)
        visual = loaded.visual
    except Exception as error:  # noqa: BLE001 - readers of seven formats raise what they like
        raise UserError(
            f"{path}: cannot be read as a mesh ({type(error).__name__}: {error}); export it anew"
        ) from error
    if not len(faces) or not len(vertices):
        raise UserError(f"{path}: holds no triangles; export the animal's surface, not its points or bones")
    if not np.isfinite(vertices).all():
        raise UserError(f"{path}: holds vertices that are not finite; export it anew")
    vertices = vertices * scale
    if up == "y":
        vertices = vertices @ np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    if getattr(visual, "kind", None) == "texture" and getattr(visual, "uv", None) is not None:
        return _textured(path, vertices, faces, visual)
    colours = np.full_like(vertices, GREY)
    if getattr(visual, "kind", None) in ("vertex", "face"):
        colours = np.asarray(visual.vertex_colors, np.float64)[:, :3] / 255
    return Mesh.plain(vertices, faces.astype(np.int32), colours)


def require_size(path: Path, *, scale: float, up: str) -> None:
    """See that a mesh can be read, and is of a size that the rig can see.

    Raises:
        UserError: see `read_mesh`; or the mesh is smaller than a pixel or larger than the arena.
    """
    low, high = (bound(read_mesh(path, scale=scale, up=up).vertices, axis=0) for bound in (np.min, np.max))
    extent = float(np.linalg.norm(high - low))
    if not SMALLEST < extent < LARGEST:
        raise UserError(
            f"{path}: is {extent:.3g} mm large, the rig sees {SMALLEST:.0f} to {LARGEST:.0f} mm; give --mesh-scale, "
            "the millimetres per unit of the file"
        )


def animal_of(files: Sequence[Path], *, scale: float, up: str) -> Callable[[np.random.Generator], Mesh]:
    """What draws a frame of a sequence: heading and light are random, the lowest point stands on the floor."""
    read = lru_cache(maxsize=KEPT)(partial(read_mesh, scale=scale, up=up))

    def draw(rng: np.random.Generator) -> Mesh:
        mesh = read(files[int(rng.integers(len(files)))])
        angle = rng.uniform(-np.pi, np.pi)
        cosine, sine = np.cos(angle), np.sin(angle)
        vertices = mesh.vertices @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1.0]])
        vertices = vertices - [*vertices[:, :2].mean(axis=0), vertices[:, 2].min()]
        return _lit(vertices, mesh.faces, mesh.colours, rng)

    return draw


def _lit(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    colours: Float[np.ndarray, "v 3"],
    rng: np.random.Generator,
) -> Mesh:
    """The mesh from both sides, since nobody knows whether it is closed or which way its triangles turn."""
    normals = vertex_normals(vertices, faces)
    light, count = sample_light(rng), len(vertices)
    both = Skin(
        np.concatenate([vertices, vertices]), np.concatenate([normals, -normals]), faces,
        np.zeros((2 * count, 3)), np.zeros((2 * count, 3)), np.ones(2 * count),
    )  # fmt: skip
    shaded = np.clip(np.concatenate([colours, colours]) * light.shade(both), 0, 1)
    return Mesh.plain(both.vertices, np.concatenate([faces, faces[:, ::-1] + count]).astype(np.int32), shaded)


def _textured(path: Path, vertices: np.ndarray, faces: np.ndarray, visual: Any) -> Mesh:
    """Triangles small enough that a colour per vertex shows the texture."""
    try:
        corners = np.concatenate([vertices, np.asarray(visual.uv, np.float64)], axis=1)[faces]
        edge = np.linalg.norm(corners[:, 1, :3] - corners[:, 0, :3], axis=1)
        splits = int(np.clip(np.ceil(np.log2(max(np.median(edge), 1e-9) / TEXTURE_STEP)), 0, FINEST))
        for _ in range(splits):
            a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
            ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
            parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
            corners = np.concatenate([np.stack(part, axis=1) for part in parts])
        flat = corners.reshape(-1, 5)
        material = visual.material
        seen = material.to_color(flat[:, 3:])
        seen = material.main_color[None] if seen is None or np.ndim(seen) == 1 else seen
        colours = np.asarray(seen, np.float64)[:, :3] / 255
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its texture cannot be used ({error}); bake it to vertex colours") from error
    unique, index = np.unique(flat, axis=0, return_inverse=True)
    shades = np.zeros((len(unique), 3))
    shades[index.ravel()] = colours
    return Mesh.plain(unique[:, :3].copy(), index.reshape(-1, 3).astype(np.int32), shades)
