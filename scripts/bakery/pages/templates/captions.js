(() => {
  const part = (name) => document.querySelector(`#${name}`);
  const cards = [...document.querySelectorAll(".card")];
  const { name: file, longest, own } = document.body.dataset;
  const filter = part("filter");
  const batch = part("batch");
  const field = (card) => card.querySelector("textarea.tags");
  const speech = (card) => card.querySelector("textarea.sentence");  // none where no picture has a sentence
  const box = (card) => card.querySelector("input");
  const texts = new Map();  // card -> its caption as it is now
  const undone = [];  // what batch edits replaced: maps of card -> caption, the newest last

  // A caption as it is read back: pieces between commas and line ends, without white space around them.
  const ENDS = /[,\n\v\f\r\x1c-\x1e\x85\u2028\u2029]/;
  const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
  const AROUND = new RegExp(`^${SPACE}|${SPACE}$`, "g");
  const split = (text) => text.replaceAll("\0", "").split(ENDS).map((tag) => tag.replace(AROUND, "")).filter(Boolean);
  const tidy = (text) => split(text).join(", ");
  const same = (tag) => tag.toLowerCase().replace(/[\s_]+/g, " ").trim();
  const known = (text) => new Set(split(text).map(same));
  const front = known(own);

  // A caption is tags and perhaps a sentence, in which commas part nothing. Where the sentence stands first
  // in the caption as given, it stays first.
  const said = new Map();  // card -> its sentence as it is now
  const SPACES = new RegExp(SPACE, "g");
  const whole = (text) => text.replaceAll("\0", "").replace(SPACES, " ").replace(AROUND, "");
  const sentence = (card) => said.get(card) ?? "";
  // What of each card stays as it is, found once: every key press asks all cards for it.
  const fixed = new Map(cards.map((card) => {
    const { given, automatic, sentence: mine = "", automaticSentence: other = "" } = card.dataset;
    const leads = Boolean(mine) && given.startsWith(mine);
    return [card, { given: tidy(given), automatic: tidy(automatic), spoken: [mine, other].map(whole), leads }];
  }));
  const joined = (card, tags, spoken) => tidy((fixed.get(card).leads ? [spoken, tags] : [tags, spoken]).filter(Boolean).join(", "));
  // The tags of a caption that holds a sentence of the card, and that sentence; else all of it is tags.
  function divided(card, text) {
    const plain = tidy(text);
    for (const spoken of [whole(sentence(card)), ...fixed.get(card).spoken].filter(Boolean)) {
      const inside = tidy(spoken);
      const at = plain.indexOf(inside);
      if (at >= 0) return [tidy(`${plain.slice(0, at)},${plain.slice(at + inside.length)}`), spoken];
    }
    return [plain, ""];
  }
  // The tags of a card, and the same as filters compare them: kept until its caption or sentence is another.
  const parted = new Map();
  function tagged(card) {
    const [text, spoken] = [caption(card), sentence(card)];
    const last = parted.get(card);
    if (last?.text === text && last.spoken === spoken) return last;
    const tags = split(divided(card, text)[0]);
    const now = { text, spoken, tags, names: new Set(tags.map(same)), search: `${card.dataset.image} ${text}`.toLowerCase() };
    parted.set(card, now);
    return now;
  }

  // What was too long to be set stays as it was given.
  const caption = (card) => texts.get(card) ?? fixed.get(card).given;
  const changed = (card) => caption(card) !== fixed.get(card).given;
  const byHand = (card) => caption(card) !== fixed.get(card).automatic;
  // An edit that has a file of its own stays there until it is changed here.
  const tabled = (card) => ("file" in card.dataset ? changed(card) : byHand(card));

  // Sets a caption; false for one that could not be read back: empty, or too long.
  function set(card, text, typed = false) {
    const written = tidy(text);
    if (!written || [...written].length > Number(longest)) return false;
    texts.set(card, written);
    if (!typed) {
      const [tags, spoken] = speech(card) ? divided(card, written) : [written, ""];
      said.set(card, spoken);
      field(card).value = tags;
      if (speech(card)) speech(card).value = spoken;
    }
    card.querySelector(".state").textContent = changed(card) ? "not saved" : byHand(card) ? "by hand" : "";
    card.querySelector(".back").hidden = !byHand(card);
    return true;
  }

  // A caption with its sentence, to be kept and put back.
  const state = (card) => (speech(card) ? `${caption(card)}\0${sentence(card)}` : caption(card));
  function put(card, kept) {
    const [text, spoken] = kept.split("\0");
    if (spoken !== undefined) said.set(card, spoken);
    return set(card, text);
  }

  function save() {
    const rows = cards.filter(tabled).map((card) => [card.dataset.image, caption(card)]);
    rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    part("csv").textContent = ["image,caption", ...rows.map((row) => row.map(house.quoted).join(",")), ""].join("\n");
    part("count").textContent = cards.filter(byHand).length;
  }

  // What a filter shows; edits in bulk go to those of them that are ticked, or to all if none is.
  const shown = () => cards.filter((card) => !card.hidden);
  const ticked = () => shown().filter((card) => box(card).checked);
  function scope() {
    const some = ticked();
    return some.length ? some : shown();
  }
  function tell() {
    const some = ticked().length;
    part("scope").textContent = `Batch edits go to ${some || shown().length} of ${cards.length} pictures: ${some ? "those selected" : "all that are shown"}.`;
    cards.forEach((card) => card.classList.toggle("selected", box(card).checked));
  }

  function choose() {
    const wanted = [...known(filter.elements.with.value)];
    const unwanted = [...known(filter.elements.without.value)];
    const words = filter.elements.search.value.toLowerCase().split(" ").filter(Boolean);
    const show = filter.elements.show.value;
    const rule = filter.elements.logic.value === "and" ? "every" : "some";
    for (const card of cards) {
      const { names, search } = tagged(card);
      card.hidden = !((!wanted.length || wanted[rule]((tag) => names.has(tag)))
        && !unwanted.some((tag) => names.has(tag))
        && words.every((word) => search.includes(word))
        && (show === "all" || (show === "hand" ? byHand(card) : changed(card))));
    }
    tell();
    count(new Set(wanted));
  }

  // The tags of the pictures shown, the most frequent first; a click puts one into the filter or out.
  function count(wanted) {
    const found = new Map();
    for (const card of shown()) {
      for (const tag of new Set(tagged(card).tags)) found.set(tag, (found.get(tag) ?? 0) + 1);
    }
    const sorted = [...found].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).slice(0, 400);
    part("tags").querySelector("ul").replaceChildren(...sorted.map(([tag, number]) => {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "button" });
      button.append(tag, " ", Object.assign(document.createElement("small"), { textContent: number }));
      button.dataset.tag = tag;
      button.setAttribute("aria-pressed", wanted.has(same(tag)));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
    part("known").replaceChildren(...sorted.map(([tag]) => Object.assign(document.createElement("option"), { value: tag })));
  }
  part("tags").addEventListener("click", (event) => {
    const button = event.target.closest("[data-tag]");
    if (!button) return;
    const wanted = split(filter.elements.with.value);
    const left = wanted.filter((tag) => same(tag) !== same(button.dataset.tag));
    filter.elements.with.value = (left.length < wanted.length ? left : [...wanted, button.dataset.tag]).join(", ");
    choose();
  });

  // Batch edits of the tags of one caption.
  const without = (tags, gone) => tags.filter((tag) => !gone.has(same(tag)));
  const edits = {
    end: (tags, given) => [...tags, ...without(given, known(tags.join()))],
    front: (tags, given) => {  // behind the trigger and its class tokens
      const rest = without(tags, known(given.join()));
      const at = rest.findIndex((tag) => !front.has(same(tag)));
      const place = at < 0 ? rest.length : at;
      return [...rest.slice(0, place), ...given.filter((tag) => !rest.slice(0, place).some((own) => same(own) === same(tag))), ...rest.slice(place)];
    },
    remove: (tags, given) => without(tags, known(given.join())),
    replace: (tags, given, by) => {
      const gone = known(given.join());
      const at = tags.findIndex((tag) => gone.has(same(tag)));
      if (at < 0) return tags;
      const before = without(tags.slice(0, at), gone);
      const after = without(tags.slice(at), gone);
      return [...before, ...without(by, known([...before, ...after].join())), ...after];
    },
  };
  function edit(what) {
    const given = split(batch.elements.tags.value);
    if (!given.length) { house.say("Name a tag first"); batch.elements.tags.focus(); return; }
    const before = new Map();
    let refused = 0;
    for (const card of scope()) {
      const tags = edits[what](tagged(card).tags, given, split(batch.elements.by.value)).join(", ");
      const [old, kept] = [caption(card), state(card)];
      const text = joined(card, tags, sentence(card));
      if (text === old) continue;
      if (set(card, text)) before.set(card, kept);
      else refused += 1;
    }
    if (before.size) undone.push(before);
    after(`${before.size} caption${before.size === 1 ? "" : "s"} changed${refused ? `; ${refused} would be empty or too long and stay as they were` : ""}.`);
  }
  function after(text) {
    part("undo").disabled = !undone.length;
    save();
    choose();
    unsaved.changed();
    part("scope").textContent = `${text} ${part("scope").textContent}`;
    house.say(text);
  }

  batch.addEventListener("submit", (event) => {
    event.preventDefault();
    edit(event.submitter?.value ?? "end");
  });
  part("undo").addEventListener("click", () => {
    const before = undone.pop();
    before.forEach((kept, card) => put(card, kept));
    after(`${before.size} taken back.`);
  });
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("input", choose);
  const sheet = document.querySelector(".sheet");
  sheet.addEventListener("input", (event) => {
    const card = event.target.closest(".card");
    if (event.target.type === "checkbox") { tell(); return; }
    const before = sentence(card);
    if (speech(card)) said.set(card, whole(speech(card).value));
    const text = speech(card) ? joined(card, field(card).value, sentence(card)) : event.target.value;
    if (!set(card, text, true)) { said.set(card, before); return; }
    save();
    unsaved.changed();
  });
  sheet.addEventListener("change", (event) => {  // an empty field gets its caption back
    if (!event.target.matches("textarea")) return;
    const card = event.target.closest(".card");
    set(card, caption(card));
  });
  sheet.addEventListener("click", (event) => {
    if (!event.target.closest(".back")) return;
    const card = event.target.closest(".card");
    put(card, speech(card) ? `${card.dataset.automatic}\0${whole(card.dataset.automaticSentence)}` : card.dataset.automatic);
    save();
    unsaved.changed();
    field(card).focus();
  });
  part("copy").addEventListener("click", async (event) => {
    await house.copy(part("csv").textContent, event.target);
    unsaved.taken();
  });
  part("download").addEventListener("click", (event) => {
    house.download(file, part("csv").textContent, event.target);
    unsaved.taken();
  });

  const unsaved = house.unsaved("caption", {
    changes: () => Object.fromEntries(cards.filter(changed).map((card) => [card.dataset.image, state(card)])),
    restore: (changes) => {
      for (const card of cards) {
        const kept = Object.hasOwn(changes, card.dataset.image) ? changes[card.dataset.image] : null;
        if (typeof kept !== "string" || !put(card, kept)) set(card, card.dataset.given);
      }
      undone.length = 0;
      part("undo").disabled = true;
      save();
      choose();
    },
  });
  unsaved.begin();
})();
