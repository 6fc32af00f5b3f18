"""W&B's own environment: each of its variables counts or has a reason, and its agent runs a sweep."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb import env

from ddpm_lightning.configuration.build import make
from tests.commands import SMALL
from tests.configuration.test_choices import composed
from tests.conftest import ROOT
from tests.training.loggers.test_wandb import online
from tests.training.loggers.wandb_server import serving

COUNT: dict[str, tuple[str, str, Any]] = {
    env.MODE: ("online", "mode", "online"),
    env.ENTITY: ("team", "entity", "team"),
    env.PROJECT: ("elsewhere", "project", "elsewhere"),
    env.NAME: ("called", "run_name", "called"),
    env.NOTES: ("why", "run_notes", "why"),
    env.TAGS: ("first,second", "run_tags", ["first", "second"]),
    env.RUN_GROUP: ("together", "run_group", "together"),
    env.JOB_TYPE: ("train", "run_job_type", "train"),
    env.RUN_ID: ("mine", "run_id", "mine"),
    env.RESUME: ("allow", "resume", "allow"),
    env.HOST: ("node7", "host", "node7"),
    env.USERNAME: ("ho", "username", "ho"),
    env.USER_EMAIL: ("ho@example.org", "email", "ho@example.org"),
    env.ORGANIZATION: ("lab", "organization", "lab"),
    env.SILENT: ("false", "silent", False),
    env.QUIET: ("true", "quiet", True),
    "WANDB_CONSOLE": ("wrap", "console", "wrap"),
    env.IGNORE: ("*.tmp,*.bak", "ignore_globs", ["*.tmp", "*.bak"]),
    env.DISABLE_CODE: ("true", "disable_code", True),
    env.DISABLE_GIT: ("true", "disable_git", True),
    env.GIT_ROOT: ("/", "git_root", "/"),
    env.GIT_COMMIT: ("abc", "git_commit", "abc"),
    env.GIT_REMOTE_URL: ("https://example.org/x.git", "git_remote_url", "https://example.org/x.git"),
    env.DOCKER: ("image", "docker", "image"),
    env.HTTP_TIMEOUT: ("7", "x_graphql_timeout_seconds", 7),
    env.FILE_PUSHER_TIMEOUT: ("8", "x_file_transfer_timeout_seconds", 8),
    env.INIT_TIMEOUT: ("33", "init_timeout", 33),
    env.DISABLE_SSL: ("true", "insecure_disable_ssl", True),
    env.APP_URL: ("http://example.org", "app_url_override", "http://example.org"),
    env.NOTEBOOK_NAME: ("book.ipynb", "notebook_name", "book.ipynb"),
}
"""Each variable with a value, the setting of a run that it sets, and what the setting then is."""

ELSEWHERE = {
    "tried in another test": {env.DIR, env.BASE_URL, env.API_KEY, env.SWEEP_ID, env.SWEEP_PARAM_PATH},
    "a folder that W&B reads itself": {env.CONFIG_DIR, env.DATA_DIR, env.CACHE_DIR, env.ARTIFACT_DIR, env.CONFIG_PATHS},
    "set by W&B for its own processes": {env.SERVICE, env.INITED, env.RUN_STORAGE_ID, env.RUN_DIR, env._EXECUTABLE},
    "of W&B's agent and launcher": {name for key, name in vars(env).items() if key.startswith(("AGENT_", "LAUNCH_"))},
    "found out by W&B itself from the program": {env.PROGRAM, env.ARGS, env.JUPYTER, env.SAVE_CODE},
    "a way to log in, instead of a key": {env.IDENTITY_TOKEN_FILE, env.CREDENTIALS_FILE},
    "W&B reads it itself, and it sets nothing of a run": {
        *(env.DEBUG, env.CORE_DEBUG, env.ERROR_REPORTING, env.ARTIFACT_FETCH_FILE_URL_BATCH_SIZE),
        *(env.ENABLE_DCGM_PROFILING, env.USE_V1_ARTIFACTS),
    },
    "W&B reads it no longer": {env.SHOW_RUN, env.DESCRIPTION, env.CRASH_NOSYNC_TIME, env.MAGIC, env.ANONYMOUS},
}
"""The other variables of W&B, by why no setting of a run shows them."""

TYPED = {
    "logger=wandb_offline": ("mode", "offline"),
    "logger.wandb.entity=typed": ("entity", "typed"),
    "logger.wandb.project=typed": ("project", "typed"),
    "+logger.wandb.name=typed": ("run_name", "typed"),
    "+logger.wandb.notes=typed": ("run_notes", "typed"),
    "+logger.wandb.tags=[typed]": ("run_tags", ["typed"]),
    "+logger.wandb.group=typed": ("run_group", "typed"),
    "+logger.wandb.job_type=typed": ("run_job_type", "typed"),
    "+logger.wandb.id=typed": ("run_id", "typed"),
    "logger.wandb.settings.console=redirect": ("console", "redirect"),
    "logger.wandb.settings.silent=true": ("silent", True),
    "+logger.wandb.settings.init_timeout=44": ("init_timeout", 44),
}
"""Options that are typed, and what the settings of a run then are."""


def print_settings(folder: str) -> None:
    """The settings of two W&B runs as lines of JSON: without options, and with those that are typed."""
    names = [name for _, name, _ in COUNT.values()]
    for overrides in ((), TYPED):
        logger = make(composed(*overrides, f"run_dir={folder}")["logger"]["wandb"])
        of_run = partial(lambda run: {name: getattr(run.experiment.settings, name) for name in names}, logger)
        logger.background.do(lambda of_run=of_run: print(json.dumps(of_run())))
        logger.finish(0)


def test_each_variable_of_wandbs_counts_or_has_a_reason() -> None:
    variables = {value for name, value in vars(env).items() if name.strip("_").isupper() and isinstance(value, str)}
    assert variables == {*COUNT, *set.union(*ELSEWHERE.values())} - {"WANDB_CONSOLE"}


@pytest.mark.slow
def test_variables_set_the_run_and_options_win(tmp_path: Path) -> None:
    """The default logger is offline; here WANDB_MODE=online is set, as all others are, and a server answers."""
    program = f"from {__name__} import print_settings; print_settings({str(tmp_path)!r})"
    with serving() as server:
        variables = {**online(server.url), **{name: value for name, (value, _, _) in COUNT.items()}}
        start = [sys.executable, "-c", program]
        ended = subprocess.run(start, cwd=ROOT, env=variables, check=True, timeout=120, capture_output=True, text=True)
    default, typed = (json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{"))
    assert default == {setting: value for _, setting, value in COUNT.values()}
    assert typed == default | dict(TYPED.values())


def page_of_sweeps() -> dict[str, Any]:
    """The sweep.yaml of the page on sweeps."""
    page = (ROOT / "docs" / "wandb_sweeps.md").read_text()
    found = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert found
    return dict(yaml.safe_load(found[1]))


@pytest.mark.slow
def test_wandbs_agent_runs_the_sweep_of_the_page(tmp_path: Path) -> None:
    """Registered by `wandb sweep` and run by `wandb agent`, with one run, made small."""
    sweep = page_of_sweeps() | {"program": str(ROOT / "train.py")}
    before = sweep["command"].index("${args_no_hyphens}")
    small = [option for option in SMALL if not option.startswith("logger")]
    sweep["command"][before:before] = small
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    chosen = {"optimizer.lr": 0.002, "callbacks.ema.decay": 0.99}
    assert chosen.keys() == sweep["parameters"].keys()
    programs = Path(sys.executable).parent
    with serving() as server:
        server.choices = [chosen]
        where = {"cwd": tmp_path, "env": {**online(server.url), "PATH": f"{programs}:{os.environ['PATH']}"}}
        register = [programs / "wandb", "sweep", "--project", "ddpm_lightning", "sweep.yaml"]
        said = subprocess.run(register, **where, check=True, timeout=60, capture_output=True, text=True).stderr
        agent = re.search(r"wandb agent (\S+)", said)
        assert agent
        start = [programs / "wandb", "agent", agent[1]]
        said = subprocess.run(start, **where, check=True, timeout=180, capture_output=True, text=True).stderr
    assert "WARNING" not in said
    first = server.runs[0]
    assert (first["name"], first["sweep"], first["project"]) == ("run0", "sweep1", "ddpm_lightning")
    (run_dir,) = (tmp_path / "outputs").iterdir()
    assert (run_dir / "wandb" / "run_id").read_text() == "run0"
    assert [row["trainer/global_step"] for row in server.history if "train/loss" in row] == [1, 2, 3, 4]
    config = {name: each["value"] for run in server.runs for name, each in json.loads(run["config"] or "{}").items()}
    assert (config["optimizer"]["lr"], config["callbacks"]["ema"]["decay"]) == (0.002, 0.99)
    assert chosen.items() <= config.items()  # from WANDB_SWEEP_PARAM_PATH, by which W&B plots a sweep
