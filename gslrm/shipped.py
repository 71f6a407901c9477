"""Files of this repository that commands take when none is named."""

from pathlib import Path

from gslrm.errors import UserError

REPOSITORY = Path(__file__).parents[1]
CHECKPOINT = "checkpoints/mouse_small.safetensors"  # in the repository: the small mouse model
ZERO_SHOT = {  # by family, for weights that carry no configuration
    "gslrm": "configs/mouse_gslrm_zero_shot.yaml",
    "lgm": "configs/mouse_lgm_6view.yaml",
}


def shipped_checkpoint() -> Path:
    """The small mouse model.

    Raises:
        UserError: this copy of the repository is without it.
    """
    path = REPOSITORY / CHECKPOINT
    if not path.is_file():
        raise UserError(
            f"{path}: the small mouse model is not there; take it from a complete copy of the repository, or train it "
            "(python train_gslrm.py --config configs/mouse_small_cpu.yaml), or name another with --checkpoint"
        )
    return path


def zero_shot_config(family: str) -> Path:
    """The configuration with which published weights of a family are applied to a mouse rig.

    Raises:
        UserError: this installation is without it.
    """
    path = REPOSITORY / ZERO_SHOT[family]
    if not path.is_file():
        raise UserError(f"{path}: is not there; name a configuration with --config, or install from a checkout")
    return path
