"""Runs many commands as if pasted into fresh shells, without paying for torch's import each time.

    python tests/support/pasted.py < jobs.json > results.json

Jobs are `{"argv": [...], "cwd": ...}`; argv begins with `python` or `snakemake`. The big third-party
packages are imported once. Then each job is a fork in which nothing of this project was imported and
`sys.path` begins as Python itself would begin it. Results are `{"code": ..., "said": ...}`.
"""

from __future__ import annotations

import io
import json
import os
import runpy
import sys
import tempfile
import traceback
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

AT_ONCE = 2
HEAVY = {
    "diffusers": ("StableDiffusionPipeline", "StableDiffusionXLPipeline"),
    "onnxruntime": (),
    "pandas": (),
    "pydantic": ("BaseModel",),
    "scipy.stats": (),
    "snakemake.cli": (),
    "torch.utils.flop_counter": (),
    "transformers": ("CLIPTextModelWithProjection", "CLIPTokenizer"),
}
"""Modules whose import takes longest, and what they import only when it is asked for."""


def begin(argv: list[str]) -> None:
    """What `python ...` or `snakemake ...` does after its own start; `sys.path` as it would be."""
    program, *rest = argv
    if program == "snakemake":
        from snakemake.cli import main

        sys.argv = argv
        main()
    elif rest[0] == "-m":
        sys.path.insert(0, "")
        sys.argv = rest[1:]
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(rest[0]).parent.absolute()))
        sys.argv = rest
        runpy.run_path(rest[0], run_name="__main__")


def fork(job: dict[str, Any], said: Path) -> int:
    """Process id of the job, which writes all it says to `said`."""
    child = os.fork()
    if child:
        return child
    code: object = 0
    try:
        os.chdir(job["cwd"])
        out = os.open(said, os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1)
        os.dup2(out, 2)
        begin(job["argv"])
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):  # as Python does
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def run(jobs: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    running: dict[int, int] = {}
    codes: dict[int, int] = {}
    for number, job in enumerate(jobs):
        if len(running) == AT_ONCE:
            child, status = os.wait()
            codes[running.pop(child)] = os.waitstatus_to_exitcode(status)
        running[fork(job, folder / str(number))] = number
    while running:
        child, status = os.wait()
        codes[running.pop(child)] = os.waitstatus_to_exitcode(status)
    return [
        {"code": codes[n], "said": (folder / str(n)).read_text("utf-8")} for n in range(len(jobs))
    ]


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, which no pasted command would have
    # one thread: what forks must not have others
    os.environ["OMP_NUM_THREADS"] = "1"
    with redirect_stdout(io.StringIO()):
        for module, lazy in HEAVY.items():
            loaded = import_module(module)
            for name in lazy:
                getattr(loaded, name)
    with tempfile.TemporaryDirectory() as place:
        json.dump(run(json.load(sys.stdin), Path(place)), sys.stdout)
