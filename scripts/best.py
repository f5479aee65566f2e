"""Door of the rule that sets the recommended LoRA apart."""

from bakery.jobs.job import Job
from bakery.report.results import trusted
from bakery.stages import best

with Job(snakemake) as job:  # noqa: F821
    bakes = trusted(snakemake.params.bakes)  # noqa: F821
    best.place(bakes, page=job.folder("compare"), out=job.out)
