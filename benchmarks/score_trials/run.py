"""Is the score right? Two dozen trials, half of them to settle rule and weights, half to judge them.

    python benchmarks/score_trials/run.py yardstick build/trials
    python benchmarks/score_trials/run.py prepare build/trials [--base sd|anima]
    python benchmarks/score_trials/run.py bake build/trials [t01 t02 ...]
    python benchmarks/score_trials/run.py report build/trials
    python benchmarks/score_trials/run.py settle build/trials
    python benchmarks/score_trials/run.py judge build/trials
    python benchmarks/score_trials/run.py claims build/trials pruned detail_unknown

`yardstick` makes what sees the truth. `prepare` writes a folder a trial: pictures and a config. `bake`
bakes those that are not finished, one after the other; it may be stopped, and run again. Each is a
folder of Snakemake's. `report` prints what is known of the finished trials of the first half, in
Markdown. `settle` chooses rule and weights by it and writes them to `settled.json`. `judge` then looks
at the second half, once: it writes `judged.md` and does not run again. `claims` looks at experiments of
`config/experiments/` that were baked by `make EXPERIMENT=...`, and needs no trial but the yardstick.

The design: `design.py`. What came of it: docs/proof.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).absolute().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "benchmarks")]

from hardware import describe  # noqa: E402
from score_trials import choices, plot, replays, report, setting_up  # noqa: E402
from score_trials.choices import RULES, SHIPPED, Evidence  # noqa: E402
from score_trials.design import JUDGE, SETTLE, Design, designs, table  # noqa: E402
from score_trials.seen import Seen  # noqa: E402

from bakery.report.results import Bake  # noqa: E402

if TYPE_CHECKING:
    from score_trials.yardstick import Yardstick

SETTLED, JUDGED = "settled.json", "judged.md"
FIRST = next(iter(RULES))


def asked(names: Sequence[str]) -> list[Design]:
    """The trials with these names, all without any."""
    unknown = sorted(set(names) - {one.name for one in designs()})
    if unknown:
        raise SystemExit(f"there is no trial {', '.join(unknown)}: they are t01 to t24")
    return [one for one in designs() if not names or one.name in names]


def make_yardstick(args: argparse.Namespace) -> None:
    """Makes the yardstick, which needs no trial."""
    from score_trials import yardstick

    if yardstick.is_made(args.folder):
        raise SystemExit(
            f"{args.folder} has a yardstick already: another one would see other things"
        )
    args.folder.mkdir(parents=True, exist_ok=True)
    yardstick.make(args.folder)


def prepare(args: argparse.Namespace) -> None:
    """Writes a folder with pictures and a config for each trial."""
    base = setting_up.BASES[args.base]
    base = replace(base, folder=args.base_folder) if args.base_folder else base
    setting_up.prepare(asked(args.trials), base, args.folder, args.epochs)
    print("\n".join(table(designs())))


def bake(args: argparse.Namespace) -> None:
    """Bakes the trials that are not finished, or those named."""
    for design in asked(args.trials):
        place = args.folder / design.name
        if not (place / "config.yaml").is_file():
            raise SystemExit(f"{place} has no config.yaml: run prepare for {design.name} first")
        if setting_up.is_finished(place):
            continue
        status = setting_up.bake(place, args.cores)
        if status:
            raise SystemExit(f"{design.name} did not finish: see above, then run the same again")
        print(f"{design.name} is finished: {setting_up.cpu_seconds(place) / 60:.1f} CPU minutes")


def finished(folder: Path, half: str) -> list[Design]:
    """The trials of a half that are baked to their end."""
    return [
        one for one in designs()
        if one.half == half
        and (folder / one.name / "config.yaml").is_file()
        and setting_up.is_finished(folder / one.name)
    ]  # fmt: skip


def read_yardstick(folder: Path) -> Yardstick:
    """The yardstick that is in the trials' folder."""
    # torch and diffusers take a while, and most steps here do not need them
    from score_trials import yardstick

    if not yardstick.is_made(folder):
        raise SystemExit(f"{folder} has no yardstick: run yardstick first")
    return yardstick.Yardstick.read(folder)


def read_all(folder: Path, half: str) -> list[Evidence]:
    """The evidence of a half's finished trials, by the shipped weights whatever they were scored by."""
    from score_trials import evidence

    measure = read_yardstick(folder)
    found = [evidence.read(one, folder / one.name, measure) for one in finished(folder, half)]
    for one in found:
        if not one.has_verdict:
            why = "nothing was pruned, or nothing asked is known: its epochs have no trade-off"
            print(f"{one.design.name} is left out: {why}\n")
    return [choices.weighed(one, SHIPPED) for one in found if one.has_verdict]


def minutes(folder: Path, found: Sequence[Evidence]) -> dict[str, float]:
    """Trial -> CPU minutes that baking it took."""
    names = [one.design.name for one in found]
    return {name: setting_up.cpu_seconds(folder / name) / 60 for name in names}


def counted(folder: Path, found: Sequence[Evidence], half: str) -> str:
    every = sum(one.half == half for one in designs())
    return f"{len(found)} of the {every} trials to {half} by are finished. {describe()}"


