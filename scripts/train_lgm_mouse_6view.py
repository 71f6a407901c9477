"""Train LGM on a six-camera mouse rig: train_gslrm.py with configs/mouse_lgm_6view.yaml, and nothing else.

    python scripts/train_lgm_mouse_6view.py
    python scripts/train_lgm_mouse_6view.py --set training.dataset.dataset_path=LIST
    torchrun --nproc-per-node 4 scripts/train_lgm_mouse_6view.py

All options are those of train_gslrm.py; `--config` names another configuration.
"""

import sys
from pathlib import Path

from gslrm import cli

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "mouse_lgm_6view.yaml"


def main() -> int:
    """Name the configuration where none is named, and train."""
    sys.path.insert(0, str(ROOT))
    from train_gslrm import main as train

    if not any(word.partition("=")[0] == "--config" for word in sys.argv[1:]):
        sys.argv[1:1] = ["--config", str(CONFIG)]
    return train()


if __name__ == "__main__":
    cli.run(main)
