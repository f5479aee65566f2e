"""Door of the train stage."""

from importlib import import_module
from pathlib import Path

from bakery.jobs import rungs
from bakery.jobs.job import Job, device, leased_gpu

with Job(snakemake) as job:  # noqa: F821
    params = snakemake.params  # noqa: F821
    scrape, prune = job.manifest_of("scrape"), job.manifest_of("prune")
    task = rungs.TrainTask.of(job.out, params.rung)
    abouts = {Path(folder): about for folder, about in params.group.items()}
    job.finish(
        task.complete(
            list(abouts),
            workers=params.workers,
            most=job.settings.side_by_side,
            # imported only to bake: torch takes seconds; first claims, then a GPU that others wait for
            work=leased_gpu()(
                lambda folders: import_module("bakery.stages.train").work(
                    {folder: abouts[folder] for folder in folders},
                    places={"base": params.base, "reg_data_dir": params.reg},
                    name=scrape["settings"]["name"],
                    **{word: prune["settings"][word] for word in ("trigger", "class_tokens")},
                    caption_order=prune["settings"].get("caption_order", ()),
                    outfits=list(prune["settings"].get("outfits", {})),
                    layout=job.folder("layout"),
                    device=device(),
                    threads=job.threads,
                    cache=Path(params.cache),
                    until=task.until,
                    drawing=params.pictures
                    and import_module("bakery.sampling.while_training").on(
                        job.folder("prune"), **params.pictures
                    ),
                )
            ),
        )
    )
