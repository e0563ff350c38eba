// Follows the jobs of a page: one event stream is open, for all of them that are.

import { announce } from "./page.js";
import { duration } from "./words.js";

const ends = { done: "is done", failed: "has failed", cancelled: "was cancelled" };
const MOST = 20; // that one stream takes
const FIRST_WAIT_S = 2;
const LONGEST_WAIT_S = 60;
let stream = null;
let followed = [];
let wait = FIRST_WAIT_S;

// With the newest first on a page, the last ones are those that were asked for first.
const openJobs = () => [...document.querySelectorAll("[data-job]")].slice(-MOST).map((element) => element.dataset.job);
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
      if (event.lastEventId) element.dataset.after = event.lastEventId.split(".")[jobs.indexOf(data.job_id)];
      element.dispatchEvent(new CustomEvent(`job:${kind}`, { bubbles: true, detail: data }));
      if (hasEnded) ended(element, data);
      if (kind === "state" && data.state === "queued") waitAgain(element);
    });
  }
  // A browser tries again by itself when a line breaks, but never after an answer that is an error, such as the one of a
  // proxy whose service is being started anew.
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED || stream !== source) return;
    setTimeout(() => {
      if (stream !== source) return;
      stream = null;
      follow();
    }, wait * 1000);
    wait = Math.min(2 * wait, LONGEST_WAIT_S);
  });
}

async function ended(element, { state, held_back: heldBack = [] }) {
  element.removeAttribute("data-job");
  follow(); // with nothing left, the stream closes: the server is about to end it, and a browser would ask again
  if (element.dataset.said) announce(`${element.dataset.said} ${ends[state]}${heldBack.length ? ", but its version was held back" : ""}.`);
  if (element.dataset.refresh) await showWhatCameOfIt(element);
  else element.dispatchEvent(new CustomEvent("job:ended", { bubbles: true }));
  // Whoever waits behind it has come forward.
  for (const { id } of document.querySelectorAll("[data-job][data-refresh]")) {
    const other = document.getElementById(id);
    if (other?.querySelector(".queued")) await refresh(other);
  }
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
  const standing = element.querySelector("[data-standing]");
  if (standing) standing.textContent = "Waiting for a worker.";
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
  const isGone = detail.xhr.status < 500 && target.matches("[data-refresh]");
  if (isGone) target.removeAttribute("data-refresh");
});

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
