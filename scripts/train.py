"""Door of the train stage."""

from bakery import manifest, sidecar
from bakery import train as stage
from bakery.doors import Job, device

with Job(snakemake) as job:  # noqa: F821
    settings = job.settings.model_copy(update={"base": snakemake.params.base})  # noqa: F821
    scrape, prune = manifest.read(job.folder("scrape")), manifest.read(job.folder("prune"))
    trigger, class_tokens = prune["settings"]["trigger"], prune["settings"]["class_tokens"]
    summary = stage.run(
        settings,
        layout=job.folder("layout"),
        out=job.out,
        name=scrape["settings"]["name"],
        metadata={"bake": job.about, "trigger": trigger},
        device=device(),
        threads=job.threads,
    )
    for epoch in summary["epochs"]:
        called = sidecar.activation_text(trigger, class_tokens)
        sidecar.write(job.out / epoch["file"], activation=called)
    job.finish(summary)