def tell(args: argparse.Namespace) -> None:
    """The report on the half `SETTLE`."""
    found = read_all(args.folder, SETTLE)
    print(counted(args.folder, found, SETTLE))
    if not found:
        return
    seen = [[Seen.read(one) for one in _scored(args.folder, trial.design)] for trial in found]
    fewer = [
        list(replays.with_fewer(trial, of_trial, FIRST))
        for trial, of_trial in zip(found, seen, strict=True)
    ]
    early = [[replays.halved(trial, how, FIRST) for how in replays.HALVINGS] for trial in found]
    for title, rows in (
        ("Trials", report.trials(found, minutes(args.folder, found), FIRST)),
        ("Rules", report.rules(found)),
        ("Weights", report.weights(choices.settle(found), found)),
        ("Without each metric", report.without_each(found, FIRST)),
        ("Fewer pictures", report.replays("drawn", "pictures", fewer)),
        ("Halving", report.replays("halving", "epochs baked", early)),
        ("The second epoch", report.best_epochs(found)),
        ("Broken pictures", report.doubts(found)),
    ):
        print(f"\n## {title}\n\n" + "\n".join(rows))
    if args.plot:
        plot.plot(found, args.plot, FIRST)


def _scored(folder: Path, design: Design) -> list[Bake]:
    return setting_up.bakes(folder / design.name, setting_up.SCORED)


def settle(args: argparse.Namespace) -> None:
    """Writes the rule and the weights that lose least on the finished trials of the half `SETTLE`."""
    if (args.folder / JUDGED).is_file():
        raise SystemExit(f"{JUDGED} is there: what is settled after judging proves nothing")
    found = read_all(args.folder, SETTLE)
    if not found:
        raise SystemExit("no trial to settle by is finished: bake one first")
    best = choices.settle(found)[0]
    names = [one.design.name for one in found]
    facts = {
        "rule": best.rule, "weights": dict(best.weights), "shipped": dict(SHIPPED), "trials": names,
    }  # fmt: skip
    (args.folder / SETTLED).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(counted(args.folder, found, SETTLE), json.dumps(facts), sep="\n")


def look_at_claims(args: argparse.Namespace) -> None:
    """Prints what the pictures of baked experiments show."""
    from score_trials import claims

    measure = claims.of_the_character(read_yardstick(args.folder))
    for name in args.experiments:
        files = [ROOT / "config/config.yaml", ROOT / f"config/experiments/{name}.yaml"]
        if not files[1].is_file():
            raise SystemExit(f"there is no experiment {name}: docs/experiments.md lists them")
        print(f"\n## {name}\n\n" + "\n".join(claims.of_experiment(files, args.results, measure)))


def _said(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weights[name]:g}" for name in SHIPPED)


def judge(args: argparse.Namespace) -> None:
    """Reports on the half `JUDGE`, once: what was settled, what was shipped before, other rules."""
    if (args.folder / JUDGED).is_file():
        raise SystemExit(f"judged already: {args.folder / JUDGED}. A second look would be a choice")
    if not (args.folder / SETTLED).is_file():
        raise SystemExit("nothing is settled yet: run settle first, then judge")
    missing = [one.name for one in designs()
               if one.half == JUDGE and one not in finished(args.folder, JUDGE)]  # fmt: skip
    if missing and not args.without_the_unfinished:
        raise SystemExit(f"not finished: {', '.join(missing)}. Bake them, or judge "
                         "--without-the-unfinished")  # fmt: skip
    facts = json.loads((args.folder / SETTLED).read_text("utf-8"))
    found = read_all(args.folder, JUDGE)
    if not found:
        raise SystemExit("no trial to judge by is finished: bake one first")
    settled = [choices.weighed(one, facts["weights"]) for one in found]
    before = choices.attempt(found, FIRST, facts["shipped"])
    text = [
        counted(args.folder, found, JUDGE),
        f"As settled: {facts['rule']}; {_said(facts['weights'])}.", "",
        *report.trials(settled, minutes(args.folder, found), facts["rule"]), "",
        *report.rules(found, facts["weights"]),
        report.line(f"as shipped before: {FIRST}; {_said(facts['shipped'])}", before, found), "",
        *report.best_epochs(found), "",
        *report.doubts(found),
    ]  # fmt: skip
    if args.plot:
        plot.plot(settled, args.plot, facts["rule"])
    (args.folder / JUDGED).write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = {
        "yardstick": make_yardstick, "prepare": prepare, "bake": bake, "report": tell,
        "settle": settle, "judge": judge, "claims": look_at_claims,
    }  # fmt: skip
    commands = parser.add_subparsers(dest="what", required=True)
    for name, step in steps.items():
        command = commands.add_parser(name, help=step.__doc__)
        command.add_argument("folder", type=Path)
        command.set_defaults(step=step)
        if name == "prepare":
            command.add_argument("--base", choices=sorted(setting_up.BASES), default="sd")
            command.add_argument("--base-folder", help="where that base is, if elsewhere")
            command.add_argument("--epochs", type=int, default=4)
        if name in ("prepare", "bake"):
            command.add_argument("trials", nargs="*", help="these alone")
        if name == "bake":
            command.add_argument("--cores", default="all")
        if name in ("report", "judge"):
            command.add_argument("--plot", type=Path, help="picture to write beside the tables")
        if name == "claims":
            command.add_argument("experiments", nargs="+", help="as config/experiments names them")
            command.add_argument("--results", type=Path, default=ROOT, metavar="FOLDER",
                                 help="that has results/, if not this checkout")  # fmt: skip
        if name == "judge":
            command.add_argument("--without-the-unfinished", action="store_true")
    args = parser.parse_args()
    args.step(args)


if __name__ == "__main__":
    main()
