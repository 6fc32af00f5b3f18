"""diffusers' folders in and out: the same functions, the same trajectories, and nothing lost on the way."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler
from ddpm_lightning.diffusion.schedules import Schedule
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError
from ddpm_lightning.studies.interchange.destinations import CheckpointTarget, DiffusersTarget, SafetensorsTarget
from ddpm_lightning.studies.interchange.diffusers_source import DiffusersSource
from ddpm_lightning.studies.interchange.ours import CheckpointSource, SafetensorsSource
from ddpm_lightning.studies.interchange.pretrained import Node, Pretrained
from ddpm_lightning.training.checkpoint import load_model
from tests.networks.small import randomise
from tests.peers import unet_of_diffusers
from tests.studies.interchange.folders import (
    FAKE,
    as_google_published,
    change,
    random_checkpoint,
    small_unet_of_diffusers,
    write_pipeline,
)

ALWAYS = (0, 1, 500, 999)
SCHEDULES = "ddpm_lightning.diffusion.schedules."
VARIANCES = "ddpm_lightning.diffusion.variances."
LOG_SPACE = {"_target_": VARIANCES + "LogSpace"}


def loaded(pretrained: Pretrained, folder: Path, use_ema: bool = True) -> DenoisingDiffusion:
    """By way of a checkpoint, as sample.py has it."""
    return load_model(CheckpointTarget(str(folder / "imported.ckpt")).write(pretrained), use_ema)[2]


def difference(ours: torch.nn.Module, theirs: UNet2DModel, side: int, dtype: torch.dtype) -> float:
    """At t = 0, 1, 500 and 999, one image after another, relative to the largest number."""
    worst = 0.0
    ours, theirs = ours.eval().to(dtype), theirs.eval().to(dtype)
    for t in ALWAYS:
        x, at = torch.randn(1, 3, side, side, dtype=dtype), torch.tensor([t])
        with torch.no_grad():
            expected = theirs(x, at).sample
            worst = max(worst, float((ours(x, at) - expected).abs().max() / expected.abs().max()))
    return worst


CIFAR10 = ((32, 32), [128, 256, 256, 256], {1})
CELEBAHQ = ((256, 256), [128, 128, 256, 256, 512, 512], {4})


@pytest.mark.parametrize(
    ("dtype", "most"), [pytest.param(torch.float32, 1e-5, marks=pytest.mark.slow), (torch.float64, 1e-10)]
)
@pytest.mark.parametrize(
    ("size", "channels", "attention"), [CIFAR10, pytest.param(*CELEBAHQ, marks=pytest.mark.slow)], ids=["32²", "256²"]
)
def test_what_is_imported_is_the_same_function(
    tmp_path: Path,
    size: tuple[int, int],
    channels: list[int],
    attention: set[int],
    dtype: torch.dtype,
    most: float,
) -> None:
    unet = unet_of_diffusers(size[0], channels, attention, blocks=2, groups=32)
    randomise(unet)
    folder = write_pipeline(tmp_path / "theirs", unet)
    data = {**FAKE, "size": list(size)}
    ours = loaded(DiffusersSource(str(folder), averaged=True).read(data), tmp_path)
    assert difference(ours.network, unet, size[0], dtype) < most


def test_early_names_flat_folders_and_pickles_are_read_alike(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path / "theirs", small_unet_of_diffusers())
    now = DiffusersSource(str(folder), averaged=False).read(FAKE)
    then = DiffusersSource(str(as_google_published(folder)), averaged=False).read(FAKE)
    assert then.parts == now.parts
    assert {k: v.tolist() for k, v in then.weights(False).items()} == {
        k: v.tolist() for k, v in now.weights(False).items()
    }


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("use_ema", [True, False])
def test_what_is_exported_is_the_same_function(tmp_path: Path, use_ema: bool, dtype: torch.dtype, most: float) -> None:
    checkpoint = random_checkpoint(tmp_path / "last.ckpt")
    pretrained = CheckpointSource(str(checkpoint)).read(None)
    folder = DiffusersTarget(str(tmp_path / "out"), use_ema).write(pretrained)
    theirs = DDPMPipeline.from_pretrained(folder).unet
    _, _, model = load_model(checkpoint, use_ema)
    assert difference(model.network, theirs, 8, dtype) < most


class Noise:
    """x_T, then what each step adds, from one generator."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(5)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=self.generator, dtype=x.dtype)


