"""The page of one run: samples over time, curves, the bound by t, steps, choices, commands, environment."""

import json
import logging
from pathlib import Path

from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.command_line import command_for, option, relative
from ddpm_lightning.runtime.run_files.metrics_rows import METRICS_FILE, read_rows
from ddpm_lightning.studies.report.one_run import check_one_run
from ddpm_lightning.studies.report.sample_strips import moment_of
from ddpm_lightning.studies.report.single.numbers import numbers_of
from ddpm_lightning.studies.report.single.run_plots import run_figures
from ddpm_lightning.studies.report.templates import rendered
from ddpm_lightning.studies.runs.run_table import STEP, choices_of, values_of
from ddpm_lightning.studies.runs.trained_run import Run, read_run
from ddpm_lightning.training.callbacks.checkpoints import last_checkpoint
from ddpm_lightning.training.callbacks.resuming import HISTORY

log = logging.getLogger(__name__)

PICTURES = {
    "grid": "Samples of the same noise",
    "strip": "x̂_0 along t, from t = T on the left to t = 1",
    "chain": "x_t along t",
    "loss_by_t": "The loss by t",
}
"""The kinds of pictures in samples/, by the beginning of their names."""

MOST_PICTURES = 8
"""The most pictures of one kind that the page shows, evenly chosen from the first to the last."""

ENVIRONMENT = ("version", "commit", "python", "machine")


def write_run_page(folder: Path) -> None:
    """Writes report.html into the folder of a run.

    Raises:
        UserError: The folder holds no run of train.py, or one whose files disagree.
    """
    run = run_in(folder)
    write_text(folder / "report.html", run_page(run))
    log.info("Written: %s", relative(folder / "report.html"))


def run_in(folder: Path) -> Run:
    """Reads the run of train.py in a folder. Raises UserError if there is none."""
    if not (folder / ".hydra").is_dir():
        raise UserError(f"{folder} is no folder of a run; name one that train.py wrote to: outputs/DATE_TIME")
    run = read_run(folder)
    if not run.is_training:
        raise UserError(f"{folder} is of another command than train.py; name a folder that train.py wrote to")
    check_one_run(folder, run.config, run.outcome)
    return run


def run_page(run: Run) -> str:
    """Returns the page of a run as HTML."""
    libraries = run.outcome.get("libraries") or {}
    environment = {name: run.outcome[name] for name in ENVIRONMENT if run.outcome.get(name)}
    return rendered(
        "single/run.html",
        run_figures(run),
        run=run,
        name=relative(run.folder),
        tiles=tiles_of(run),
        numbers=[*numbers_of(run).values()],
        phases=seconds_by_phase(run),
        history=[" ".join(f"{key} {value}" for key, value in event.items()) for event in run.outcome.get(HISTORY, [])],
        pictures={title: pictures_of(run, kind) for kind, title in PICTURES.items()},
        moment_of=moment_of,
        choices=choices_of(run),
        config=json.dumps(run.config, indent=2, ensure_ascii=False, default=str),
        commands=commands_of(run),
        environment={**environment, **libraries},
    )


def tiles_of(run: Run) -> dict[str, str]:
    """Returns the first facts of a run: steps, cost, data, seed, by what they are."""
    values, config = values_of(run), run.config
    step, seconds = values[STEP], values["seconds"]
    facts = {
        f"of {config['trainer']['max_steps']} steps": None if step is None else f"{step}",
        "training, measuring, drawing, saving": None if seconds is None else duration(seconds),
        "data": run.choices.get("data"),
        "network": run.choices.get("network"),
        "seed": run.seed,
    }
    return {what: str(fact) for what, fact in facts.items() if fact is not None}


def duration(seconds: float) -> str:
    """Returns a time in words: 12 s, 5 min or 3.2 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def commands_of(run: Run) -> dict[str, str]:
    """Returns the commands that train this run, sample from it and measure it, by what they do."""
    commands = {"train, or resume": run.command}
    checkpoint = last_checkpoint(run.folder)
    if checkpoint.is_file():
        named = option("checkpoint", relative(checkpoint))
        commands["sample"] = f"{command_for('sample.py')} {named}"
        commands["measure"] = f"{command_for('evaluate.py')} {named}"
    return commands


def seconds_by_phase(run: Run) -> dict[str, float]:
    """Returns the seconds that each phase took, over all resumes, the longest first: train, measure, draw, save."""
    path = run.folder / METRICS_FILE
    spent: dict[str, float] = {}
    for row in read_rows(path) if path.is_file() else []:
        for name, value in row.items():
            if name and name.startswith("time/") and value:
                phase = name.removeprefix("time/").removeprefix("after_").removesuffix("_s")
                spent[phase] = spent.get(phase, 0.0) + float(value)
    return dict(sorted(spent.items(), key=lambda each: -each[1]))


def pictures_of(run: Run, kind: str) -> list[Path]:
    """Returns pictures of one kind in the order of their steps: all, or MOST_PICTURES of them."""
    found = sorted((run.folder / "samples").glob(f"{kind}_*.png"))
    chosen = {round(i * (len(found) - 1) / (MOST_PICTURES - 1)) for i in range(MOST_PICTURES)}
    return found if len(found) <= MOST_PICTURES else [found[i] for i in sorted(chosen)]
