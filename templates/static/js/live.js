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
      const element = elementOf(data.job_id);
      if (!element) return;
      if (event.lastEventId) element.dataset.after = event.lastEventId.split(".")[jobs.indexOf(data.job_id)];
      element.dispatchEvent(new CustomEvent(`job:${kind}`, { bubbles: true, detail: data }));
      if (kind === "state" && ends[data.state]) ended(element, data);
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
  if (!openJobs().length) stream?.close(); // the server is about to end it, and a browser would ask again
  if (element.dataset.said) announce(`${element.dataset.said} ${ends[state]}${heldBack.length ? ", but its version was held back" : ""}.`);
  if (await refresh(element)) document.getElementById(element.id)?.classList.add("arrived");
  if (document.contains(element)) element.dispatchEvent(new CustomEvent("job:ended", { bubbles: true }));
  // Whoever waits behind it has come forward.
  for (const other of document.querySelectorAll("[data-job][data-refresh]")) {
    if (other.querySelector(".queued")) await refresh(other);
  }
  follow();
}

// Put what the server says now in its place. Whoever had the focus in it keeps a place to go on from.
async function refresh(element) {
  if (!element.dataset.refresh || !document.contains(element)) return false;
  const hadFocus = element.contains(document.activeElement);
  await htmx.ajax("GET", element.dataset.refresh, { target: element, swap: "outerHTML" });
  if (hadFocus && document.activeElement === document.body) document.getElementById(element.id)?.focus();
  return true;
}

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
