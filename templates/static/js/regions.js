// Regions of the picture: boxes drawn on a canvas of its proportions. The fields beside it are what is sent; the canvas
// only writes into them and shows what they say.

import { announce } from "./page.js";

const EDGES = ["left", "top", "right", "bottom"];
const SMALLEST = 4; // percent of a side; less was a slip of the finger
const STEP = 2; // percent, of a key

const part = (name) => document.querySelector(`[data-regions] ${name}`);
const rows = () => [...document.querySelectorAll("[data-region]")];
const fieldOf = (row, name) => document.getElementById(`regions.${row.dataset.region}.${name}`);
const isUsed = (row) => ["prompt", ...EDGES].some((name) => fieldOf(row, name).value.trim() !== "");
const hasBox = (row) => EDGES.every((name) => fieldOf(row, name).value.trim() !== "");
const boxOf = (row) => Object.fromEntries(EDGES.map((name) => [name, Number(fieldOf(row, name).value)]));
const within = (value, least, most) => Math.min(Math.max(value, least), most);
const rounded = (value) => Math.round(value * 10) / 10;

let chosen = 0; // the region that chips write into

function write(row, box) {
  for (const name of EDGES) fieldOf(row, name).value = box === null ? "" : rounded(box[name]);
}

function nameOf(row) {
  const box = boxOf(row);
  const words = fieldOf(row, "prompt").value.trim() || "no words yet";
  return `Region ${Number(row.dataset.region) + 1}, ${words}: from ${box.left} to ${box.right} percent across, ${box.top} to ${box.bottom} percent down`;
}

// --- showing ---------------------------------------------------------------------------------------------------------

function show() {
  if (!part("[data-canvas]")) return;
  part("[data-drawing]").hidden = false;
  const used = rows().filter(isUsed);
  chosen = within(chosen, 0, Math.max(used.length - 1, 0));
  for (const row of rows()) {
    row.hidden = !isUsed(row);
    row.classList.toggle("chosen", Number(row.dataset.region) === chosen);
    row.querySelector("[data-remove-region]").hidden = false;
  }
  const chips = part("[data-region-chips]");
  if (chips) {
    chips.hidden = !used.length;
    chips.querySelector("[data-chosen]").textContent = chosen + 1;
  }
  part("[data-add-region]").disabled = used.length === rows().length;
  part("[data-add-region]").toggleAttribute("data-stays-disabled", used.length === rows().length);
  const [wide, high] = ["width_px", "height_px"].map((id) => Number(document.getElementById(id).value) || 1);
  part("[data-canvas]").style.aspectRatio = `${wide} / ${high}`;
  showBoxes();
}

// Boxes are kept, so that the one that has the focus or is being moved stays the same.
function showBoxes() {
  const canvas = part("[data-canvas]");
  for (const row of rows()) {
    let box = canvas.querySelector(`[data-box="${row.dataset.region}"]`);
    if (!hasBox(row)) {
      box?.remove();
      continue;
    }
    if (!box) {
      box = document.createElement("div");
      box.className = "region-box";
      box.dataset.box = row.dataset.region;
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.innerHTML = `<span aria-hidden="true">${Number(row.dataset.region) + 1}</span><i data-handle aria-hidden="true"></i>`;
      canvas.append(box);
    }
    const { left, top, right, bottom } = boxOf(row);
    box.setAttribute("aria-label", nameOf(row));
    box.classList.toggle("chosen", Number(row.dataset.region) === chosen);
    Object.assign(box.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
  }
}

// --- changing --------------------------------------------------------------------------------------------------------

function add(box) {
  const row = rows().find((one) => !isUsed(one));
  if (!row) {
    announce(`A picture has at most ${rows().length} regions.`);
    return null;
  }
  write(row, box);
  chosen = Number(row.dataset.region);
  show();
  return row;
}

function remove(row) {
  const all = rows();
  for (let place = all.indexOf(row); place < all.length; place += 1) {
    const next = all[place + 1];
    for (const name of ["prompt", ...EDGES]) fieldOf(all[place], name).value = next ? fieldOf(next, name).value : "";
  }
  row.querySelectorAll(".problem").forEach((problem) => problem.remove());
  show();
  announce(`Region ${Number(row.dataset.region) + 1} was taken away.`);
}

function moved(box, across, down) {
  const x = within(across, -box.left, 100 - box.right);
  const y = within(down, -box.top, 100 - box.bottom);
  return { left: box.left + x, right: box.right + x, top: box.top + y, bottom: box.bottom + y };
}

function stretched(box, across, down) {
  const right = within(box.right + across, box.left + SMALLEST, 100);
  return { ...box, right, bottom: within(box.bottom + down, box.top + SMALLEST, 100) };
}

const between = (one, other) => ({
  left: Math.min(one.x, other.x),
  right: Math.max(one.x, other.x),
  top: Math.min(one.y, other.y),
  bottom: Math.max(one.y, other.y),
});

// --- mouse and finger ------------------------------------------------------------------------------------------------

let drag = null; // { row, kind: "draw" | "move" | "stretch", from, box }

function pointOf(event) {
  const { left, top, width, height } = part("[data-canvas]").getBoundingClientRect();
  return { x: within((100 * (event.clientX - left)) / width, 0, 100), y: within((100 * (event.clientY - top)) / height, 0, 100) };
}

document.addEventListener("pointerdown", (event) => {
  const canvas = event.target.closest?.("[data-canvas]");
  if (!canvas || event.button !== 0) return;
  event.preventDefault(); // no selection of text while drawing
  const from = pointOf(event);
  const touched = event.target.closest("[data-box]");
  if (touched) {
    const row = rows()[Number(touched.dataset.box)];
    touched.focus();
    drag = { row, kind: event.target.closest("[data-handle]") ? "stretch" : "move", from, box: boxOf(row) };
  } else {
    const row = add(between(from, from));
    if (!row) return;
    drag = { row, kind: "draw", from, box: null };
  }
  canvas.setPointerCapture(event.pointerId);
});

document.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const to = pointOf(event);
  const [across, down] = [to.x - drag.from.x, to.y - drag.from.y];
  if (drag.kind === "draw") write(drag.row, between(drag.from, to));
  else write(drag.row, (drag.kind === "move" ? moved : stretched)(drag.box, across, down));
  showBoxes();
});

