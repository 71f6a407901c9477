"""Train a model: the one entry point, driven by YAML.

    python train_gslrm.py --config configs/mouse_gslrm_local_rtx3060.yaml
    python train_gslrm.py --config configs/mouse_demo.yaml --run-dir demo_output/run       # no GPU needed
    torchrun --nproc-per-node 8 train_gslrm.py --config CONFIG                           # a card each; docs/scaling.md

A run that stopped goes on where it was: give the same command again. SIGTERM, SIGUSR1 and Ctrl-C end it with a
checkpoint of its last whole update and exit status 75; see docs/checkpoints.md.
"""

import argparse
from pathlib import Path

from gslrm import cli


def main() -> int:
    """Parse, build, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="YAML file; see gslrm/config for every key")
    cli.add_overrides(parser)
    parser.add_argument("--run-dir", type=Path, help="run folder (default: runs/<config name>)")
    parser.add_argument("--resume", default="auto", metavar="auto|none|PATH", help="where to go on from")
    parser.add_argument("--load", type=Path, metavar="PATH", help="start from the weights of a checkpoint")
    arguments = parser.parse_args()

    from gslrm.config_io import load_config
    from gslrm.training.environment import record_environment
    from gslrm.training.processes import joined
    from gslrm.training.resume import resume, way_on
    from gslrm.training.trainer import Trainer

    with joined() as processes:
        config = load_config(arguments.config, arguments.overrides)
        run_dir = arguments.run_dir or Path("runs") / arguments.config.stem
        processes.limit(config.training.processes.init_timeout)
        trainer = Trainer(config, run_dir, processes)
        resume(trainer, arguments.resume, load=arguments.load)
        if processes.main:
            record_environment(run_dir, config)
        ended = trainer.run()
    if processes.main:
        files = f"checkpoints: {trainer.checkpoints.directory}\nfigures: {run_dir / 'metrics.jsonl'}"
        cli.report(files if ended else way_on(trainer, arguments.resume, load=arguments.load))
    return 0 if ended else cli.EXIT_RESUMABLE


if __name__ == "__main__":
    cli.run(main)
