"""Door of the verdict between two rungs of a sweep with halving."""

from pathlib import Path

from bakery.io import manifest
from bakery.jobs.job import LoggedJob
from bakery.settings.halve import Halving
from bakery.stages import halve

with LoggedJob(snakemake, "halve"):  # noqa: F821
    about = dict(snakemake.params.node)  # noqa: F821
    for bake in snakemake.params.bakes:  # noqa: F821
        manifest.checked(Path(bake["score"]), "epochs.csv")
    settings = Halving.model_validate(about["settings"])
    summary = halve.decide(settings, snakemake.params.bakes)  # noqa: F821
    manifest.write(Path(snakemake.output[0]).parent, about, summary)  # noqa: F821
