"""Creates W&B's own pages: a workspace with what every run logs, and a report of a Table 2 sweep.

python -m ddpm_lightning.studies.report.dashboard ENTITY PROJECT [--sweep GROUP] [--print]
Needs the extra `dashboard`, and without --print an account (wandb login).
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

STEP = "trainer/global_step"
"""The x axis of all curves: the optimizer step."""


@dataclass(frozen=True)
class Lines:
    """A panel with curves by optimizer step, of all metrics whose names match `pattern`."""

    title: str
    pattern: str
    log_y: bool = False


@dataclass(frozen=True)
class Media:
    """A panel with pictures, histograms or tables by step."""

    title: str
    keys: tuple[str, ...]


Panel = Lines | Media

SECTIONS: dict[str, tuple[Panel, ...]] = {
    "Samples": (
        Media("Samples of fixed noise", ("samples/grid",)),
        Media("x̂_0 along t, and x_t", ("samples/strip", "samples/chain")),
        Media(
            "At the end, by the run's own sampler", ("samples/grid_final", "samples/strip_final", "samples/chain_final")
        ),
        Lines("Brightness and contrast, samples − data (0–255)", "^samples/(brightness|contrast)_shift(_final)?$"),
        Media("Brightness by image", ("samples/brightness", "samples/brightness_final", "data/brightness")),
        Media("Contrast by image", ("samples/contrast", "samples/contrast_final", "data/contrast")),
    ),
    "Quality": (
        Lines("Distance of samples to the training images", "^(fid|fd|kid)_"),
        Lines("Score, precision and recall of samples", "^(isc|score|precision|recall)_"),
        Lines("Bits/dim of test images", "^val/bpd_"),
        Lines("The test split, after training", "^test/"),
    ),
    "Loss": (
        Lines("Loss", "^train/loss$", log_y=True),
        Lines("Loss by quartile of t", "^train/loss_q[1-4]$", log_y=True),
        Media("Loss by t", ("train/loss_by_t",)),
        Media("β_t, ᾱ_t, log SNR", ("schedule",)),
    ),
    "Optimizer": (
        Lines("Gradient norm before clipping", "^train/grad_norm$", log_y=True),
        Lines("Learning rate", "^train/lr$"),
        Lines("Distance of the average behind the weights", "^train/ema_distance$", log_y=True),
        Lines("Skipped steps", "^train/skipped_steps$"),
    ),
    "Speed": (
        Lines("Images a second", "^train/images_per_s$"),
        Lines("Memory (GiB)", "^train/memory_gib$"),
        Lines("Seconds by phase", "^time/"),
    ),
}
"""The sections of the workspace, which show what every run logs."""

PANELS_OF_SWEEP: tuple[Panel, ...] = (
    Lines("Distance of samples", "^(fid|fd|kid)_"),
    Lines("Bits/dim", "^val/bpd_"),
    Media("Samples", ("samples/grid_final",)),
    Media("Bits/dim by t, rate and distortion", ("test/bound",)),
)
"""The panels of a sweep's report, beside its table."""

TABLE = "table2"
"""The name of the table that report.py logs."""


def _panel(each: Panel) -> Any:
    import wandb_workspaces.reports.v2 as wr

    if isinstance(each, Media):
        return wr.MediaBrowser(title=each.title, media_keys=list(each.keys))
    return wr.LinePlot(title=each.title, x=STEP, metric_regex=each.pattern, log_y=each.log_y)


def workspace(entity: str, project: str) -> Any:
    """Returns a W&B workspace with SECTIONS."""
    import wandb_workspaces.workspaces as ws

    sections = [
        ws.Section(name=name, panels=[_panel(each) for each in panels], is_open=True)
        for name, panels in SECTIONS.items()
    ]
    return ws.Workspace(entity=entity, project=project, name="ddpm_lightning", sections=sections)


def sweep_report(entity: str, project: str, group: str) -> Any:
    """Returns a W&B report of one sweep: the table that report.py logged, and panels of its runs."""
    import wandb_workspaces.reports.v2 as wr

    # Without entity and project the runs are the report's own. With them, W&B would be asked for the project's number.
    runs = wr.Runset(name=group, filters=f"Group = {group!r}")
    shown = map(_panel, PANELS_OF_SWEEP)
    panels = [wr.WeavePanelSummaryTable(table_name=TABLE), *shown, wr.RunComparer(diff_only="split")]
    blocks = [wr.H1(text="Table 2"), wr.PanelGrid(runsets=[runs], panels=panels)]
    return wr.Report(entity=entity, project=project, title=f"Table 2: {group}", blocks=blocks)


def main(arguments: Sequence[str] | None = None) -> None:
    """Creates the workspace, and the report if a sweep is named. With --print, prints both and sends nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entity", help="your W&B name, or your team's")
    parser.add_argument("project", help="logger.wandb.project of the runs; ddpm_lightning by default")
    parser.add_argument("--sweep", metavar="GROUP", help="create the report of this sweep, too")
    parser.add_argument("--print", action="store_true", help="print what would be sent, and send nothing")
    options = parser.parse_args(arguments)
    try:
        pages = [workspace(options.entity, options.project)]
        if options.sweep:
            pages.append(sweep_report(options.entity, options.project, options.sweep))
        if options.print:
            models = [page._to_model().model_dump(mode="json") for page in pages]
            print(json.dumps(models, indent=2, ensure_ascii=False))
        else:
            print(*(page.save().url for page in pages), sep="\n")
    except ModuleNotFoundError:
        parser.exit(1, "Error: wandb-workspaces is not installed; pip install 'ddpm-lightning[dashboard]'\n")
    except Exception as error:  # W&B raises many classes
        parser.exit(1, f"Error: W&B refused ({' '.join(str(error).split())}); is there a key? wandb login\n")


if __name__ == "__main__":
    main()
