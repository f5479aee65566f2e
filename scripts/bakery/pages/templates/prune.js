(() => {
  const body = document.querySelector("#tags tbody");
  const tools = document.querySelector(".tools");
  const part = (name) => document.querySelector(`#${name}`);
  const rows = [...body.rows];
  const place = new Map(rows.map((row, number) => [row, number]));  // as written: by frequency
  const given = new Map(rows.map((row) => [row, row.dataset.hand]));
  const button = (row) => row.querySelector(".tag");
  const decision = (row) => ("fixed" in row.dataset ? "" : row.dataset.hand) || row.dataset.automatic;

  // A tag goes to the other decision; the automatic one needs no line, unless the file had one.
  function toggle(row) {
    const next = decision(row) === "keep" ? "prune" : "keep";  // what is dropped is kept first
    const needless = next === row.dataset.automatic && given.get(row) !== next;
    decide(row, needless ? "" : next);
  }

  function decide(row, hand) {
    row.dataset.hand = hand;
    draw(row);
    save();
    unsaved.changed();
  }

  function draw(row) {
    const now = decision(row);
    button(row).setAttribute("aria-pressed", String(now === "prune"));
    row.querySelector(".state").textContent = now;
    row.querySelector(".undo").hidden = !row.dataset.hand;
  }

  function save() {
    const decided = rows.filter((row) => row.dataset.hand).map((row) => [row.dataset.tag, row.dataset.hand]);
    decided.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    const csv = ["tag,decision", ...decided.map(([tag, hand]) => `${house.quoted(tag)},${hand}`), ""].join("\n");
    part("csv").textContent = csv;
    part("count").textContent = decided.length;
    part("pruned").replaceChildren(...rows.filter((row) => decision(row) === "prune").map((row) => {
      const item = document.createElement("li");
      item.textContent = row.dataset.tag;
      return item;
    }));
  }

  // One tab stop for all tags; arrow keys move inside the table.
  const seen = () => [...body.rows].filter((row) => !row.hidden);
  function hold(row) {
    rows.forEach((one) => { button(one).tabIndex = one === row ? 0 : -1; });
  }
  function go(row, step) {
    const all = seen().filter((one) => !button(one).disabled);
    const at = all.indexOf(row);
    const next = all[Math.max(0, Math.min(all.length - 1, step === "first" ? 0 : step === "last" ? all.length - 1 : at + step))];
    if (next) { hold(next); button(next).focus(); }
  }

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (event.target.closest(".undo")) { decide(row, ""); hold(row); button(row).focus(); }
    else if (event.target.closest(".tag")) { hold(row); toggle(row); }
  });
  const steps = { ArrowUp: -1, ArrowDown: 1, Home: "first", End: "last" };
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key in steps) { event.preventDefault(); go(row, steps[event.key]); }
    else if (event.key === "Delete" || event.key === "Backspace") { event.preventDefault(); decide(row, ""); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input")) return;
    event.preventDefault();
    tools.elements.search.focus();
  });

  const shows = {
    all: () => true,
    prune: (row) => decision(row) === "prune",
    keep: (row) => decision(row) === "keep",
    trait: (row) => row.dataset.kind === "trait",
    hand: (row) => row.dataset.hand,
  };
  function choose() {
    const words = tools.elements.search.value.toLowerCase().replaceAll("_", " ").split(" ").filter(Boolean);
    const show = shows[tools.elements.show.value];
    rows.forEach((row) => {
      row.hidden = !(show(row) && words.every((word) => row.dataset.tag.toLowerCase().includes(word)));
    });
    const left = seen();
    part("found").textContent = left.length < rows.length ? `${left.length} of ${rows.length} tags` : "";
    hold(left.find((row) => !button(row).disabled) ?? null);
  }
  function order() {
    const by = {
      count: (a, b) => place.get(a) - place.get(b),
      lift: (a, b) => b.dataset.lift - a.dataset.lift || place.get(a) - place.get(b),
      tag: (a, b) => a.dataset.tag.localeCompare(b.dataset.tag, "en"),
    }[tools.elements.order.value];
    body.replaceChildren(...[...rows].sort(by));
  }
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", (event) => {
    if (event.target.name === "order") order();
    choose();
  });

  document.addEventListener("click", (event) => {
    const source = event.target.closest("[data-copy]");
    if (source) house.copy(source.dataset.copy, source);
  });
  part("copy").addEventListener("click", async (event) => {
    await house.copy(part("csv").textContent, event.target);
    unsaved.taken();
  });
  part("download").addEventListener("click", (event) => {
    house.download("tags.csv", part("csv").textContent, event.target);
    unsaved.taken();
  });

  const unsaved = house.unsaved("decision", {
    changes: () => Object.fromEntries(rows
      .filter((row) => row.dataset.hand !== given.get(row))
      .map((row) => [row.dataset.tag, row.dataset.hand])),
    restore: (changes) => {
      for (const row of rows) {
        const kept = Object.hasOwn(changes, row.dataset.tag) ? changes[row.dataset.tag] : null;
        row.dataset.hand = ["", "prune", "keep"].includes(kept) ? kept : given.get(row);
        draw(row);
      }
      save();
    },
  });
  unsaved.begin();
  choose();
})();
