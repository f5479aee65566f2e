"""Door of the prune stage."""

from pathlib import Path

from bakery.jobs.job import Job
from bakery.stages import prune as stage

with Job(snakemake) as job:  # noqa: F821
    edits = snakemake.params.edits.get("tags.csv")  # noqa: F821
    job.finish(
        stage.run(
            job.settings,
            scrape=job.folder("scrape"),
            filter=job.folder("filter"),
            tag=job.folder("tag"),
            out=job.out,
            edits=Path(edits) if edits else None,
            dataset=snakemake.params.dataset,  # noqa: F821
        )
    )
