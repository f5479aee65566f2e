"""Door of the rule that sets the recommended LoRA apart."""

from bakery import best
from bakery.bakes import Bake
from bakery.doors import Job

with Job(snakemake) as job:  # noqa: F821
    bakes = [Bake.of(bake) for bake in snakemake.params.bakes]  # noqa: F821
    best.place(bakes, page=job.folder("compare"), out=job.out)