def walked(pipeline: Any, x: Tensor, steps: int, **options: Any) -> list[Tensor]:
    """Every x_t that diffusers' scheduler goes through."""
    pipeline.scheduler.set_timesteps(steps)
    noise, found = Noise(), []
    noise(x)  # x_T
    for t in pipeline.scheduler.timesteps:
        with torch.no_grad():
            output = pipeline.unet(x, t).sample
        x = pipeline.scheduler.step(output, t, x, generator=noise.generator, **options).prev_sample
        found.append(x)
    return found


MODELS: dict[str, tuple[int, dict[str, Node]]] = {
    "beta": (3, {}),
    "beta_tilde": (3, {"variance": {"_target_": VARIANCES + "BetaTildeVariance"}}),
    "learned_range": (6, {"variance": {"_target_": VARIANCES + "LearnedRangeVariance", "interpolation": LOG_SPACE}}),
    "v": (3, {"parameterization": {"_target_": "ddpm_lightning.diffusion.parameterizations.V"}}),
    "x0": (3, {"parameterization": {"_target_": "ddpm_lightning.diffusion.parameterizations.X0"}}),
    "cosine": (3, {"schedule": {"_target_": SCHEDULES + "CosineSchedule", "T": 1000, "s": 0.008, "max_beta": 0.999}}),
    "quadratic": (
        3,
        {"schedule": {"_target_": SCHEDULES + "QuadraticSchedule", "T": 1000, "beta_1": 1e-4, "beta_T": 0.02}},
    ),
    "constant": (3, {"schedule": {"_target_": SCHEDULES + "ConstantSchedule", "T": 1000, "beta": 0.01}}),
}


def exported(tmp_path: Path, name: str) -> tuple[DenoisingDiffusion, Path]:
    out_channels, others = MODELS[name]
    checkpoint = random_checkpoint(tmp_path / "last.ckpt", out_channels, **others)
    folder = DiffusersTarget(str(tmp_path / "out")).write(CheckpointSource(str(checkpoint)).read(None))
    return load_model(checkpoint, True)[2], folder


def compare(model: DenoisingDiffusion, sampler: Sampler, theirs: list[Tensor], x_T: Tensor, noise: Noise) -> float:
    steps = sampler.trajectory(model, x_T, randn_like=noise)
    return max(float((step.x - x).abs().max()) for step, x in zip(steps, theirs, strict=True))


@pytest.mark.slow  # tests/diffusion compares all 1000 steps with diffusers', and what is exported is the same function
@pytest.mark.parametrize("name", MODELS)
def test_the_whole_ancestral_trajectory_is_diffusers(tmp_path: Path, name: str) -> None:
    """1000 steps with the same noise; diffusers' tables are float32, ours float64."""
    model, folder = exported(tmp_path, name)
    noise = Noise()
    x_T = noise(torch.empty(2, 3, 8, 8))
    theirs = walked(DDPMPipeline.from_pretrained(folder), x_T, 1000)
    assert compare(model, AncestralSampler(), theirs, x_T, noise) < 1e-3


@pytest.mark.slow  # tests/diffusion compares DDIM's steps with diffusers' at every spacing
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_whole_ddim_trajectory_is_diffusers(tmp_path: Path, eta: float) -> None:
    model, folder = exported(tmp_path, "beta")
    noise = Noise()
    x_T = noise(torch.empty(2, 3, 8, 8))
    pipeline = DDIMPipeline.from_pretrained(folder)
    theirs = walked(pipeline, x_T, 1000, eta=eta, use_clipped_model_output=True)
    assert compare(model, DDIMSampler(eta=eta), theirs, x_T, noise) < 1e-3


@pytest.mark.slow
def test_the_pipeline_makes_our_images(tmp_path: Path) -> None:
    """As a user of diffusers calls it."""
    model, folder = exported(tmp_path, "beta")
    noise = Noise()
    ours = AncestralSampler().sample(model, noise(torch.empty(2, 3, 8, 8)), randn_like=noise)
    pipeline = DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=2, generator=Noise().generator, output_type="np").images
    theirs = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert (ours.clamp(-1, 1) / 2 + 0.5 - theirs).abs().max() < 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_export_and_import_lose_nothing(tmp_path: Path, name: str) -> None:
    out_channels, others = MODELS[name]
    before = CheckpointSource(str(random_checkpoint(tmp_path / "a.ckpt", out_channels, **others))).read(None)
    folder = DiffusersTarget(str(tmp_path / "out")).write(before)
    after = DiffusersSource(str(folder)).read(FAKE)
    assert after.step == before.step == 123
    assert after.raw is None
    assert equal(after, before)
    for part, kind in (("parameterization", Parameterization), ("variance", Variance)):
        assert after.build(part, kind) == before.build(part, kind)
    assert torch.equal(after.build("schedule", Schedule).betas(), before.build("schedule", Schedule).betas())


