"""mouse-facelift: a few calibrated views of a mouse to a 3D Gaussian model in one forward pass."""

__version__ = "0.1.0"
