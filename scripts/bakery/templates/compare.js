"use strict";
(() => {
  const frame = document.querySelector("#pictures");
  const body = frame.querySelector("tbody");
  const viewer = document.querySelector("#viewer");
  const part = (name) => document.querySelector(`#viewer-${name}`);
  const tools = document.querySelector(".tools");
  let current = null;

  // The table as it is seen: rows from top to bottom, one picture a prompt.
  const rows = () => [...body.querySelectorAll("tr[data-row]")];
  const shots = (row) => [...row.querySelectorAll("td")].map((cell) => cell.querySelector(".shot:not([hidden])"));

  function neighbour(shot, down, right) {
    const all = rows();
    const row = shot.closest("tr");
    const column = shots(row).indexOf(shot);
    for (let y = all.indexOf(row) + down, x = column + right; all[y]; y += down, x += right) {
      const found = shots(all[y])[x];
      if (found) return found;
      if (x < 0 || x >= shots(all[y]).length) return null;
    }
    return null;
  }

  // One tab stop for the whole table; arrow keys move inside it.
  function hold(shot) {
    body.querySelectorAll(".shot").forEach((one) => { one.tabIndex = one === shot ? 0 : -1; });
  }

  function baseOf(shot) {
    const bake = shot.closest("tr").dataset.bake;
    const bases = rows().filter((row) => row.dataset.epoch === "0");
    const base = bases.find((row) => row.dataset.bake === "-1" || row.dataset.bake === bake);
    return base && [...base.querySelectorAll(".shot")].find(
      (one) => one.dataset.seed === shot.dataset.seed && one.dataset.prompt === shot.dataset.prompt);
  }

  const source = (shot) => shot.dataset.full || shot.querySelector("img").src;
  const listed = (text) => (text ? text.split("\n") : []);

  function tag(name, found) {
    const item = document.createElement("li");
    item.className = found ? "found" : "missing";
    item.textContent = name;
    const said = document.createElement("span");
    said.className = "sr";
    said.textContent = found ? " (seen)" : " (missing)";
    item.append(said);
    return item;
  }

  function show(shot) {
    current = shot;
    const row = shot.closest("tr");
    const base = baseOf(shot);
    const alone = !base || base === shot;
    part("title").textContent = `${shot.dataset.prompt}, seed ${shot.dataset.seed}`;
    part("name").textContent = row.dataset.name;
    part("shot").src = source(shot);
    part("shot").alt = shot.querySelector("img").alt;
    part("base").closest("figure").hidden = alone;
    if (!alone) {
      part("base").src = source(base);
      part("base").alt = base.querySelector("img").alt;
    }
    part("tags").replaceChildren(
      ...listed(shot.dataset.found).map((name) => tag(name, true)),
      ...listed(shot.dataset.missing).map((name) => tag(name, false)));
    part("infotext").textContent = shot.dataset.infotext;
    part("copy").dataset.copy = shot.dataset.infotext;
    viewer.querySelectorAll("[data-step]").forEach((button) => {
      const [down, right] = button.dataset.step.split(",").map(Number);
      button.disabled = !neighbour(shot, down, right);
    });
    hold(shot);
    if (!viewer.open) viewer.showModal();
  }

  function go(down, right) {
    const next = neighbour(current, down, right);
    if (next) show(next);
  }

  const arrows = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const plain = (event) => !(event.altKey || event.ctrlKey || event.metaKey || event.shiftKey);

  frame.addEventListener("click", (event) => {
    const shot = event.target.closest(".shot");
    if (shot) show(shot);
  });
  frame.addEventListener("keydown", (event) => {
    const shot = event.target.closest(".shot");
    const step = arrows[event.key];
    if (!shot || !step || !plain(event)) return;
    event.preventDefault();
    const next = neighbour(shot, ...step);
    if (next) { hold(next); next.focus(); }
  });

  viewer.addEventListener("keydown", (event) => {
    if (!plain(event) || event.target === part("infotext")) return;
    const step = arrows[event.key];
    const seed = tools.querySelectorAll("[name=seed]")[Number(event.key) - 1];
    if (step) { event.preventDefault(); go(...step); }
    else if (seed) { seed.checked = true; chooseSeed(seed.value); }
  });
  viewer.addEventListener("click", (event) => {
    const button = event.target.closest("[data-step]");
    if (button) go(...button.dataset.step.split(",").map(Number));
    else if (event.target.closest("[data-close]") || event.target === viewer) viewer.close();
  });
  viewer.addEventListener("close", () => { if (current) current.focus(); });

  function chooseSeed(seed) {
    const column = current && [...current.closest("tr").cells].indexOf(current.closest("td"));
    body.querySelectorAll(".shot").forEach((shot) => { shot.hidden = shot.dataset.seed !== seed; });
    const same = current && current.closest("tr").cells[column].querySelector(".shot:not([hidden])");
    const first = body.querySelector(".shot:not([hidden])");
    if (same && viewer.open) show(same);
    else { current = same || null; hold(same || first); }
  }

  // By bake: each bake's epochs together. By epoch: the bakes side by side at the same age.
  function chooseOrder(order) {
    const other = { bake: "epoch", epoch: "bake" }[order];
    const key = (row) => [
      row.dataset.epoch === "0" && (order === "epoch" || row.dataset.bake === "-1") ? 0 : 1,
      Number(row.dataset[order] ?? Infinity),
      row.classList.contains("group") ? 0 : 1,
      Number(row.dataset[other] ?? 0),
    ];
    const sorted = [...body.rows].map((row) => [key(row), row]).sort(([a], [b]) => {
      const at = a.findIndex((value, i) => value !== b[i]);
      return at < 0 ? 0 : a[at] - b[at];
    });
    body.replaceChildren(...sorted.map(([, row]) => row));
    frame.dataset.order = order;
    frame.scrollTop = 0;
  }

  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", (event) => {
    const { name, value } = event.target;
    if (name === "seed") chooseSeed(value);
    if (name === "order") chooseOrder(value);
    if (name === "size") document.documentElement.style.setProperty("--tile", `${value}px`);
  });

  async function copy(button) {
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // no clipboard permission: the old way
      const field = document.createElement("textarea");
      field.value = text;
      (viewer.open ? viewer : document.body).append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      button.focus();
    }
    const before = button.textContent;
    button.textContent = "Copied";
    document.querySelector("#status").textContent = "Copied";
    button.disabled = true;
    setTimeout(() => { button.textContent = before; button.disabled = false; }, 1200);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
  });

  const first = body.querySelector(".shot:not([hidden])");
  if (first) tools.elements.size.value = first.getBoundingClientRect().width;  // narrower on a phone
  hold(first);
})();
