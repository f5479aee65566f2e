"""Door of the dry bake: says what this config would bake, and bakes nothing."""

from pathlib import Path

from bakery import dry_bake
from bakery.doors import Errand

with Errand(snakemake, "plan"):  # noqa: F821
    text = dry_bake.run(
        snakemake.params.bakes,  # noqa: F821
        out=Path(snakemake.params.out),  # noqa: F821
        trained=Path(snakemake.params.trained),  # noqa: F821
    )
    print(text, flush=True)
