"""Bakes that are hit again and again at random moments, and compared with one that was left alone.

A story is one bake through the whole chain: after each blow the same command is started again, until
a run ends by itself. All that is random follows from the story's seed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults import chain, powercut

SECONDS_TO_STOP = 60.0
"""How long the processes of a run that was hit may live on; two seconds on an idle machine."""
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
"""What hides a terminal's cursor, and brings it back."""
ALONE = ("--resources", "gpu=1")
"""One job at a time: it trains both bakes side by side."""


@dataclass
class Reference:
    """A bake that was left alone: what it made, and when."""

    results: dict[str, str]
    finished: list[float]
    """What it had had of the CPUs, in seconds, when its jobs were done, in their order: how far it is
    at such a moment does not depend on how busy the machine is."""

    @classmethod
    def bake(cls, bakery: chain.Bakery) -> Reference:
        """Bake in an empty folder, and look."""
        bakery.write_config()
        run, finished = bakery.start(), []
        while run.alive:
            at = run.used()
            finished += [at] * (bakery.done() - len(finished))
            time.sleep(0.2)
        assert run.wait() == 0, run.said
        return cls(chain.results(bakery.folder), finished)

    def moment(self, rng: random.Random) -> tuple[int, float]:
        """A random moment of the whole length: after how many jobs, and how many seconds of the
        CPUs later."""
        at = rng.uniform(0, self.finished[-1])
        before = [one for one in self.finished if one <= at]
        return len(before), at - (before[-1] if before else 0.0)


@dataclass
class Story:
    """What happened to one bake."""

    seed: int
    blows: list[str] = field(default_factory=list)
    """Each with its moment."""
    damage: Counter[str] = field(default_factory=Counter)
    """What the power cuts did."""
    wrong: list[str] = field(default_factory=list)
    """Promises that were broken; none is as it should be."""


class Teller:
    """Tells stories in folders below `place`."""

    def __init__(self, place: Path, kinds: Sequence[str] = (), until: str = "") -> None:
        """`until` ends the bakes after a stage."""
        self.place = place
        self.kinds = kinds or tuple(KINDS)
        self.until = ("--until", until) if until else ()
        self._references: dict[bool, Reference] = {}

    def reference(self, alone: bool) -> Reference:
        """The bake to compare with, made once."""
        if alone not in self._references:
            folder = self.place / f"reference-{'alone' if alone else 'pair'}"
            record = folder.with_suffix(".json")
            if not record.is_file():  # else it is of an earlier call
                shutil.rmtree(folder, ignore_errors=True)
                bakery = chain.Bakery(folder, arguments=self._arguments(alone))
                made = Reference.bake(bakery)
                record.write_text(json.dumps(dataclasses.asdict(made)), encoding="utf-8")
            self._references[alone] = Reference(**json.loads(record.read_text(encoding="utf-8")))
        return self._references[alone]

    def _arguments(self, alone: bool) -> tuple[str, ...]:
        return (*self.until, *(ALONE if alone else ()))

    def tell(self, seed: int, blows: int) -> Story:
        """Bake, hit the bake up to `blows` times, compare."""
        rng = random.Random(seed)
        alone = rng.random() < 0.5
        reference, story = self.reference(alone), Story(seed)
        folder = self.place / f"story-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        bakery = chain.Bakery(folder, arguments=self._arguments(alone))
        bakery.write_config()
        scene = Scene(bakery, powercut.Recorder(folder), rng, story)
        bakery.environment = scene.recorder.environment()
        try:
            for moment in sorted(reference.moment(rng) for _ in range(blows)):
                if scene.hit(rng.choice(self.kinds), moment):
                    break
            else:
                scene.end()
        except TimeoutError as late:
            story.wrong.append(str(late))
        story.wrong += chain.differences(reference.results, chain.results(folder))
        story.wrong += [f"left behind: {name}" for name in scene.leftovers()]
        if not story.wrong:
            shutil.rmtree(folder)
            shutil.rmtree(scene.recorder.notes)
        return story


