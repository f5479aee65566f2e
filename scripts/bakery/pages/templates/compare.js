(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse($("#data").textContent);
  const album = $("#album").textContent.split("\n");
  const frame = $("#pictures");
  const body = $("tbody", frame);
  const viewer = $("#viewer");
  const tools = $(".tools");
  const ABSENT = -1;
  const HOLD = 220;  // milliseconds from a click to a hold
  let seed = 0;
  let sized = false;  // whether the reader chose the size of the pictures
  let pinned = null;  // a place: { bake, prompt, epoch }, as numbers of a row and a column
  let shown = null;  // the cell in the viewer

  // A cell is a button of the table; a place is where it stands, a shot what is to be seen there.
  const places = new WeakMap();
  const place = (cell) => places.get(cell);
  const shotAt = ({ bake, prompt, epoch }) => data.shots[data.cells[bake][prompt][epoch][seed]];
  const line = (number) => `data:image/webp;base64,${album[number]}`;
  const file = (shot) => `${data.folders[shot[2]]}/${encodeURIComponent(shot[3])}`;
  const infotext = (shot) => shot[5].map((piece) => data.pieces[piece]).join("");
  const words = (shot, field) => shot[field].map((word) => data.words[word]);
  const epochName = (epoch) => (data.epochs[epoch] ? `epoch ${data.epochs[epoch]}` : "base");
  const name = ({ bake, epoch }) => (data.epochs[epoch] && data.bakes.length > 1
    ? `${data.bakes[bake].label}, ${epochName(epoch)}` : epochName(epoch));
  const title = (at) => `${data.prompts[at.prompt][0]}, seed ${data.seeds[seed]}`;
  const same = (a, b) => Boolean(a && b) && a.bake === b.bake && a.prompt === b.prompt && a.epoch === b.epoch;
  const say = (text) => { $("#status").textContent = text; };

  // The picture that a hold shows in the place of another one.
  function partner(at) {
    const against = tools.elements.against.value;
    let other = { ...at, epoch: 0 };
    if (against === "pinned") other = pinned;
    if (against === "best") other = { ...at, bake: data.best[0], epoch: data.epochs.indexOf(data.best[1]) };
    return other && shotAt(other) && !same(other, at) ? other : null;
  }

  // The table: its cells, and their pictures as they come near.
  const blank = document.createElement("button");
  Object.assign(blank, { type: "button", className: "shot", tabIndex: -1 });
  const took = document.querySelector("#took img");
  const untold = () => { took.parentElement.hidden = true; };  // the page without what is beside it
  if (took && took.complete && !took.naturalWidth) untold();
  took?.addEventListener("error", untold);
  body.addEventListener("error", (event) => event.target.removeAttribute("src"), true);  // no such file here
  blank.append(new Image(), Object.assign(document.createElement("span"), { className: "found" }));
  function fill(row) {
    const [bake, prompt] = [Number(row.dataset.bake), Number(row.dataset.prompt)];
    data.epochs.forEach((number, epoch) => {
      const cell = blank.cloneNode(true);
      places.set(cell, { bake, prompt, epoch });
      cell.dataset.epoch = epoch;
      const td = row.insertCell();
      td.append(cell);
      if (data.best && data.best[1] === number && data.best[0] === bake) td.className = "best";
      describe(cell);
      near.observe(cell);
    });
  }
  // A few rows at a time, so that the page answers meanwhile.
  function build(waiting) {
    waiting.splice(0, 64).forEach(fill);
    if (waiting.length) setTimeout(build, 0, waiting);
    else frame.removeAttribute("aria-busy");
  }
  const cells = () => $$(".shot", body);
  const near = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    near.unobserve(entry.target);
    entry.target.dataset.near = "";
    paint(entry.target);
  }), { rootMargin: "400px" });

  function paint(cell, flipped = null) {
    const at = place(cell);
    const shot = shotAt(flipped || at);
    const [image, found] = cell.children;
    image.alt = "";
    if ("near" in cell.dataset) image.src = shot[0] === ABSENT ? file(shot) : line(shot[0]);
    cell.classList.toggle("flipped", Boolean(flipped));
    if (flipped) { found.textContent = name(flipped); return; }
    const asked = shot[6].length + shot[7].length;
    found.textContent = asked ? `${shot[6].length}/${asked}` : "";
    found.classList.toggle("all", asked > 0 && !shot[7].length);
    if (shot[9].length) found.textContent += " !";
  }
  function describe(cell) {
    const at = place(cell);
    const shot = shotAt(at);
    cell.hidden = !shot;
    if (!shot) return;
    const [width, height] = data.sizes[shot[4]];
    cell.firstChild.width = width;
    cell.firstChild.height = height;
    const asked = shot[6].length + shot[7].length;
    const notes = [asked ? `${shot[6].length} of ${asked} requested tags` : "", ...words(shot, 9)].filter(Boolean);
    cell.setAttribute("aria-label", [`${name(at)}: ${title(at)}`, ...notes].join("; "));
    cell.title = [words(shot, 7).length ? `missing: ${words(shot, 7).join(", ")}` : "",
      words(shot, 8).length ? `leaked: ${words(shot, 8).join(", ")}` : "", ...words(shot, 9)].filter(Boolean).join("\n");
    paint(cell);
  }

  // Moving: one tab stop for the whole table, arrow keys inside it.
  const rows = () => $$("[data-row]", body).filter((row) => !row.hidden);
  function neighbour(cell, down, right) {
    const all = rows();
    const row = cell.closest("tr");
    const column = $$(".shot", row).indexOf(cell);
    for (let y = all.indexOf(row) + down, x = column + right; all[y]; y += down, x += right) {
      const next = $$(".shot", all[y])[x];
      if (!next) return null;
      if (!next.hidden) return next;
    }
    return null;
  }
  function tabStop(cell) {
    const before = $(".shot[tabindex='0']", body);
    if (before) before.tabIndex = -1;
    if (cell) cell.tabIndex = 0;
  }
  const arrows = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const plain = (event) => !(event.altKey || event.ctrlKey || event.metaKey || event.shiftKey);

  // Holding a cell (or the picture in the viewer) flips it; a shorter press is a click.
  function holdable(root, pick, flip, unflip) {
    let held = null;
    let timer = 0;
    let swallow = false;
    const press = (target) => {
      swallow = false;
      held = target;
      timer = setTimeout(() => { timer = 0; swallow = true; flip(held); }, HOLD);
    };
    const release = () => {
      if (!held) return;
      if (timer) clearTimeout(timer);
      else unflip(held);
      timer = 0;
      held = null;
    };
    root.addEventListener("pointerdown", (event) => { if (pick(event.target) && event.button === 0) press(pick(event.target)); });
    ["pointerup", "pointercancel", "blur"].forEach((kind) => window.addEventListener(kind, release));
    root.addEventListener("contextmenu", (event) => { if (held) event.preventDefault(); });
    root.addEventListener("keydown", (event) => {
      if (event.key !== " " || !plain(event) || !pick(event.target)) return;
      event.preventDefault();
      if (!event.repeat && !held) press(pick(event.target));
    });
    root.addEventListener("keyup", (event) => {
      if (event.key !== " " || !pick(event.target)) return;
      event.preventDefault();
      release();
      if (!swallow) pick(event.target).click();
    });
    root.addEventListener("click", (event) => {
      if (swallow && pick(event.target)) { event.stopImmediatePropagation(); swallow = false; }
    }, true);
  }
  holdable(frame, (target) => target.closest(".shot"), (cell) => {
    const other = partner(place(cell));
    if (other) paint(cell, other);
    say(other ? `Now ${name(other)}: ${title(other)}` : "Nothing to switch to");
  }, (cell) => { paint(cell); say(`Back to ${name(place(cell))}`); });
  holdable(viewer, (target) => target.closest(".stage"), () => large($("#viewer-shot"), partner(place(shown)) || place(shown), true),
    () => large($("#viewer-shot"), place(shown), true));

  frame.addEventListener("click", (event) => {
    const cell = event.target.closest(".shot");
    if (cell) open(cell);
  });
  frame.addEventListener("keydown", (event) => {
    const cell = event.target.closest(".shot");
    if (!cell || !plain(event)) return;
    if (event.key === "p") pin(place(cell));
    const step = arrows[event.key];
    if (!step) return;
    event.preventDefault();
    const next = neighbour(cell, ...step);
    if (next) { tabStop(next); next.focus(); }
  });

  function pin(at) {
    pinned = same(pinned, at) ? null : at;
    const choice = $("[name=against][value=pinned]", tools);
    choice.disabled = !pinned;
    (pinned ? choice : $("[name=against][value=base]", tools)).checked = true;
    cells().forEach((cell) => cell.classList.toggle("pinned", same(pinned, place(cell))));
    say(pinned ? `Pinned ${name(at)}: ${title(at)}` : "Unpinned");
  }

  // The viewer: the picture large, the one that it is held against beside it.
  function large(figure, at, spoken = false) {
    const shot = shotAt(at);
    const image = $("img", figure);
    const note = $("#viewer-note");
    note.hidden = true;
    image.onerror = () => {  // no file beside the page, as in a report
      image.onerror = null;
      note.hidden = false;
      note.textContent = `The full-size picture is ${file(shot).replace(/^(\.\.\/)+/, "results/")}.`;
      if (shot[0] !== ABSENT) image.src = line(shot[0]);
    };
    image.src = shot[1] === ABSENT ? file(shot) : line(shot[1]);
    [image.width, image.height] = data.sizes[shot[4]];
    image.alt = `${name(at)}: ${title(at)}`;
    $("figcaption", figure).textContent = name(at);
    if (spoken) say(`Now ${name(at)}`);
  }
  function tag(text, kind, said) {
    const item = document.createElement("li");
    item.className = kind;
    item.append(text, Object.assign(document.createElement("span"), { className: "sr", textContent: ` (${said})` }));
    return item;
  }
  function open(cell) {
    const at = place(cell);
    const shot = shotAt(at);
    const other = partner(at);
    shown = cell;
    $("#viewer-title").textContent = title(at);
    $("#viewer-other").hidden = !other;
    if (other) large($("#viewer-other"), other);
    large($("#viewer-shot"), at);
    $(".stage", viewer).setAttribute("aria-label",
      `${name(at)}: ${title(at)}${other ? `; hold to see ${name(other)}` : ""}`);
    $("#viewer-tags").replaceChildren(
      ...words(shot, 6).map((word) => tag(word, "found", "seen")),
      ...words(shot, 7).map((word) => tag(word, "missing", "missing")),
      ...words(shot, 8).map((word) => tag(word, "leaked", "not asked for")),
      ...words(shot, 9).map((word) => tag(word, "missing", "note")));
    $("#viewer-infotext").textContent = infotext(shot);
    $("#viewer-copy").dataset.copy = infotext(shot);
    $("#viewer-pin").setAttribute("aria-pressed", same(pinned, at));
    $$("[data-step]", viewer).forEach((button) => {
      button.disabled = !neighbour(cell, ...button.dataset.step.split(",").map(Number));
    });
    tabStop(cell);
    if (viewer.open) return;
    viewer.showModal();
    $(".stage", viewer).focus();
  }
  function go(down, right) {
    const next = neighbour(shown, down, right);
    if (next) { open(next); say(`${name(place(next))}: ${title(place(next))}`); }
  }
  viewer.addEventListener("keydown", (event) => {
    if (!plain(event) || event.target.id === "viewer-infotext") return;
    const step = arrows[event.key];
    const choice = $$("[name=seed]", tools)[Number(event.key) - 1];
    if (step) { event.preventDefault(); go(...step); }
    if (event.key === "p") { pin(place(shown)); open(shown); }
    if (choice && event.key > "0") { choice.checked = true; chooseSeed(Number(choice.value)); }
  });
  viewer.addEventListener("click", (event) => {
    const button = event.target.closest("[data-step]");
    if (button) go(...button.dataset.step.split(",").map(Number));
    else if (event.target.id === "viewer-pin") { pin(place(shown)); open(shown); }
    else if (event.target.closest("[data-close]") || event.target === viewer) viewer.close();
  });
  viewer.addEventListener("close", () => { if (shown) shown.focus(); });

  // The tools.
  function chooseSeed(number) {
    seed = number;
    cells().forEach(describe);
    if (!viewer.open) return;
    if (shown.hidden) viewer.close();
    else open(shown);
  }
  function reorder(parent, children) {
    if (children.some((child, i) => parent.children[i] !== child)) parent.replaceChildren(...children);
  }
  function arrange() {
    const group = tools.elements.group ? tools.elements.group.value : "bake";
    const sort = tools.elements.sort ? tools.elements.sort.value : "";
    const good = sort && Number($(`option[value="${sort}"]`, tools).dataset.good);
    const value = (bake) => (data.bakes[bake].scores[sort] ?? NaN) * (good ? -1 : 1);
    const order = data.bakes.map((_, bake) => bake);
    const rank = (a, b) => (Number.isNaN(value(a)) - Number.isNaN(value(b))) || value(a) - value(b) || a - b;
    if (sort) order.sort(rank);
    const shownBakes = new Set($$("[data-toggle][aria-pressed=true]").map((button) => Number(button.dataset.toggle)));
    const chosen = new Set($$("[name=purpose]:checked", tools).map((box) => box.value));
    const all = !$("[name=purpose]", tools);
    const visible = (row) => (row.dataset.bake === undefined || data.bakes.length < 2 || shownBakes.has(Number(row.dataset.bake)))
      && (row.dataset.prompt === undefined || all || chosen.has(data.prompts[row.dataset.prompt][1]));
    const key = (row) => {
      const bake = row.dataset.bake === undefined ? -1 : order.indexOf(Number(row.dataset.bake));
      const prompt = row.dataset.prompt === undefined ? -1 : Number(row.dataset.prompt);
      return group === "bake" ? [bake, prompt] : [prompt, bake];
    };
    const sorted = [...body.rows].map((row) => [key(row), row]).sort(([a], [b]) => a[0] - b[0] || a[1] - b[1]);
    sorted.forEach(([, row]) => { row.hidden = !visible(row); });
    reorder(body, sorted.map(([, row]) => row));
    frame.dataset.group = group;
    const table = $("#bakes tbody");
    reorder(table, order.map((bake) => $(`[data-bake="${bake}"]`, table)));
    $$("#bakes [data-sort]").forEach((button) => button.closest("th").setAttribute(
      "aria-sort", button.dataset.sort !== sort ? "none" : good ? "descending" : "ascending"));
    $$("[data-series]").forEach((line) => line.classList.toggle("off", data.bakes.length > 1 && !shownBakes.has(Number(line.dataset.series))));
    const first = rows().flatMap((row) => $$(".shot", row)).find((cell) => !cell.hidden);
    const stop = $(".shot[tabindex='0']", body);
    if (!stop || stop.closest("tr").hidden) tabStop(first);
  }
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", (event) => {
    const { name: what, value } = event.target;
    if (what === "seed") chooseSeed(Number(value));
    if (["group", "sort", "purpose"].includes(what)) arrange();
    if (what === "group") frame.scrollTop = 0;
    if (what === "size") {
      sized = true;
      document.documentElement.style.setProperty("--tile", `${value}px`);
      fit();
    }
  });
  $("#bakes").addEventListener("click", (event) => {
    const button = event.target.closest("[data-sort]");
    if (!button) return;
    const select = tools.elements.sort;
    select.value = select.value === button.dataset.sort ? "" : button.dataset.sort;
    arrange();
    say(select.value ? `Sorted by ${button.textContent}` : "As configured");
  });
  $$("[data-toggle]").forEach((button) => {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      arrange();
    });
    const mark = (on) => $$("[data-series]").forEach((line) => {
      const own = line.dataset.series === button.dataset.toggle;
      line.classList.toggle("dim", on && !own);
      line.classList.toggle("lit", on && own);
    });
    ["mouseenter", "focus"].forEach((kind) => button.addEventListener(kind, () => mark(true)));
    ["mouseleave", "blur"].forEach((kind) => button.addEventListener(kind, () => mark(false)));
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) house.copy(button.dataset.copy, button);
  });
  window.addEventListener("beforeprint", () => cells().forEach((cell) => { cell.dataset.near = ""; if (!cell.hidden) paint(cell); }));

  // A table that fits the page scrolls with it, so its pictures are made small enough, unless the reader
  // chose their size; one that is wider all the same needs a frame of its own.
  function fit() {
    const table = $("table", frame);
    const root = document.documentElement.style;
    const room = frame.parentElement.clientWidth - 2;
    if (!sized) {
      root.removeProperty("--tile");
      const tile = $("thead th:last-child", table).offsetWidth - 10;
      const small = Math.floor(tile - (table.offsetWidth - room) / data.epochs.length);
      if (small < tile && small >= Number(tools.elements.size.min)) root.setProperty("--tile", `${small}px`);
    }
    frame.classList.toggle("whole", table.offsetWidth <= room);
  }
  window.addEventListener("resize", fit);
  fit();

  arrange();
  build($$("[data-row]", body));
  tabStop(rows().flatMap((row) => $$(".shot", row)).find((cell) => !cell.hidden));
  const first = $(".shot[tabindex='0']", body);
  if (first) tools.elements.size.value = first.getBoundingClientRect().width;  // narrower on a phone
})();