def equal(one: Pretrained, other: Pretrained) -> bool:
    """Whether the averaged weights are the same to the bit."""
    ours, theirs = one.weights(True), other.weights(True)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_plain_safetensors_lose_nothing(tmp_path: Path) -> None:
    before = CheckpointSource(str(random_checkpoint(tmp_path / "a.ckpt"))).read(None)
    folder = SafetensorsTarget(str(tmp_path / "out")).write(before)
    after = SafetensorsSource(str(folder)).read(None)
    assert after.parts == before.parts
    assert equal(after, before)
    again = CheckpointTarget(str(tmp_path / "b" / "last.ckpt")).write(after)
    assert equal(CheckpointSource(str(again)).read(None), before)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"norm_eps": 1e-5}, "norm_eps=1e-05, where the paper's U-Net has 1e-06"),
    ({"downsample_padding": 1}, "downsample_padding=1"),
    ({"flip_sin_to_cos": True}, "flip_sin_to_cos=True"),
    ({"freq_shift": 0}, "freq_shift=0"),
    ({"attention_head_dim": 8}, "attention_head_dim=8"),
    ({"time_embedding_type": "fourier"}, "time_embedding_type=fourier"),
    ({"num_class_embeds": 10}, "num_class_embeds=10"),
    ({"down_block_types": ["DownBlock2D", "ResnetDownsampleBlock2D"]}, "ResnetDownsampleBlock2D"),
    ({"up_block_types": ["UpBlock2D", "UpBlock2D"]}, "or others up"),
    ({"block_out_channels": [16, 24]}, "block_out_channels=[16, 24]"),
    ({"block_out_channels": "many"}, "block_out_channels=many"),
    ({"sample_size": None}, "sample_size=None"),
    ({"dropout": None}, "dropout=None"),
    ({"down_block_types": [["DownBlock2D"], []]}, "have blocks" if False else "has blocks"),
    ({"layers_per_block": "two"}, "two"),
    ({"sample_size": 16}, "the network makes 3×16×16 images, and the data are 3×8×8"),
    ({"layers_per_block": 2}, "is of another network: it lacks down_blocks."),
    ({"block_out_channels": [32, 64]}, "is of another network: "),
    ({"block_out_channels": [16, 48]}, "where (48,) is needed"),
]


@pytest.mark.parametrize(("values", "words"), WRONG, ids=[str(values) for values, _ in WRONG])
def test_another_network_is_named_and_refused(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    folder = write_pipeline(tmp_path / "theirs", small_unet_of_diffusers())
    change(folder / "unet" / "config.json", **values)
    with pytest.raises(UserError) as error:
        DiffusersSource(str(folder), averaged=True).read(FAKE)
    assert words in str(error.value)


def test_absent_keys_mean_what_diffusers_means_by_them(tmp_path: Path) -> None:
    """A plain UNet2DModel() is another network, though its config.json may not say so."""
    folder = write_pipeline(tmp_path / "theirs", small_unet_of_diffusers())
    (folder / "unet" / "config.json").write_text('{"sample_size": 8}')
    with pytest.raises(UserError, match="where the paper's U-Net has"):
        DiffusersSource(str(folder), averaged=True).read(FAKE)


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr=True, where sampling here has False"),
        ({"clip_sample": False}, "clip_sample=False, where sampling here has True"),
        ({"thresholding": True}, "thresholding=True"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "a FlowMatchEulerDiscreteScheduler, unknown here"),
        ({"trained_betas": [0.1, 0.2]}, "2 trained_betas for num_train_timesteps=1000"),
        ({"trained_betas": [0.1, None], "num_train_timesteps": 2}, "beta"),
        ({"trained_betas": [0.1, float("nan")], "num_train_timesteps": 2}, "beta_2=nan"),
        ({"trained_betas": ["x", 0.1], "num_train_timesteps": 2}, "beta"),
        ({"beta_start": 5}, "beta_1=5"),
        ({"num_train_timesteps": "many"}, "many"),
        ({"beta_schedule": []}, r"beta_schedule=\[\]"),
        ({"variance_type": []}, r"variance_type=\[\]"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule=sigmoid"),
        ({"variance_type": "learned"}, "variance_type=learned"),
        ({"prediction_type": "flow"}, "prediction_type=flow"),
    ],
)
def test_schedulers_without_an_equal_here_are_refused(tmp_path: Path, scheduler: dict[str, Any], words: str) -> None:
    folder = write_pipeline(tmp_path / "theirs", small_unet_of_diffusers())
    change(folder / "scheduler" / "scheduler_config.json", **scheduler)
    with pytest.raises(UserError, match=words):
        DiffusersSource(str(folder), averaged=True).read(FAKE)


