"""Door of the filter stage."""

from pathlib import Path

from bakery.jobs.job import Job
from bakery.stages import filter as stage

with Job(snakemake) as job:  # noqa: F821
    params = snakemake.params  # noqa: F821
    job.finish(
        stage.run(
            job.settings,
            scrape=job.folder("scrape"),
            out=job.out,
            edits={name: Path(path) for name, path in params.edits.items()},
            models=[Path(path) for path in params.models],
            dataset=params.dataset,
        )
    )
