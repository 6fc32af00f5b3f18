"""The program `ddpm`: `ddpm train schedule=cosine` does what `python train.py schedule=cosine` does, in any folder."""

import sys

from ddpm_lightning import __version__
from ddpm_lightning.errors import near_names

COMMANDS = {
    "train": "train a model, or resume its training",
    "sample": "sample images from a checkpoint",
    "evaluate": "measure a checkpoint: bits/dim, FID and others",
    "figure": "draw the paper's figures for a checkpoint",
    "runs": "list the runs in a folder: choices, step, metrics, state, cost",
    "compare": "compare runs: every number with its error, samples, options",
    "report": "write the table and the page of a sweep, or the page of one run",
    "convert": "import weights from other projects, or export them",
    "prepare": "write a folder of images as shards, for large data sets",
    "train_classifier": "train the small network whose features compare samples with data",
}


def main() -> None:
    """Runs the command named by the first argument."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        print(f"ddpm {__version__}")
    elif name in COMMANDS:
        sys.argv = [f"ddpm {name}", *sys.argv[2:]]
        from ddpm_lightning.cli.command import run_command  # imports Hydra

        run_command(name)
    else:
        near = near_names(name, COMMANDS)
        sys.exit(
            f"Error: ddpm has no command {name!r}"
            + (f"; did you mean {' or '.join(near)}?" if near else f"\n\n{usage()}")
        )


def usage() -> str:
    """Returns the text of `ddpm --help`."""
    lines = [f"  {name:<17}{what}" for name, what in COMMANDS.items()]
    return "\n".join(
        ["usage: ddpm COMMAND [group=option …] [key=value …]", "", *lines, "", "ddpm COMMAND --help says more."]
    )


if __name__ == "__main__":
    main()
