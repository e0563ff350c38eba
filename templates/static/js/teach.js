// Teaching: files go up one after another as soon as they are dropped, chosen or pasted, and show at once.

import { announce, csrfToken, isPartOfPage, notify, sentenceOf } from "./page.js";
import { keepTyped } from "./typed.js";
import { duration } from "./words.js";

const form = document.querySelector("[data-teach]");
const list = form.querySelector("[data-uploads]");
const zone = form.querySelector("[data-drop-zone]");
const input = form.querySelector("#files");
const most = Number(form.dataset.most);
const mostBytes = Number(form.dataset.mostBytes);
const MOST_TRIES = 5;
const FIRST_PAUSE_S = 2;
const LONGEST_PAUSE_S = 60;
const AWAY = [0, 502, 503, 504]; // the line broke, or a proxy or the service itself says that it is away for now
document.documentElement.classList.add("scripts");

const cards = () => [...list.querySelectorAll("[data-upload]")];
let queue = Promise.resolve();
let coming = 0;

// file: one that may be sent again.
function refuse(sentence, file = null) {
  const card = document.createElement("li");
  card.className = "upload refused";
  card.role = "alert";
  const words = Object.assign(document.createElement("p"), { className: "problem", textContent: sentence });
  const close = Object.assign(document.createElement("button"), { type: "button", className: "quiet round", textContent: "×", title: "Close", ariaLabel: "Close" });
  close.dataset.dismiss = "";
  if (file) words.append(" ", againButton(file, card));
  card.append(document.createElement("span"), words, close);
  list.append(card);
}

function againButton(file, card) {
  const again = Object.assign(document.createElement("button"), { type: "button", className: "as-link", textContent: "Try again" });
  again.addEventListener("click", () => {
    takeAway(card);
    add([file]);
  });
  return again;
}

function placeFor(file) {
  const card = document.createElement("li");
  card.className = "upload coming";
  const frame = Object.assign(document.createElement("span"), { className: "upload-picture" });
  const look = Object.assign(document.createElement("img"), { alt: "" });
  look.src = URL.createObjectURL(file);
  look.addEventListener("error", () => look.remove());
  frame.append(look);
  const words = document.createElement("div");
  words.append(Object.assign(document.createElement("p"), { className: "upload-name", textContent: file.name }));
  words.append(document.createElement("progress"));
  card.append(frame, words);
  list.append(card);
  return card;
}

// One that is refused for now, as too many are on their way or the server is away, goes up again when its time has come.
async function send(file, card) {
  let answer = await post(file, card);
  for (let tries = 1; tries < MOST_TRIES; tries += 1) {
    const pause = pauseAfter(answer, tries);
    if (!pause) break;
    await pauseOn(card, Math.min(pause, LONGEST_PAUSE_S), (left) => `${whyNot(answer.status)}; it goes up again in ${duration(left)}.`);
    answer = await post(file, card);
  }
  URL.revokeObjectURL(card.querySelector("img")?.src ?? "");
  if (isPartOfPage(answer)) {
    card.outerHTML = answer.responseText;
    look();
    return;
  }
  card.remove();
  if ([401, 403].includes(answer.status)) keepTyped(); // it is there again after the login that is due
  const mayComeAgain = answer.status === 429 || AWAY.includes(answer.status);
  const why = answer.responseText.startsWith("{") ? sentenceOf(answer.responseText) : "The server cannot be reached.";
  refuse(`${file.name}: ${why}`, mayComeAgain ? file : null);
}

// Seconds until it goes up again: as the server says, else longer each time. 0 where that would change nothing.
function pauseAfter(answer, tries) {
  const said = Number(answer.getResponseHeader("retry-after"));
  if (answer.status === 429) return said;
  return AWAY.includes(answer.status) ? said || FIRST_PAUSE_S * 2 ** (tries - 1) : 0;
}

function whyNot(status) {
  if (status === 429) return "Too many at once";
  return status === 503 ? "The server is busy" : "The server cannot be reached";
}

// The time is over by one timer: what a hidden page shows may stand still for a minute.
async function pauseOn(card, seconds, sentence) {
  const bar = card.querySelector("progress");
  const words = document.createElement("p");
  words.className = "hint";
  words.ariaLive = "off"; // said once, below, and not every second
  const until = Date.now() + seconds * 1000;
  const show = () => (words.textContent = sentence(Math.max(1, Math.round((until - Date.now()) / 1000))));
  show();
  bar.replaceWith(words);
  announce(`${card.querySelector(".upload-name").textContent}: ${words.textContent}`);
  const ticking = setInterval(show, 1000);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  clearInterval(ticking);
  bar.removeAttribute("value");
  words.replaceWith(bar);
}

