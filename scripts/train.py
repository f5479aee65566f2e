"""Door of the train stage."""

from pathlib import Path

from bakery import manifest, resume, sidecar
from bakery import train as stage
from bakery.doors import Job, device

with Job(snakemake) as job:  # noqa: F821
    places = {"base": snakemake.params.base, "reg_data_dir": snakemake.params.reg}  # noqa: F821
    scrape, prune = manifest.read(job.folder("scrape")), manifest.read(job.folder("prune"))
    trigger, class_tokens = prune["settings"]["trigger"], prune["settings"]["class_tokens"]
    summary = stage.run(
        job.settings.model_copy(update=places),
        layout=job.folder("layout"),
        out=job.out,
        name=scrape["settings"]["name"],
        metadata={"bake": job.about, "trigger": trigger},
        device=device(),
        threads=job.threads,
        cache=Path(snakemake.params.cache),  # noqa: F821
    )
    for epoch in summary["epochs"]:
        called = sidecar.activation_text(trigger, class_tokens)
        sidecar.write(job.out / epoch["file"], activation=called)
    job.finish(summary)
    resume.forget(job.out)
