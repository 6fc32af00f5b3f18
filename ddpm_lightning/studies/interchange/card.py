"""The model card of exported weights: what they are, how to use them, their metrics and the origin of these."""

import json
from pathlib import Path
from typing import Any

import jinja2

from ddpm_lightning.configuration.build import ImageData
from ddpm_lightning.errors import shown
from ddpm_lightning.studies.interchange.pretrained import Pretrained, arguments_of
from ddpm_lightning.training.run_results import read_results

USAGE_OF_DIFFUSERS = """from diffusers import DDPMPipeline

pipeline = DDPMPipeline.from_pretrained("PATH")
images = pipeline(batch_size=4, num_inference_steps=pipeline.scheduler.config.num_train_timesteps).images"""

USAGE_OF_CLASSES = """from diffusers import DDPMScheduler, UNet2DModel

unet = UNet2DModel.from_pretrained("PATH", subfolder="unet")
scheduler = DDPMScheduler.from_pretrained("PATH", subfolder="scheduler")
output = unet(x_t, t, class_labels=y).sample  # y counts the classes from 0; the number of classes is no class"""

USAGE_OF_SAFETENSORS = """python convert.py source=safetensors source.path=PATH target.path=checkpoints/last.ckpt
python sample.py checkpoint=checkpoints/last.ckpt"""

TEMPLATE = jinja2.Template(
    """---
tags: [ddpm{% if not conditioned %}, unconditional-image-generation{% endif %}]
---
# A denoising diffusion model

{{ shape }} images{% if facts.imported_from %}, imported from `{{ facts.imported_from }}`{% endif %}; \
{{ weights }} weights after {{ "{:,}".format(step) if step else "an unknown number of" }} steps of training\
{% if facts.version %}, with ddpm_lightning {{ facts.version }}{% endif %}\
{% if facts.commit %}, commit `{{ facts.commit }}`{% endif %}.

```
{{ usage }}
```

| part | class | options |
|---|---|---|
{% for name, part, options in parts -%}
| {{ name }} | {{ part }} | {{ options }} |
{% endfor %}
{% if metrics -%}
| metric | value | of |
|---|---|---|
{% for name, metric in metrics.items() -%}
| {{ name }} | {{ "%.5g"|format(metric.value) if metric.value is number else metric.value }} | \
{{ metric.weights or "given" }} weights, step {{ metric.step }} |
{% endfor %}
They come from the run's `results.json`, whole below.

```json
{{ results }}
```
{% else -%}
No metrics are known of these weights.
{% endif -%}
""",
    autoescape=False,  # Markdown, of values that this project wrote
)


def card(pretrained: Pretrained, use_ema: bool, usage: str) -> str:
    """Returns the model card as Markdown.

    Args:
        pretrained: The weights and their model.
        use_ema: Whether the averaged weights are exported, or the raw ones.
        usage: Commands or code that use the weights.
    """
    data = pretrained.build("data", ImageData)
    results = pretrained.facts.get("results", {})
    parts = [(name, node["_target_"].rpartition(".")[2], _options(node)) for name, node in pretrained.parts.items()]
    page: str = TEMPLATE.render(
        shape=f"{data.channels}×{data.size[0]}×{data.size[1]}",
        weights="averaged (EMA)" if use_ema else "raw",
        step=pretrained.step,
        facts={**pretrained.facts, "commit": results.get("commit"), "version": results.get("version")},
        usage=usage,
        conditioned="conditioning" in pretrained.parts,
        parts=parts,
        metrics=results.get("metrics", {}),
        results=json.dumps(results, indent=2),
    )
    return page


def _options(node: dict[str, Any]) -> str:
    shown_options = {name: value for name, value in arguments_of(node).items() if name not in ("root", "seed")}
    return ", ".join(f"`{name}={shown(value)}`" for name, value in shown_options.items())


def facts_of_run(checkpoint: Path, config: dict[str, Any], step: int) -> dict[str, Any]:
    """Returns the `facts` of a checkpoint's configuration, and those results of its run that belong to this step."""
    facts = dict(config.get("facts", {}))
    results = read_results({"run_dir": checkpoint.parent.parent}) if checkpoint.parent.name == "checkpoints" else {}
    try:
        of_step = {name: metric for name, metric in results["metrics"].items() if metric["step"] == step}
    except (KeyError, TypeError, AttributeError):  # no results, or damaged ones
        return facts
    return {**facts, "results": {**results, "metrics": of_step}} if of_step else facts
