"""Reconstructions to look at: what a folder holds, on a page of a running server, or on a page by itself."""
