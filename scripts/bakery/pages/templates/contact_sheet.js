(() => {
  const cards = [...document.querySelectorAll(".card")];
  const byImage = new Map(cards.map((card) => [card.dataset.image, card]));
  const tools = document.querySelector(".tools");
  const lists = [...document.querySelectorAll("[data-list]")].map((bar) => {
    const figure = document.querySelector(`[data-text="${bar.dataset.list}"]`);
    return {
      bar,
      name: bar.dataset.list,
      hand: bar.dataset.list.replace(".txt", ""),
      text: figure.querySelector("textarea"),
      lines: [...figure.querySelectorAll("li")].map((item) => ({
        text: item.dataset.text,
        images: item.dataset.images ? item.dataset.images.split("\n") : [],
      })),
    };
  });
  const given = new Map(cards.map((card) => [card, card.dataset.hand]));
  const carried = new Set();  // the lists that were copied or downloaded as they are now

  const now = (card) => {
    if (card.dataset.hand === "exclude") return "dropped";
    if (card.dataset.hand === "include" && card.dataset.final === undefined) return "kept";
    return card.dataset.itself;
  };

  // What was there stays: comments, unknown entries, and each line whose pictures are all still meant.
  function written({ lines, hand }) {
    const meant = (image) => byImage.get(image)?.dataset.hand === hand;
    const done = new Set();
    const out = [];
    for (const { text, images } of lines) {
      if (images.every(meant)) {
        out.push(text);
        images.forEach((image) => done.add(image));
      }
    }
    for (const card of cards) {
      if (card.dataset.hand === hand && !done.has(card.dataset.image)) out.push(card.dataset.image);
    }
    return out.length ? `${out.join("\n")}\n` : "";
  }

  function describe(card) {
    card.dataset.now = now(card);
    const word = { exclude: "excluded by hand", include: "included by hand" }[card.dataset.hand];
    card.querySelector(".state").textContent = word ?? card.dataset.now;
  }

  function refresh() {
    for (const list of lists) {
      list.text.value = written(list);
      const count = cards.filter((card) => card.dataset.hand === list.hand).length;
      list.bar.querySelector(".count").textContent = count === 1 ? "1 picture" : `${count} pictures`;
    }
    document.querySelector("#kept").textContent = cards.filter((card) => now(card) === "kept").length;
  }

  function decide(card, hand) {
    if (card.dataset.hand === hand) return;
    const free = card.dataset.final === undefined || hand === "";
    if (free) {
      card.dataset.hand = hand;
      carried.clear();
      describe(card);
      refresh();
      unsaved.changed();
    }
    document.querySelector("#status").textContent = free
      ? `${card.dataset.image} ${card.querySelector(".state").textContent}`
      : `${card.dataset.image}: cannot be kept by hand`;
  }

  const overruling = (card) => (card.dataset.itself === "kept" ? "exclude" : "include");

  // One tab stop for all pictures; arrow keys move among those that are seen.
  function hold(card) {
    cards.forEach((one) => { one.tabIndex = one === card ? 0 : -1; });
  }

  function neighbour(card, key) {
    const seen = cards.filter((one) => !one.hidden);
    const at = seen.indexOf(card);
    if (key === "ArrowLeft") return seen[at - 1];
    if (key === "ArrowRight") return seen[at + 1];
    const down = key === "ArrowDown";
    const here = card.getBoundingClientRect();
    const beyond = (down ? seen.slice(at + 1) : seen.slice(0, at).reverse())
      .map((one) => [one, one.getBoundingClientRect()])
      .filter(([, box]) => (down ? box.top > here.top + 1 : box.top < here.top - 1));
    const row = beyond.filter(([, box]) => Math.abs(box.top - beyond[0][1].top) < 1);
    row.sort(([, a], [, b]) => Math.abs(a.left - here.left) - Math.abs(b.left - here.left));
    return row[0]?.[0];
  }

  document.querySelector("main").addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (!card) return;
    hold(card);
    decide(card, card.dataset.hand ? "" : overruling(card));
  });

  document.querySelector("main").addEventListener("keydown", (event) => {
    const card = event.target.closest(".card");
    if (!card || event.altKey || event.ctrlKey || event.metaKey) return;
    const hand = { x: "exclude", i: "include", u: "" }[event.key];
    if (hand !== undefined) decide(card, hand);
    else if (event.key.startsWith("Arrow")) {
      const next = neighbour(card, event.key);
      if (next) { hold(next); next.focus(); }
    } else return;
    event.preventDefault();
  });

  function choose() {
    const { show, reason, concept } = Object.fromEntries(new FormData(tools));
    for (const card of cards) {
      const shown = show === "all" || (show === "hand" ? card.dataset.hand !== "" : now(card) === show);
      card.hidden = !(shown
        && (!reason || card.dataset.reasons.split(" ").includes(reason))
        && (!concept || concept === `=${card.dataset.concept}`));
    }
    const first = cards.find((card) => !card.hidden);
    if (!cards.some((card) => card.tabIndex === 0 && !card.hidden) && first) hold(first);
  }

  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", (event) => {
    if (event.target.name === "size") document.documentElement.style.setProperty("--tile", `${event.target.value}px`);
    else choose();
  });

  function carry(list) {
    carried.add(list.name);
    if (carried.size === lists.length) { unsaved.taken(); carried.clear(); }
  }

  for (const list of lists) {
    list.bar.querySelector(".copy").addEventListener("click", async (event) => {
      await house.copy(list.text.value, event.target);
      carry(list);
    });
    list.bar.querySelector(".download").addEventListener("click", (event) => {
      house.download(list.name, list.text.value, event.target);
      carry(list);
    });
  }

  const unsaved = house.unsaved("decision", {
    changes: () => Object.fromEntries(cards
      .filter((card) => card.dataset.hand !== given.get(card))
      .map((card) => [card.dataset.image, card.dataset.hand])),
    restore: (changes) => {
      for (const card of cards) {
        const kept = Object.hasOwn(changes, card.dataset.image) ? changes[card.dataset.image] : null;
        card.dataset.hand = ["", "exclude", "include"].includes(kept) ? kept : given.get(card);
        describe(card);
      }
      carried.clear();
      refresh();
    },
  });

  if (cards.length) hold(cards[0]);
  unsaved.begin();
})();
