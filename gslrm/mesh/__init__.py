"""A coloured surface of Gaussians, as triangles."""

from gslrm.mesh.glb import write_glb
from gslrm.mesh.surface import Mesh, extract_mesh

__all__ = ["Mesh", "extract_mesh", "write_glb"]
