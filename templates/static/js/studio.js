// The studio's form: concepts by chip and by completion, what the chosen version knows, one job a press.

import { announce, gently } from "./page.js";

const form = () => document.querySelector("[data-studio]");
const prompt = () => document.getElementById("prompt");
const knows = () => new Set(document.getElementById("version").selectedOptions[0]?.dataset.knows.split(" ").filter(Boolean));

function showWhatIsKnown() {
  if (!form()) return;
  const known = knows();
  for (const chip of form().querySelectorAll("[data-concept], [data-region-concept]")) {
    const isKnown = known.has(chip.dataset.concept ?? chip.dataset.regionConcept);
    chip.classList.toggle("unknown", !isKnown);
    chip.disabled = !isKnown;
    chip.toggleAttribute("data-stays-disabled", !isKnown);
  }
}

function insert(text, from, to) {
  const area = prompt();
  const before = area.value.slice(0, from);
  const after = area.value.slice(to);
  const gap = before && !/\s$/.test(before) ? " " : "";
  const rest = after && !/^[\s,.]/.test(after) ? " " : "";
  area.setRangeText(gap + text + rest, from, to, "end");
  area.focus();
  area.dispatchEvent(new Event("input", { bubbles: true }));
}

// Where somebody was writing. A field that nobody has been in has its caret at the front; what it was filled with is
// gone on with at its end.
const entered = new WeakSet();
document.addEventListener("focusin", ({ target }) => target === prompt() && entered.add(target));
const caret = (area) => (entered.has(area) ? [area.selectionStart, area.selectionEnd] : [area.value.length, area.value.length]);

document.addEventListener("click", (event) => {
  const chip = event.target.closest("[data-concept]");
  if (!chip) return;
  const area = prompt();
  const [from, to] = caret(area);
  const before = area.value.slice(0, from).trimEnd();
  const article = /(^|\s)(a|an|the|my|our|this|that|one)$/i.test(before) ? "" : "a "; // as in the captions it was taught with
  const text = `${article}<${chip.dataset.concept}> ${chip.dataset.noun}`;
  insert(area.value.trim() ? text : `a photo of ${text}`, from, to);
});

// --- completion: after "<", the names that the version knows ---------------------------------------------------------

const list = () => document.getElementById("completions");
const begun = () => {
  const area = prompt();
  const found = /<([A-Za-z0-9_-]*)$/.exec(area.value.slice(0, area.selectionStart));
  return found && { from: area.selectionStart - found[0].length, letters: found[1].toLowerCase() };
};

function closeList() {
  list().hidden = true;
  prompt().removeAttribute("aria-activedescendant");
}

function complete() {
  const word = begun();
  const chips = word ? [...form().querySelectorAll("[data-concept]:not(:disabled)")] : [];
  const fitting = chips.filter((chip) => chip.dataset.concept.toLowerCase().startsWith(word.letters));
  if (!fitting.length) return closeList();
  list().replaceChildren(
    ...fitting.map((chip, place) => {
      const item = document.createElement("li");
      item.id = `completion-${place}`;
      item.role = "option";
      item.ariaSelected = String(place === 0);
      item.dataset.text = `<${chip.dataset.concept}> ${chip.dataset.noun}`;
      item.innerHTML = chip.querySelector("span").innerHTML;
      return item;
    }),
  );
  if (list().hidden) announce(`${fitting.length} ${fitting.length === 1 ? "concept" : "concepts"}; arrows choose, Enter takes.`);
  list().hidden = false;
  prompt().setAttribute("aria-activedescendant", "completion-0");
}

function take(item) {
  const word = begun();
  if (word) insert(item.dataset.text, word.from, prompt().selectionStart);
  closeList();
}

document.addEventListener("input", (event) => event.target === prompt() && complete());
document.addEventListener("focusout", (event) => event.target === prompt() && setTimeout(closeList, 150));
document.addEventListener("mousedown", (event) => {
  const item = event.target.closest("#completions li");
  if (!item) return;
  event.preventDefault();
  take(item);
});

document.addEventListener(
  "keydown",
  (event) => {
    if (event.target !== prompt() || list().hidden) return;
    const items = [...list().children];
    const at = items.findIndex((item) => item.ariaSelected === "true");
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move) {
      const now = items[(at + move + items.length) % items.length];
      items.forEach((item) => (item.ariaSelected = String(item === now)));
      prompt().setAttribute("aria-activedescendant", now.id);
    } else if (event.key === "Escape") {
      closeList();
    } else if ((event.key === "Enter" && !event.ctrlKey && !event.metaKey) || event.key === "Tab") {
      take(items[at]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  },
  true,
);

// --- sending ---------------------------------------------------------------------------------------------------------

const fresh = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// The button that was pressed cannot be pressed again meanwhile, and a browser takes the focus off what cannot.
let pressed = null;
document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target !== form()) return;
  pressed = document.activeElement.matches("[type=submit]") ? document.activeElement : null;
  form().querySelectorAll(".problem").forEach((problem) => problem.remove());
  form().querySelectorAll(".has-problem").forEach((field) => field.classList.remove("has-problem"));
});

document.body.addEventListener("htmx:afterRequest", (event) => {
  if (event.target === form() && document.activeElement === document.body) pressed?.focus();
  if (event.target !== form() || !event.detail.successful || event.detail.xhr.status >= 400) return;
  form().elements.once.value = fresh(); // the next press asks for more pictures, even of the same prompt
  document.querySelector("[data-empty]")?.remove();
  document.getElementById("results").firstElementChild?.scrollIntoView({ block: "nearest", behavior: gently() });
});

document.body.addEventListener("htmx:afterSettle", () => {
  showWhatIsKnown();
  const problem = form()?.querySelector(".has-problem :is(input, select, textarea)");
  if (problem && document.activeElement === document.body) problem.focus();
});
document.addEventListener("change", (event) => event.target.id === "version" && showWhatIsKnown());
showWhatIsKnown();