function letGo(event) {
  if (!drag) return;
  const { row, kind } = drag;
  drag = null;
  if (kind !== "draw") return announce(nameOf(row));
  const box = boxOf(row);
  if (event.type === "pointercancel" || box.right - box.left < SMALLEST || box.bottom - box.top < SMALLEST) {
    write(row, null);
    return show();
  }
  show();
  fieldOf(row, "prompt").focus();
}

document.addEventListener("pointerup", letGo);
document.addEventListener("pointercancel", letGo);

// --- keyboard and buttons --------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  const box = event.target.closest?.("[data-box]");
  if (!box) return;
  const row = rows()[Number(box.dataset.box)];
  const [across, down] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key] ?? [0, 0];
  if (across || down) {
    write(row, (event.shiftKey ? stretched : moved)(boxOf(row), across, down));
    showBoxes();
    announce(nameOf(row));
  } else if (event.key === "Delete" || event.key === "Backspace") {
    remove(row);
    (part("[data-box]") ?? part("[data-add-region]")).focus();
  } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
    fieldOf(row, "prompt").focus();
  } else return;
  event.preventDefault();
});

// The first two boxes are the halves, which is what two concepts side by side need.
const HALVES = [{ left: 0, top: 0, right: 50, bottom: 100 }, { left: 50, top: 0, right: 100, bottom: 100 }];
const MIDDLE = { left: 25, top: 25, right: 75, bottom: 75 };

// The sentence of the whole picture, in which every other concept is only the kind of thing that it is: so the scene
// stays the same, and this box is about this concept.
function sentenceWith(concept, noun) {
  const whole = document.getElementById("prompt").value.trim();
  if (!whole.includes(`<${concept}>`)) return `a photo of a <${concept}> ${noun}`;
  const others = [...document.querySelectorAll("[data-region-concept]")].map((chip) => chip.dataset);
  return others
    .filter((other) => other.regionConcept !== concept)
    .reduce((text, { regionConcept, noun: kind }) => {
      return text.replaceAll(`<${regionConcept}> ${kind}`, kind).replaceAll(`<${regionConcept}>`, kind);
    }, whole);
}

document.addEventListener("click", (event) => {
  const row = event.target.closest?.("[data-region]");
  const chip = event.target.closest?.("[data-region-concept]");
  if (event.target.closest?.("[data-add-region]")) {
    const made = add(HALVES[rows().filter(isUsed).length] ?? MIDDLE);
    if (made) fieldOf(made, "prompt").focus();
  } else if (event.target.closest?.("[data-remove-region]")) {
    remove(row);
    part("[data-add-region]").focus();
  } else if (chip) {
    const words = fieldOf(rows()[chosen], "prompt");
    words.value = sentenceWith(chip.dataset.regionConcept, chip.dataset.noun);
    words.focus();
    showBoxes();
  }
});

document.addEventListener("focusin", (event) => {
  const place = event.target.closest?.("[data-region]")?.dataset.region ?? event.target.closest?.("[data-box]")?.dataset.box;
  if (place === undefined || Number(place) === chosen) return;
  chosen = Number(place);
  show();
});

document.addEventListener("input", (event) => {
  if (event.target.closest?.("[data-region]")) showBoxes();
  if (["width_px", "height_px"].includes(event.target.id)) show();
});

document.body.addEventListener("htmx:afterSettle", show);
show();
