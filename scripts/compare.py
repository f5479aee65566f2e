"""Door of the compare stage."""

from bakery import compare as stage
from bakery.bakes import Bake
from bakery.doors import Job

with Job(snakemake) as job:  # noqa: F821
    bakes = [Bake.of(bake) for bake in snakemake.params.bakes]  # noqa: F821
    job.finish(stage.run(job.settings, bakes=bakes, out=job.out, sweep=snakemake.params.sweep))  # noqa: F821
