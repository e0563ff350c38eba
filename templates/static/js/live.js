// Follows the jobs of a page: one event stream is open, for all of them that are.

import { announce, toTheDoor } from "./page.js";
import { duration } from "./words.js";

const ends = { done: "is done", failed: "has failed", cancelled: "was cancelled" };
const MOST = 20; // that one stream takes
const FIRST_WAIT_S = 2;
const LONGEST_WAIT_S = 60;
const LOOK_EVERY_S = 15;
const GONE = "It is no longer here: it was erased or deleted.";
let stream = null;
let followed = [];
let wait = FIRST_WAIT_S;
const heardAt = new Map(); // job -> when something was last told of it

// With the newest first on a page, the last ones are those that were asked for first.
const openElements = () => [...document.querySelectorAll("[data-job]")].slice(-MOST);
const openJobs = () => openElements().map((element) => element.dataset.job);
const elementOf = (job) => document.querySelector(`[data-job="${job}"]`);

function follow() {
  const jobs = openJobs();
  if (stream && jobs.length && jobs.every((job) => followed.includes(job))) return;
  stream?.close();
  stream = null;
  if (jobs.length) listen(jobs);
}

function listen(jobs) {
  const told = jobs.map((job) => elementOf(job).dataset.after ?? 0);
  const source = new EventSource(`/api/v1/events?${jobs.map((job) => `job=${job}`).join("&")}&after=${told.join(".")}`);
  stream = source;
  followed = jobs;
  source.addEventListener("open", () => (wait = FIRST_WAIT_S));
  for (const kind of ["state", "progress", "preview", "captions", "sample"]) {
    source.addEventListener(kind, (event) => {
      const data = JSON.parse(event.data);
      const hasEnded = kind === "state" && ends[data.state];
      // The server tells no more of it in this stream, so one that is tried again needs another.
      if (hasEnded && stream === source) followed = followed.filter((job) => job !== data.job_id);
      const element = elementOf(data.job_id);
      if (!element) return;
      heardAt.set(data.job_id, Date.now());
      if (event.lastEventId) element.dataset.after = event.lastEventId.split(".")[jobs.indexOf(data.job_id)];
      element.dispatchEvent(new CustomEvent(`job:${kind}`, { bubbles: true, detail: data }));
      if (hasEnded) ended(element, data);
      if (kind === "state" && data.state === "queued") waitAgain(element);
    });
  }
  // A browser tries again by itself when a line breaks, but never after an answer that is an error, such as the one of a
  // proxy whose service is being started anew. Nor does it say which: one job that is gone is reason enough for it.
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED || stream !== source) return;
    setTimeout(async () => {
      for (const element of openElements()) if (stream === source) await look(element);
      if (stream !== source) return;
      stream = null;
      follow();
    }, wait * 1000);
    wait = Math.min(2 * wait, LONGEST_WAIT_S);
  });
}

// What has become of a job that nothing was told of for a while. It may be gone with its version or its history, and the
// session may be over. One that waits has come forward meanwhile: that alone is put anew, so that what is opened stays so.
async function look(element) {
  const { job, refresh } = element.dataset;
  const headers = { "HX-Request": "true", "HX-Current-URL": location.href };
  const answer = await fetch(refresh ?? `/jobs/${job}`, { headers }).catch(() => null);
  const text = (answer?.ok && (await answer.text().catch(() => ""))) || "";
  if (element.dataset.job !== job || !document.contains(element)) return;
  if (answer?.status === 401) toTheDoor(answer.headers.get("HX-Redirect"));
  else if (answer?.status === 404) letGo(element);
  else if (element.matches("[data-waits]")) tellItsPlace(element, text);
}

function tellItsPlace(element, text) {
  const { content } = Object.assign(document.createElement("template"), { innerHTML: text });
  const now = content.querySelector("[data-waits] [data-standing]")?.textContent;
  const standing = element.querySelector("[data-standing]");
  if (now && standing.textContent !== now) standing.textContent = now;
}

// Nothing more will be told of it, and there is nothing to be done with it.
function letGo(element) {
  for (const mark of ["data-job", "data-refresh", "data-waits"]) element.removeAttribute(mark);
  for (const part of element.querySelectorAll('form[action^="/jobs/"], progress, [data-state-mark]')) part.remove();
  for (const place of element.querySelectorAll(".picture.waiting span")) place.textContent = "not made";
  sayWhereItStands(element, GONE);
  announce(GONE);
  element.dispatchEvent(new CustomEvent("job:ended", { bubbles: true }));
  follow();
}

function sayWhereItStands(element, sentence) {
  const standing = element.querySelector("[data-standing]");
  if (standing) standing.textContent = sentence;
}

