"""Door of the rule that collects LoRAs for image generators and for publishing."""

from pathlib import Path

from bakery.jobs.job import LoggedJob
from bakery.settings.gather import Gather
from bakery.stages import gather

with LoggedJob(snakemake, "gather"):  # noqa: F821
    text = gather.run(
        Gather.model_validate(snakemake.params.settings),  # noqa: F821
        pages=snakemake.params.pages,  # noqa: F821
        out=Path(snakemake.params.out),  # noqa: F821
    )
    print(text, flush=True)
