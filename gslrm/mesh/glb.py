"""Coloured triangles to a binary glTF 2.0 file (.glb), which browsers, Blender, Windows and macOS open."""

import json
import struct

import numpy as np

from gslrm.export import AnyPath, replacing
from gslrm.mesh.surface import Mesh

FLOAT, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5123, 5125  # component types of the standard
VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963
# glTF's y is up; as a turn of the node, so that vertices keep the sample's own coordinates, with z up.
Z_UP_TO_Y_UP = [-(0.5**0.5), 0.0, 0.0, 0.5**0.5]  # quaternion xyzw


def write_glb(mesh: Mesh, path: AnyPath) -> None:
    """Write a mesh with one colour per vertex; unlit, so that it looks as the pictures do.

    Colours become linear, as the standard asks, in 16 bits: 8 would leave a black mouse two levels.
    """
    linear = np.where(mesh.colours <= 0.04045, mesh.colours / 12.92, ((mesh.colours + 0.055) / 1.055) ** 2.4)
    opaque = np.concatenate([linear, np.ones((len(linear), 1))], axis=1)
    positions = mesh.vertices.astype("<f4")
    buffers = [positions, np.rint(opaque * 65535).astype("<u2"), mesh.faces.astype("<u4").ravel()]
    content = b"".join(buffer.tobytes() for buffer in buffers)
    text = json.dumps(_document(positions, buffers, len(content)), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    content += b"\0" * (-len(content) % 4)
    total = 12 + 8 + len(text) + 8 + len(content)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<4sIIII", b"glTF", 2, total, len(text), 0x4E4F534A) + text)
        file.write(struct.pack("<II", len(content), 0x004E4942) + content)


def _document(positions: np.ndarray, buffers: list[np.ndarray], size: int) -> dict[str, object]:
    starts = np.cumsum([0, *(buffer.nbytes for buffer in buffers)]).tolist()
    targets = (VERTEX_BUFFER, VERTEX_BUFFER, INDEX_BUFFER)
    count = len(positions)
    range_ = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    material = {
        "extensions": {"KHR_materials_unlit": {}},
        "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1},
    }
    return {
        "asset": {"version": "2.0", "generator": "mouse-facelift"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "rotation": Z_UP_TO_Y_UP}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "material": 0}]}],
        "materials": [material],
        "buffers": [{"byteLength": size}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": buffer.nbytes, "target": target}
            for start, buffer, target in zip(starts[:-1], buffers, targets, strict=True)
        ],
        "accessors": [
            {"bufferView": 0, "componentType": FLOAT, "count": count, "type": "VEC3", **range_},
            {"bufferView": 1, "componentType": UNSIGNED_SHORT, "normalized": True, "count": count, "type": "VEC4"},
            {"bufferView": 2, "componentType": UNSIGNED_INT, "count": buffers[2].size, "type": "SCALAR"},
        ],
    }
