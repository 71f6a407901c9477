"""Writers of what leaves the program, one file per format, with readers of those that hold Gaussians.

Every file is written under a temporary name and renamed when it is complete: a reader never meets half a file, and
an interrupted run leaves the previous one in place.
"""

from gslrm.export.compressed_ply import read_compressed_ply, write_compressed_ply
from gslrm.export.files import AnyPath, read_bytes, replacing, write_json
from gslrm.export.formats import FORMATS, format_by_suffix, format_of, read_gaussians, write_gaussians
from gslrm.export.pictures import as_uint8, depth_scale, write_depth, write_picture, write_png
from gslrm.export.ply import read_ply, write_lgm_ply, write_ply
from gslrm.export.sog import write_sog
from gslrm.export.sog_reader import read_sog
from gslrm.export.splat import read_splat, write_splat
from gslrm.export.spz import read_spz, write_spz
from gslrm.export.video import write_video

__all__ = [
    "FORMATS",
    "AnyPath",
    "as_uint8",
    "depth_scale",
    "format_by_suffix",
    "format_of",
    "read_bytes",
    "read_compressed_ply",
    "read_gaussians",
    "read_ply",
    "read_sog",
    "read_splat",
    "read_spz",
    "replacing",
    "write_compressed_ply",
    "write_depth",
    "write_gaussians",
    "write_json",
    "write_lgm_ply",
    "write_picture",
    "write_ply",
    "write_png",
    "write_sog",
    "write_splat",
    "write_spz",
    "write_video",
]