def test_a_pickle_with_code_in_it_is_refused(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "harmed",))  # type: ignore[return-value]

    folder = as_google_published(write_pipeline(tmp_path / "theirs", small_unet_of_diffusers()))
    torch.save({"conv_in.weight": Harmful()}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match="could run any program"):
        DiffusersSource(str(folder), averaged=True).read(FAKE)
    assert not (tmp_path / "harmed").exists()


def test_a_name_on_the_hub_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_pipeline(tmp_path / "theirs", small_unet_of_diffusers())
    asked = []

    def download(name: str, **options: Any) -> str:
        asked.append(name)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert DiffusersSource("google/ddpm-cifar10-32", averaged=False).read(FAKE).raw
    assert asked == ["google/ddpm-cifar10-32"]


def test_a_name_that_the_hub_does_not_give_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, **options: Any) -> str:
        raise ConnectionError("no network\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(UserError, match=r"the Hugging Face hub gives none \(no network\)"):
        DiffusersSource("google/ddpm-cifar10-32", averaged=False).read(FAKE)


@pytest.mark.parametrize("name", ["conv_in.weight", "up.0.block.conv_0.bias"])
@pytest.mark.parametrize("key", ["ema", "state_dict"])
def test_a_checkpoint_of_ours_that_lacks_a_weight_is_refused(tmp_path: Path, name: str, key: str) -> None:
    """Above all, no raw weight passes for an averaged one."""
    path = random_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint[key][f"network.{name}" if key == "ema" else f"model.network.{name}"]
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=f"lacks {name}"):
        CheckpointSource(str(path)).read(None)


def test_file_and_user_may_not_contradict_each_other(tmp_path: Path) -> None:
    pretrained = CheckpointSource(str(random_checkpoint(tmp_path / "a.ckpt"))).read(None)
    folder = DiffusersTarget(str(tmp_path / "out")).write(pretrained)
    with pytest.raises(UserError, match="says that its weights are averaged"):
        DiffusersSource(str(folder), averaged=False).read(FAKE)


def test_who_does_not_say_which_weights_they_are_is_asked(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path / "theirs", small_unet_of_diffusers())
    with pytest.raises(UserError, match=r"source.averaged=true"):
        DiffusersSource(str(folder)).read(FAKE)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"parameterization": {"_target_": "ddpm_lightning.diffusion.parameterizations.Mu"}}, "diffusers has no Mu"),
        ({"variance": {"_target_": VARIANCES + "LearnedVariance"}}, "reads no variance"),
        (
            {
                "variance": {
                    "_target_": VARIANCES + "LearnedRangeVariance",
                    "interpolation": {"_target_": VARIANCES + "Sigmoid"},
                }
            },
            "reads no variance",
        ),
    ],
)
def test_what_diffusers_cannot_hold_is_not_exported(tmp_path: Path, others: dict[str, Node], words: str) -> None:
    out = 6 if "variance" in others else 3
    pretrained = CheckpointSource(str(random_checkpoint(tmp_path / "a.ckpt", out, **others))).read(None)
    with pytest.raises(UserError, match=words):
        DiffusersTarget(str(tmp_path / "out")).write(pretrained)
    assert not (tmp_path / "out").exists()
    assert SafetensorsTarget(str(tmp_path / "plain")).write(pretrained).is_dir()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    pretrained = CheckpointSource(str(random_checkpoint(tmp_path / "a.ckpt"))).read(None)
    for target in (CheckpointTarget, DiffusersTarget, SafetensorsTarget):
        with pytest.raises(UserError, match="is there already"):
            target(str(tmp_path / "a.ckpt")).write(pretrained)


def test_the_schedulers_config_is_as_diffusers_reads_it(tmp_path: Path) -> None:
    _, folder = exported(tmp_path, "beta_tilde")
    scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    assert (scheduler.config.variance_type, scheduler.config.clip_sample) == ("fixed_small", True)
    unet = UNet2DModel.from_pretrained(folder, subfolder="unet")
    assert unet.config.norm_eps == 1e-6
    assert unet.time_proj.downscale_freq_shift == 1
    assert unet.config.dropout == 0.1
