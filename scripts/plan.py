"""Door of the dry bake: says what this config would bake, and bakes nothing."""

from pathlib import Path

from bakery.jobs.job import LoggedJob
from bakery.stages import plan

with LoggedJob(snakemake, "plan"):  # noqa: F821
    text = plan.run(
        snakemake.params.bakes,  # noqa: F821
        out=Path(snakemake.params.out),  # noqa: F821
        trained=Path(snakemake.params.trained),  # noqa: F821
    )
    print(text, flush=True)
