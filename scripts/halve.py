"""Door of the verdict between two rungs of a sweep with halving."""

from pathlib import Path

from bakery import halving, manifest
from bakery.doors import Errand
from bakery.halve_settings import Halving

with Errand(snakemake, "halve"):  # noqa: F821
    about = dict(snakemake.params.node)  # noqa: F821
    settings = Halving.model_validate(about["settings"])
    summary = halving.decide(settings, snakemake.params.bakes)  # noqa: F821
    manifest.write(Path(snakemake.output[0]).parent, about, summary)  # noqa: F821
