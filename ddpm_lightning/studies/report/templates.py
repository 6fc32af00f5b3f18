"""Renders pages from templates: each is one HTML file with pictures and style inside, without links or scripts."""

import io
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def rendered(template: str, figures: Mapping[str, Any], **values: Any) -> str:
    """Returns the HTML of a template of this folder.

    Args:
        template: The path of the template in this folder.
        figures: Matplotlib figures by name. The template gets them as SVG.
        values: What the template names otherwise.
    """
    environment = Environment(
        loader=PackageLoader("ddpm_lightning.studies.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    drawn = {name: Markup(as_svg(figure)) for name, figure in figures.items()}  # matplotlib escapes its text
    return environment.get_template(template).render(figures=drawn, data_uri=data_uri, **values)


def data_uri(path: Path) -> str:
    """Returns a data URI that contains a PNG file."""
    return "data:image/png;base64," + b64encode(path.read_bytes()).decode()


def as_svg(figure: Any) -> str:
    """Returns a figure as an SVG element for an HTML page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
