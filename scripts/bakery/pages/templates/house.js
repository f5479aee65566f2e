"use strict";
// What the pages share: handing text back to a person, and keeping what is not saved yet.
const house = {
  say(text) {
    const status = document.querySelector("#status");
    if (status) status.textContent = text;
  },

  // A button says for a moment what it did.
  did(button, text) {
    const before = button.textContent;
    button.textContent = text;
    button.disabled = true;
    house.say(text);
    setTimeout(() => { button.textContent = before; button.disabled = false; }, 1200);
  },

  async copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // no clipboard permission: the old way
      const field = Object.assign(document.createElement("textarea"), { value: text });
      (document.querySelector("dialog[open]") ?? document.body).append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      button.focus();
    }
    house.did(button, "Copied");
  },

  download(name, text, button) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    house.did(button, "Downloaded");
  },

  // A field of a CSV file, quoted where it must be.
  quoted: (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text),

  // Changes by name ({ "smile": "prune" }), which a browser keeps for this page of this result until they
  // are discarded: a closed tab loses nothing. Some browsers keep nothing for files; there a tab with
  // changes asks before it goes. The element #unsaved says what there is; `noun` is what one change is.
  unsaved(noun, { changes, restore }) {
    const place = `lora-bakery/${document.body.dataset.keep}`;
    const note = document.querySelector("#unsaved");
    let taken = false;  // whether all of it was copied or downloaded as it is now
    let keeps = true;
    const read = () => {
      try {
        const found = JSON.parse(localStorage.getItem(place) ?? "{}");
        return { changes: Object(found.changes), taken: found.taken === true };
      } catch {
        return { changes: {}, taken: false };
      }
    };
    const write = (now) => {
      try {
        if (Object.keys(now).length) localStorage.setItem(place, JSON.stringify({ changes: now, taken }));
        else localStorage.removeItem(place);
        keeps = true;
      } catch {
        keeps = false;
      }
    };
    const show = (count) => {
      const what = `${count} ${noun}${count === 1 ? "" : "s"}`;
      note.hidden = !count;
      note.querySelector("span").textContent = taken
        ? `${what} handed over: save the file and run again.`
        : `${what} not saved yet${keeps ? ", kept in this browser." : ": this browser keeps nothing."}`;
      note.classList.toggle("taken", taken);
    };
    const refresh = () => {
      const now = changes();
      write(now);
      show(Object.keys(now).length);
    };
    note.querySelector("button").addEventListener("click", () => {
      restore({});
      taken = false;
      refresh();
      house.say("Discarded");
    });
    window.addEventListener("beforeunload", (event) => {
      if (!keeps && !taken && Object.keys(changes()).length) event.preventDefault();
    });
    return {
      begin() {
        const before = read();
        restore(before.changes);
        taken = before.taken;
        refresh();
      },
      changed() { taken = false; refresh(); },
      taken() { taken = true; refresh(); },
    };
  },
};
