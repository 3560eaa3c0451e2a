// Words explained where they stand: a note beside the word that the pointer or the keyboard is at. Escape closes it.

const note = document.createElement("div");
note.id = "note";
note.role = "tooltip";
note.hidden = true;
document.querySelector("main").append(note);
let word = null;

function show(term) {
  word = term;
  note.replaceChildren(...explanation(term).cloneNode(true).childNodes);
  note.hidden = false;
  const { left, bottom } = term.getBoundingClientRect();
  const room = document.documentElement.clientWidth - note.offsetWidth - 8;
  note.style.left = `${scrollX + Math.max(8, Math.min(left, room))}px`;
  note.style.top = `${scrollY + bottom}px`;
}

function hide() {
  word = null;
  note.hidden = true;
}

// Away, unless to the note itself or from a word that has the focus.
const leave = ({ relatedTarget }) => {
  const stays = note.contains(relatedTarget) || relatedTarget === word || document.activeElement === word;
  if (!stays) hide();
};

const explanation = (term) => document.getElementById(`glossary-${term.dataset.term}`);

for (const term of document.querySelectorAll(".term")) {
  // Those who listen hear it from the glossary, whether it is seen or not.
  term.setAttribute("aria-describedby", explanation(term).id);
  term.addEventListener("pointerenter", () => show(term));
  term.addEventListener("focus", () => show(term));
  term.addEventListener("click", () => show(term));
  term.addEventListener("pointerleave", leave);
  term.addEventListener("blur", hide);
}
note.addEventListener("pointerleave", leave);
addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
});
addEventListener("pointerdown", ({ target }) => {
  if (!note.contains(target) && !target.closest?.(".term")) hide();
});
