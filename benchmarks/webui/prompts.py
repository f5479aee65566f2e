"""Do A1111 and ComfyUI read our prompts and infotexts as they are meant?

    python benchmarks/webui/prompts.py --webui PATH [--comfyui PATH] [--packages DIR]

--webui is a checkout of AUTOMATIC1111/stable-diffusion-webui or a fork of it (Forge); its own functions
run, taken out of their files because those import the whole interface. --comfyui is a checkout of
ComfyUI. `lark` has to be installed, for A1111's grammar; --packages names a folder with it. None of
their code is kept. Prints what was compared; ends with 1 at the first difference.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib.util
import json
import random
import re
import sys
from collections import defaultdict, namedtuple
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from bakery.families import published, samplers
from bakery.interop import infotext, prompt_syntax
from bakery.interop.infotext import Infotext
from bakery.sampling import infotexts
from bakery.settings.sample import Sample

PIECES = (
    "(", ")", "[", "]", "\\", ":", "<", ">", "|", "_", " ", ", ", "AND", "BREAK", "lora:", "1.5", ":3",
    "girl", "smile", "Negative prompt:", "d", ".", "-", "^", "日本",
)  # fmt: skip
TEXTS = (
    "mirael, 1girl", "shiroko (blue archive), 1girl", "2b (nier:automata)", r"\(^o^)/", r"\m/, \||/",
    "[pixiv]", ":d, ;), :)", "1girl, :3", "<|>_<|>, <o>_<o>, |_|", "<lora:x:1>", "cats AND dogs, BREAK",
    "(smile:1.2), [cat:dog:0.5]", "Negative prompt: none",
)  # fmt: skip
RANDOM = 3000


class Anything(dict):
    """Names that a list of theirs refers to and that are not needed here."""

    def __missing__(self, name: str) -> Any:
        return lambda *_, **__: None


def taken(file: Path, names: set[str], **globals_: Any) -> SimpleNamespace:
    """Functions and constants of a file of theirs, run among `globals_`."""
    text = file.read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node]
        if names & {getattr(target, "id", getattr(target, "name", "")) for target in targets}:
            code = ast.Module([node], [])
            exec(compile(code, str(file), "exec"), globals_)
    missing = names - globals_.keys()
    if missing:
        raise SystemExit(f"{file} has no {', '.join(sorted(missing))}: another version?")
    return SimpleNamespace(**globals_)


def listed(file: Path, name: str, **names: Any) -> Any:
    """A list of theirs, of which only the words are needed."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return eval(compile(ast.Expression(node.value), str(file), "eval"), {}, Anything(names))
    raise SystemExit(f"{file} has no {name}: another version?")


def module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@dataclass
class WebUI:
    """The functions that a pasted infotext and its prompt go through."""

    modules: Path

    def __post_init__(self) -> None:
        self.prompts = module(self.modules / "prompt_parser.py")
        options = SimpleNamespace(
            infotext_skip_pasting=[], infotext_styles="Ignore", use_old_hires_fix_width_height=False,
            sd_model_checkpoint="", forge_additional_modules=[], enable_prompt_comments=True,
        )  # fmt: skip
        shared = SimpleNamespace(opts=options)
        self.infotexts = taken(
            self.modules / "infotext_utils.py",
            {"re_param_code", "re_param", "re_imagesize", "unquote", "restore_old_hires_fix_params",
             "parse_generation_parameters"},
            re=re, json=json, shared=shared, prompt_parser=self.prompts,
            infotext_versions=SimpleNamespace(backcompat=lambda _: None),
            main_entry=SimpleNamespace(module_list={}), annotations=None,
        )  # fmt: skip
        self.networks = taken(
            self.modules / "extra_networks.py",
            {"re_extra_net", "parse_prompt"},
            re=re,
            defaultdict=defaultdict,
            ExtraNetworkParams=namedtuple("ExtraNetworkParams", "items"),
        )
        self.comments = taken(
            self.modules / "processing_scripts" / "comments.py",
            {"strip_comments"},
            re=re,
            shared=shared,
        )
        self.samplers = self._samplers()

    def _samplers(self) -> SimpleNamespace:
        def scheduler(name: str, label: str, *_: Any, aliases: Any = None, **__: Any) -> Any:
            return SimpleNamespace(name=name, label=label, aliases=aliases)

        schedulers = listed(
            self.modules / "sd_schedulers.py", "schedulers", Scheduler=scheduler,
            k_diffusion=SimpleNamespace(sampling=whatever()),
        )  # fmt: skip
        found = [
            SimpleNamespace(name=name, options=options)
            for name, _, _, options in listed(
                self.modules / "sd_samplers_kdiffusion.py", "samplers_k_diffusion",
                sd_samplers_extra=whatever(),
            )
        ]  # fmt: skip
        found += [SimpleNamespace(name=name, options={}) for name in ("DDIM", "PLMS", "UniPC")]
        by_name = {s.name: s for s in schedulers} | {s.label: s for s in schedulers}
        return taken(
            self.modules / "sd_samplers.py",
            {"get_sampler_and_scheduler"},
            functools=functools,
            samplers=found,
            all_samplers_map={one.name: one for one in found},
            sd_schedulers=SimpleNamespace(schedulers=schedulers, schedulers_map=by_name),
        )

    def literal(self, prompt: str) -> str:
        """What the text encoder gets of a prompt; everything must weigh 1."""
        prompt, _ = self.networks.parse_prompt(self.comments.strip_comments(prompt))
        parts, flat, _ = self.prompts.get_multicond_prompt_list(Plain([prompt]))
        if parts != [[(0, 1.0)]]:
            return f"divided into {parts}"
        ((_, text),) = self.prompts.get_learned_conditioning_prompt_schedules(list(flat), 20)[0]
        words = self.prompts.parse_prompt_attention(text)
        if any(weight != 1.0 for _, weight in words):
            return f"weighed as {words}"
        return "".join(said for said, _ in words)


