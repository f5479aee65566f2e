"""A small stage, `audit`, as the recipe in CONTRIBUTING.md has it: the files that are new."""

from __future__ import annotations

STAGE = "audit"
SETTINGS = '''"""The settings of the audit: which captions are listed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bakery.settings.sections import Section


class Audit(Section):
    """A list of captions that say little."""

    min_tags: Annotated[int, Field(ge=1)] = 1
    """Tags below which a caption is listed."""
'''
MODULE = '''"""Audit: the captions that say little, before a bake is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bakery.dataset.repeat_folders import read_folders
from bakery.io import tables
from bakery.settings.audit import Audit
from bakery.tags import captions


def run(settings: Audit, layout: Path, out: Path) -> dict[str, Any]:
    """Write audit.csv, a line for each thin caption; give the numbers for the manifest."""
    items = read_folders(layout).items
    rows = [
        {"image": f"{item.folder}/{item.image.name}", "tags": len(captions.split(item.caption))}
        for item in items
    ]
    thin = [row for row in rows if row["tags"] < settings.min_tags]
    tables.write(out / "audit.csv", thin, ("image", "tags"))
    return {"captions": len(items), "thin": len(thin)}
'''
DOOR = '''"""Door of the audit stage."""

from bakery.jobs.job import Job
from bakery.stages import audit as stage

with Job(snakemake) as job:  # noqa: F821
    job.finish(stage.run(job.settings, job.folder("layout"), out=job.out))
'''
RULE = """# The captions that say little.
# In:  results/layout/<key>/
# Out: results/audit/<key>/ audit.csv


rule audit:
    input:
        layout=ancient(above("audit", "layout")),
    output:
        "results/audit/{bake}/manifest.json",
    log:
        "logs/audit/{bake}.log",
    conda:
        "../../envs/audit.yaml"
    params:
        node=about("audit"),
    script:
        "../../scripts/audit.py"
"""
ENVIRONMENT = """# For `snakemake --sdm conda`; `make` needs none of these.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python =3.11
  - pip
  - pip:
      - pandas==3.1.1
      - pillow==13.0.0
      - pydantic==2.14.3
"""
TEST = '''"""The audit lists captions that say little."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bakery.settings.audit import Audit
from bakery.stages import audit


def test_thin_captions_are_listed(tmp_path: Path) -> None:
    folder, out = tmp_path / "layout/5_ada", tmp_path / "out"
    folder.mkdir(parents=True)
    out.mkdir()
    for number, caption in enumerate(("ada, smile, beach", "ada")):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption, "utf-8")
    summary = audit.run(Audit(min_tags=2), tmp_path / "layout", out)
    assert summary == {"captions": 2, "thin": 1}
    assert (out / "audit.csv").read_text("utf-8").splitlines() == ["image,tags", "5_ada/1.png,1"]
'''
NEW_FILES = {
    "scripts/bakery/settings/<stage>.py": SETTINGS,
    "scripts/bakery/stages/<stage>.py": MODULE,
    "scripts/<stage>.py": DOOR,
    "workflow/rules/<stage>.smk": RULE,
    "envs/<stage>.yaml": ENVIRONMENT,
    "tests/stages/test_<stage>.py": TEST,
}
"""Path as the recipe names it -> content."""
