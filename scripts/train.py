"""Door of the train stage."""

from bakery import manifest
from bakery import train as stage
from bakery.doors import Job, device

with Job(snakemake) as job:  # noqa: F821
    settings = job.settings.model_copy(update={"base": snakemake.params.base})  # noqa: F821
    scrape, prune = manifest.read(job.folder("scrape")), manifest.read(job.folder("prune"))
    job.finish(
        stage.run(
            settings,
            layout=job.folder("layout"),
            out=job.out,
            name=scrape["settings"]["name"],
            metadata={"bake": job.about, "trigger": prune["settings"]["trigger"]},
            device=device(),
            threads=job.threads,
        )
    )