@dataclass
class Scene:
    """A bake that is being hit."""

    bakery: chain.Bakery
    recorder: powercut.Recorder
    rng: random.Random
    story: Story
    _old: list[psutil.Process] = field(default_factory=list)
    """Of the run before, if it was not waited for."""

    def hit(self, kind: str, moment: tuple[int, float]) -> bool:
        """Start, and hit at the moment; whether the run was at its end before."""
        had = self.bakery.done()
        run = self.bakery.start(terminal=kind in ("hangup", "interrupt"))
        jobs, seconds = moment
        until = time.monotonic() + chain.PATIENCE
        while run.alive and self.bakery.done() < jobs and time.monotonic() < until:
            time.sleep(0.2)
        before = run.used() if jobs > had else 0.0
        while run.alive and run.used() - before < seconds and time.monotonic() < until:
            time.sleep(0.2)
        self._expect_gone(self._old)
        if not run.alive:
            self._ended(run)
            return True
        family = run.family()
        self.story.blows.append(f"{kind} after {jobs} jobs and {seconds:.1f} s")
        self._old = KINDS[kind](self, run, family)
        return False

    def end(self) -> None:
        """The last start, which nothing disturbs."""
        run = self.bakery.start()
        self._expect_gone(self._old)
        run.wait()
        self._ended(run)

    def _ended(self, run: chain.Run) -> None:
        if run.wait() != 0:
            self.story.wrong.append(
                f"the run ended with {run.process.returncode}: {run.last_words}"
            )

    def _expect_gone(self, processes: list[psutil.Process]) -> None:
        for one in chain.gone(processes, SECONDS_TO_STOP):
            self.story.wrong.append(f"process {one.pid} lived on: {self.story.blows[-1]}")
            one.kill()

    def leftovers(self) -> list[str]:
        """What a run should have taken away."""
        found = [*self.bakery.folder.rglob("*.part")]
        found += (self.bakery.folder / ".snakemake" / "locks").glob("*.lock")
        found += self.bakery.folder.rglob("*.status.json")
        return [file.relative_to(self.bakery.folder).as_posix() for file in found]

    def kill_engine(self, run: chain.Run, family: list[psutil.Process]) -> list[psutil.Process]:
        """The next run starts at once, while jobs may still be there."""
        run.process.kill()
        run.wait()
        return family

    def kill_job(self, run: chain.Run, family: list[psutil.Process]) -> list[psutil.Process]:
        """As the kernel does where memory is used up: the others go on, and a sentence says so."""
        jobs = run.jobs()
        if not jobs:
            return self.kill_engine(run, family)
        with suppress(psutil.NoSuchProcess):
            self.rng.choice(jobs).kill()
        if run.wait() != 0 and "out of memory" not in run.said:
            self.story.wrong.append(f"nothing is said of a killed job: {run.last_words}")
        return family

    def kill_all(self, run: chain.Run, family: list[psutil.Process]) -> list[psutil.Process]:
        run.kill()
        return family

    def cut_power(self, run: chain.Run, family: list[psutil.Process]) -> list[psutil.Process]:
        self._expect_gone(self._old)
        run.kill()
        self.story.damage += self.recorder.cut(self.rng)
        return family

    def terminate(self, run: chain.Run, family: list[psutil.Process]) -> list[psutil.Process]:
        run.process.send_signal(signal.SIGTERM)
        return self._stopped(run, family)

    def interrupt(self, run: chain.Run, family: list[psutil.Process]) -> list[psutil.Process]:
        """Ctrl-C at a terminal: all of the foreground get it."""
        os.write(run.master, b"\x03")
        return self._stopped(run, family)

    def hang_up(self, run: chain.Run, family: list[psutil.Process]) -> list[psutil.Process]:
        """The terminal is closed."""
        run.hang_up()  # nothing can be said any more, nor the cursor be brought back
        run.wait(SECONDS_TO_STOP)
        self._expect_gone(family)
        return []

    def _stopped(self, run: chain.Run, family: list[psutil.Process]) -> list[psutil.Process]:
        run.wait(SECONDS_TO_STOP)
        self._expect_gone(family)
        if run.said.rfind(HIDDEN) > run.said.rfind(SHOWN):
            self.story.wrong.append(f"{self.story.blows[-1]}: the terminal's cursor stays hidden")
        begun = "stop with Ctrl-C" in run.said  # before, there is nothing to go on with
        if (
            begun
            and run.process.returncode
            and "Run the same command again to go on" not in run.said
        ):
            self.story.wrong.append(
                f"{self.story.blows[-1]}: no word of how to go on: {run.last_words}"
            )
        return []


Blow = Callable[[Scene, chain.Run, list[psutil.Process]], list[psutil.Process]]
"""Does it, and gives the processes that have to be gone soon."""

KINDS: dict[str, Blow] = {
    "engine killed": Scene.kill_engine,
    "job killed": Scene.kill_job,
    "all killed": Scene.kill_all,
    "power cut": Scene.cut_power,
    "SIGTERM": Scene.terminate,
    "interrupt": Scene.interrupt,
    "hangup": Scene.hang_up,
}
