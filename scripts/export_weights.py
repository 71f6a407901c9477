"""A checkpoint of training to plain weights: what inference uses, in one file that depends on no other.

    python scripts/export_weights.py --checkpoint RUN/checkpoints/best --output mouse.safetensors
    python scripts/export_weights.py --checkpoint RUN/checkpoints/latest --output adapter.pt --adapter-only

The running average is taken where the run kept one, and a LoRA adapter is merged into the weights it belongs to. With
`--adapter-only` it is not merged: the file is small, and needs those weights beside it. All kinds of file can be given
to inference.py --checkpoint and train_gslrm.py --load. The name says what is written: .safetensors holds weights with
their configuration, which others read too; any other name is a file of torch.
"""

import argparse
from pathlib import Path

from gslrm import cli


def main() -> int:
    """Parse, choose, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of train_gslrm.py")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--adapter-only", action="store_true", help="leave out the weights that LoRA started from")
    cli.add_overrides(parser)
    arguments = parser.parse_args()

    import torch

    from gslrm.export import replacing
    from gslrm.model.exchange import SUFFIX, write_exchange
    from gslrm.training.plain_weights import adapter_alone, plain_weights

    choose = adapter_alone if arguments.adapter_only else plain_weights
    content = choose(arguments.checkpoint, tuple(arguments.overrides))
    with replacing(arguments.output) as temporary:
        if arguments.output.suffix == SUFFIX:
            write_exchange(content, temporary)
        else:
            torch.save(content, temporary)
    cli.report(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    cli.run(main)