class Plain(list):
    """A list of prompts as their SdConditioning is one."""


def whatever() -> Any:
    """An object with every attribute."""
    return type("Any", (), {"__getattr__": lambda *_: None})()


def texts() -> list[str]:
    """Fixed ones, and random joins of what is special somewhere."""
    rng = random.Random(1)
    made = ("".join(rng.choices(PIECES, k=rng.randint(1, 12))).strip() for _ in range(RANDOM))
    return [*TEXTS, *made]


def check(what: str, wanted: object, got: object, given: str) -> None:
    if wanted != got:
        raise SystemExit(f"{what}: {given!r} is read as {got!r} instead of {wanted!r}")


def check_webui(webui: WebUI) -> None:
    for text in texts():
        check("prompt", text, webui.literal(prompt_syntax.escape(text)), text)
        settings = infotexts.common_settings(Sample(), "toon.safetensors", 2)
        note = {"Note": text} if text else {}
        written = infotext.write(Infotext(text, text, settings | note, {"a b": 0.5}))
        read = webui.infotexts.parse_generation_parameters(written)
        check("infotext", text, webui.literal(read["Prompt"]).strip(), written)
        check("infotext", text, webui.literal(read["Negative prompt"]), written)
        check("infotext", ["a b", "0.5"],
              webui.networks.parse_prompt(read["Prompt"])[1]["lora"][0].items, written)  # fmt: skip
        check("infotext", settings["Model"], read["Model"], written)
        check("infotext", "CPU", read["RNG"], written)
        if not re.fullmatch(r"\d+x\d+", text):
            check("infotext", note.get("Note"), read.get("Note"), written)
    print(f"{len(texts())} prompts and infotexts are read as they were meant")
    for name in samplers.TABLE:
        for spacing in ("leading", "linspace", "trailing"):
            told = samplers.schedule_type(name, published.SCHEDULER | {"timestep_spacing": spacing})
            settings = infotexts.common_settings(Sample(sampler=name), "toon", 1, told)
            written = infotext.write(Infotext("a", "", settings))
            read = webui.infotexts.parse_generation_parameters(written)
            got = webui.samplers.get_sampler_and_scheduler(
                read["Sampler"], read["Schedule type"], convert_automatic=False
            )
            karras = name.endswith(" Karras")
            wanted = (name.removesuffix(" Karras"), "Karras" if karras else told or "Automatic")
            check("sampler", wanted, got, name)
    print(f"{len(samplers.TABLE)} samplers are taken with our schedule")
    print("known: # begins a comment:", repr(webui.literal("voidoll (#compass)")))


def check_comfyui(folder: Path) -> None:
    theirs = taken(
        folder / "comfy" / "sd1_clip.py",
        {"escape_important", "unescape_important", "parse_parentheses", "token_weights"},
    )
    special = re.compile(r"[\\\[\]<]|AND|BREAK|Negative|:\s*[-\d.]+$")
    same = [text for text in texts() if not special.search(text)]
    for text in same:
        read = theirs.token_weights(theirs.escape_important(prompt_syntax.escape(text)), 1.0)
        words = "".join(theirs.unescape_important(said) for said, _ in read)
        check("ComfyUI", (text, True), (words, all(weight == 1 for _, weight in read)), text)
    print(f"ComfyUI reads the {len(same)} of them that have no other escape the same")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--webui", type=Path, required=True)
    parser.add_argument("--comfyui", type=Path)
    parser.add_argument("--packages", type=Path)
    given = parser.parse_args()
    if given.packages:
        sys.path.insert(0, str(given.packages))
    check_webui(WebUI(given.webui / "modules"))
    if given.comfyui:
        check_comfyui(given.comfyui)


if __name__ == "__main__":
    main()
