"""One module per family of calibration files; `gslrm.data.calibration` is their door."""
