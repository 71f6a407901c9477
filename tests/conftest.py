"""Checks every array's shape and type against its signature while the tests run."""

import os

os.environ.setdefault("WANDB_MODE", "offline")  # tests never talk to a server
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as commands do: spinning threads are slow beside other work

from jaxtyping import install_import_hook

install_import_hook("gslrm", "beartype.beartype")