function post(file, card) {
  const data = new FormData();
  data.append("pictures", file, file.name);
  const request = new XMLHttpRequest(); // fetch tells nothing of how much has gone up
  const bar = card.querySelector("progress");
  return new Promise((resolve) => {
    request.upload.addEventListener("progress", (event) => {
      bar.max = event.total;
      bar.value = event.loaded;
    });
    request.addEventListener("loadend", () => resolve(request));
    request.open("POST", "/uploads");
    request.setRequestHeader("X-CSRF-Token", csrfToken());
    request.setRequestHeader("HX-Request", "true");
    request.send(data);
  });
}

function add(files) {
  const taken = [...files];
  for (const file of taken) {
    if (cards().length + coming >= most) {
      refuse(`${file.name} was left out: ${most} pictures are the most that one concept takes.`);
    } else if (file.size > mostBytes) {
      refuse(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB; a file may have at most ${(mostBytes / 1e6).toFixed(0)} MB.`);
    } else {
      coming += 1;
      const card = placeFor(file);
      queue = queue.then(() => send(file, card)).then(() => {
        coming -= 1;
        tell();
      });
    }
  }
  tell();
}

// Folders come as entries; what they hold is asked for one by one.
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  async function walk(entry) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      if (!file.name.startsWith(".")) found.push(file);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const child of some) await walk(child);
    }
  }
  for (const entry of entries) await walk(entry);
  return found.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
}

input.addEventListener("change", () => {
  add(input.files);
  input.value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    zone.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => event.relatedTarget === null && zone.classList.remove("over"));
document.addEventListener("drop", async (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  zone.classList.remove("over");
  add(await filesOf(event.dataTransfer));
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  add(files);
});

// Of two that are the same, the one that stays is the only one.
function showRemarks(text) {
  const said = Object.assign(document.createElement("template"), { innerHTML: text });
  for (const remarks of said.content.querySelectorAll("[data-remarks]")) {
    const before = list.querySelector(`[data-remarks="${remarks.dataset.remarks}"]`);
    if (before && before.textContent !== remarks.textContent) before.replaceWith(remarks);
  }
}

// Whoever takes one away goes on at the next, not at the top of the page.
function takeAway(card) {
  const neighbour = card.nextElementSibling ?? card.previousElementSibling;
  card.remove();
  (neighbour?.querySelector("[data-drop], [data-dismiss]") ?? input).focus();
}

list.addEventListener("click", async (event) => {
  if (event.target.closest("[data-dismiss]")) {
    takeAway(event.target.closest("li"));
    return;
  }
  const button = event.target.closest("[data-drop]");
  if (!button) return;
  event.preventDefault();
  const card = button.closest("li");
  const headers = { "X-CSRF-Token": csrfToken(), "HX-Request": "true" };
  const answer = await fetch(`/uploads/${button.dataset.drop}/drop`, { method: "POST", headers }).catch(() => null);
  if (answer?.ok) showRemarks(await answer.text());
  if (answer?.ok || answer?.status === 404) takeAway(card);
  else notify(sentenceOf(answer ? await answer.text() : ""));
  tell();
});

// --- what the form says of itself ------------------------------------------------------------------------------------

const onAll = form.querySelector("[data-remark-on-all]");
const name = form.elements.name;
const noun = form.elements.class_noun;
const estimate = form.querySelector("[data-estimate]");

function tell() {
  const count = cards().length;
  const few = "Few pictures: with 3 to 10, the concept is told from its background better.";
  const many = "Many pictures: beyond a dozen, each one is seen less often. Choose the clearest, or take more steps.";
  const said = count > 0 && count < 3 && coming === 0 ? few : count > 12 ? many : "";
  onAll.hidden = !said;
  onAll.querySelector("span").textContent = said;
  form.querySelector(".captions-hint").hidden = count === 0;
  form.querySelector("[type=submit].primary").disabled = coming > 0;
  for (const sample of document.querySelectorAll("[data-sample]")) askBefore(sample, count + coming);

  form.querySelector("[data-shown-name]").textContent = name.value.replace(/^<|>$/g, "") || "rex";
  form.querySelector("[data-shown-noun]").textContent = noun.value || "dog";
  const frame = frameOf(noun.value);
  const [before, behind] = frame ? sayOf(frame, SLOT, "a house").split(SLOT) : ["a photo of a ", " on the beach"];
  form.querySelector("[data-shown-before]").textContent = before;
  form.querySelector("[data-shown-behind]").textContent = behind;
  cards().forEach(offer);

  const steps = Number(form.elements.steps.value || estimate.dataset.defaultSteps);
  const pace = Number(form.dataset.secondsPerStep);
  if (!steps) estimate.textContent = "";
  else if (pace) estimate.textContent = `${steps} steps take about ${duration(steps * pace)} here, and then it is examined. You can close this page meanwhile.`;
  else estimate.textContent = `${steps} steps. How long that takes here is known after the first one. You can close this page meanwhile.`;
}

// A sample takes the place of the pictures in the form, which are deleted.
function askBefore(sample, count) {
  if (count) sample.dataset.ask = `Take your ${count === 1 ? "picture" : `${count} pictures`} out of the form and put these in?`;
  else delete sample.dataset.ask;
  sample.dataset.yes = "Put these in";
  sample.dataset.no = "Keep mine";
}

// Enter and Ctrl-Enter press no button that could be disabled meanwhile.
form.addEventListener("submit", (event) => {
  if (!coming) return;
  event.preventDefault();
  notify(`${coming === 1 ? "A picture is" : `${coming} pictures are`} still on the way. Start when all of them are here.`);
});

// --- captions that are offered ---------------------------------------------------------------------------------------

const SLOT = "{noun}"; // where the class noun goes in what a worker wrote
const MANNERS = new Map(Object.entries(JSON.parse(form.dataset.manners))); // noun -> what stands around a subject
const ASK_EVERY_MS = 800;
const PATIENCE_MS = 20000; // without a worker a caption is left to the learning
let asking = 0;
let patientUntil = 0;

// Before and behind the subject, for nouns of how a whole picture is: "a drawing of a cat". None for things.
function frameOf(words) {
  return MANNERS.get(words.trim().split(/\s+/).pop().toLowerCase());
}

function sayOf([before, behind], words, subject) {
  return before.replace("{}", words) + subject + behind.replace("{}", words);
}

// What a worker wrote about a picture, of a concept of this noun; nothing where it had nothing to say.
function captionOf({ template, subject }, words) {
  const frame = frameOf(words);
  if (!frame) return (template ?? "").replace(SLOT, words);
  return subject ? sayOf(frame, words, subject) : "";
}

// A field is ours as long as what stands in it is what we put there; nothing in the beginning.
function offer(card) {
  const field = card.querySelector("[data-caption]");
  const before = card.querySelector("[data-offered]");
  if (!field) return;
  const said = noun.value.trim();
  const written = captionOf(card.dataset, said || "…");
  const isTypedIn = document.activeElement === field && !field.value;
  if (field.value === before.value && !isTypedIn) field.value = before.value = said ? written : "";
  if (written) field.placeholder = `left to us, or: ${written}`;
  else if (card.dataset.template == null && asking) field.placeholder = "we are looking at it";
  else field.placeholder = `left to us, or: a ${said || "dog"} ${frameOf(said) ? "of a cat" : "on the grass"}`;
}

const unseen = () => cards().filter((card) => card.dataset.template == null);

// Ask until every picture has its caption, or it takes too long.
function look() {
  patientUntil = Date.now() + PATIENCE_MS;
  if (!asking && unseen().length) asking = setTimeout(askForCaptions, 200);
}

async function askForCaptions() {
  const answer = await fetch(form.dataset.captions, { method: "POST", headers: { "X-CSRF-Token": csrfToken() } }).catch(() => null);
  const written = answer?.ok ? await answer.json().catch(() => ({})) : {};
  let come = 0;
  for (const card of unseen()) {
    const about = written[card.dataset.upload];
    if (about == null) continue;
    card.dataset.template = about.template;
    card.dataset.subject = about.subject;
    if (about.template || about.subject) come += 1;
  }
  const goesOn = unseen().length > 0 && Date.now() < patientUntil;
  asking = goesOn ? setTimeout(askForCaptions, ASK_EVERY_MS) : 0;
  if (come && !asking) announce("Captions are offered for your pictures.");
  cards().forEach(offer);
}

list.addEventListener("focusout", (event) => {
  const card = event.target.closest("[data-upload]");
  if (card) setTimeout(() => offer(card));
});

const wrongName = () => (/^<?[A-Za-z0-9_-]{1,60}>?$/.test(name.value.trim()) ? "" : "Letters, digits, - or _ only, without spaces: rex, my-mug.");
name.addEventListener("input", () => name.setCustomValidity(name.value ? wrongName() : ""));
form.addEventListener("input", tell);
look();
tell();