async function ended(element, { state, held_back: heldBack = [] }) {
  element.removeAttribute("data-job");
  follow(); // with nothing left, the stream closes: the server is about to end it, and a browser would ask again
  if (!element.dataset.refresh) sayWhereItStands(element, `It ${ends[state]}.`);
  if (element.dataset.said) announce(`${element.dataset.said} ${ends[state]}${heldBack.length ? ", but its version was held back" : ""}.`);
  if (element.dataset.refresh) await showWhatCameOfIt(element);
  else element.dispatchEvent(new CustomEvent("job:ended", { bubbles: true }));
  // Whoever waits behind it has come forward.
  for (const other of openElements()) if (other.matches("[data-waits]")) await look(other);
  follow();
}

// An end is told once. So it is asked for until it stands there, or is known to be gone.
async function showWhatCameOfIt(element) {
  let pause = FIRST_WAIT_S;
  while (element.dataset.refresh && document.contains(element)) {
    await refresh(element);
    if (!document.contains(element)) document.getElementById(element.id)?.classList.add("arrived");
    else if (element.dataset.refresh) await new Promise((resolve) => setTimeout(resolve, pause * 1000));
    pause = Math.min(2 * pause, LONGEST_WAIT_S);
  }
}

// Its worker stopped or was lost, and another one will go on with it.
async function waitAgain(element) {
  element.toggleAttribute("data-waits", true);
  sayWhereItStands(element, "Waiting for a worker.");
  await refresh(element);
}

// Put what the server says now in its place. As its own `source`: of requests of one source that come while one is under
// way, htmx sends the last alone, and without a source they are all the page's.
async function refresh(element) {
  if (!element.dataset.refresh || !document.contains(element)) return;
  const asked = { source: element, target: element, swap: "outerHTML" };
  await htmx.ajax("GET", element.dataset.refresh, asked).catch(() => {}); // a line that broke has been told of
}

document.addEventListener("picture:deleted", ({ target }) => target.closest("[data-refresh]") && refresh(target.closest("[data-refresh]")));

document.body.addEventListener("htmx:responseError", ({ target, detail }) => {
  const isGone = detail.xhr.status === 404 && target.matches("[data-refresh]");
  if (isGone) letGo(target);
});

// Places in the queue stay true, and what has gone without a word is noticed, while somebody looks.
setInterval(async () => {
  if (document.visibilityState === "hidden") return;
  const silentSince = Date.now() - LOOK_EVERY_S * 1000;
  for (const element of openElements()) {
    if (element.matches("[data-waits]") || (heardAt.get(element.dataset.job) ?? 0) < silentSince) await look(element);
  }
}, LOOK_EVERY_S * 1000);

// Whoever had the focus in what is replaced keeps a place to go on from.
let leftIn = "";
document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.target.contains(document.activeElement)) leftIn = detail.target.id;
});
document.body.addEventListener("htmx:afterSwap", () => {
  if (leftIn && document.activeElement === document.body) document.getElementById(leftIn)?.focus();
  leftIn = "";
});

document.addEventListener("job:progress", (event) => {
  const { step, steps_total: total, seconds_left: left } = event.detail;
  const element = event.target;
  const bar = element.querySelector("[data-progress]");
  const standing = element.querySelector("[data-standing]");
  if (bar && total) {
    bar.max = total;
    bar.value = step;
  }
  if (standing && total > 1 && !element.hasAttribute("data-own-standing")) {
    standing.textContent = `Step ${step} of ${total}${left ? `, ${duration(left)} left` : ""}.`;
  }
});

// What waited has begun. Told anew of one that has gone on already, this says nothing.
document.addEventListener("job:state", ({ target, detail }) => {
  for (const words of target.querySelectorAll("[data-when-running]")) {
    const { whenRunning: running, whenQueued: queued } = words.dataset;
    words.textContent = { running, queued }[detail.state] ?? words.textContent;
  }
  if (detail.state !== "running" || !target.matches("[data-waits]")) return;
  target.removeAttribute("data-waits");
  target.querySelector("[data-progress]")?.removeAttribute("hidden");
  sayWhereItStands(target, "It begins.");
});

document.addEventListener("job:state", (event) => {
  if (event.detail.state !== "running" || !event.target.matches(".generation")) return;
  announce(`${event.target.dataset.said} is being drawn.`);
  for (const place of event.target.querySelectorAll(".picture.queued")) {
    place.classList.remove("queued");
    place.querySelector("span").textContent = "being drawn";
  }
});

document.addEventListener("job:preview", (event) => {
  const place = event.target.querySelector("[data-preview]");
  if (!place || !event.detail.png_base64) return;
  let picture = place.querySelector("img");
  if (!picture) {
    picture = Object.assign(document.createElement("img"), { alt: "The picture as far as it has come" });
    place.replaceChildren(picture);
  }
  picture.src = `data:image/png;base64,${event.detail.png_base64}`;
});

document.body.addEventListener("htmx:afterSettle", follow);
window.addEventListener("pagehide", () => stream?.close());
window.addEventListener("pageshow", (event) => event.persisted && ((stream = null), follow()));
follow();
