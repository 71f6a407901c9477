"""Checks every array's shape and type against its signature while the tests run."""

import os

os.environ.setdefault("WANDB_MODE", "offline")  # tests never talk to a server

from jaxtyping import install_import_hook

install_import_hook("gslrm", "beartype.beartype")
