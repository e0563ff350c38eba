// What every page does: menus that close, forms that are sent once, questions, notices, the light, things to copy.

import { ask } from "./ask.js";
import { bringBackTyped, forgetTyped, keepTyped } from "./typed.js";
import { relative } from "./words.js";

const notices = document.getElementById("notices");
const said = document.getElementById("said");
const NOTICED_S = 8;
const leaving = new WeakMap(); // notice -> the timer that takes it away

// While a dialog is open, all that is outside of it can be neither seen, heard nor pressed. What has the focus in them
// would lose it by being moved, and is where it can be noticed already.
function bringWhereItIsNoticed() {
  const place = document.querySelector("dialog[open]") ?? document.body;
  if (notices.parentElement !== place) place.append(notices, said);
}
document.addEventListener("close", bringWhereItIsNoticed, true);

// With a link it stays until it is followed or closed. What stands there already is not said twice. Returns the notice.
export function notify(sentence, link = null, { stays = Boolean(link) } = {}) {
  bringWhereItIsNoticed();
  const told = [...notices.children].find((one) => one.firstElementChild.textContent === sentence);
  const notice = told ?? makeNotice(sentence, link);
  if (!told) notices.append(notice);
  clearTimeout(leaving.get(notice));
  if (!stays) leaving.set(notice, setTimeout(() => notice.remove(), NOTICED_S * 1000));
  return notice;
}

function makeNotice(sentence, link) {
  const notice = document.createElement("div");
  notice.className = "notice";
  notice.append(Object.assign(document.createElement("span"), { textContent: sentence }));
  if (link) notice.append(link);
  const close = Object.assign(document.createElement("button"), { type: "button", className: "as-link", textContent: "Close" });
  close.addEventListener("click", () => notice.remove());
  notice.append(close);
  return notice;
}

// Pages glide to a place, but for those who asked for less of that.
export const gently = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");

// For those who hear the page: what has just changed on it. The same words twice are said twice.
export function announce(sentence) {
  bringWhereItIsNoticed();
  said.textContent = said.textContent === sentence ? `${sentence}\u00a0` : sentence;
}

export const csrfToken = () => document.querySelector('meta[name="csrf-token"]').content;

// The sentence of an answer that is an error, whatever form it came in.
export function sentenceOf(text) {
  try {
    return JSON.parse(text).detail ?? "Something went wrong.";
  } catch {
    return "The server cannot be reached. What you typed is still here; try again in a moment.";
  }
}

// A proxy has pages of its own for when we are away, and those are not to be put into ours.
export function isPartOfPage(xhr) {
  return Boolean(xhr.getResponseHeader("x-request-id") && xhr.getResponseHeader("content-type")?.startsWith("text/html"));
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// Ctrl-Enter sends the form that is being written in.
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form?.matches("[data-ctrl-enter]")) {
    event.preventDefault();
    event.target.form.requestSubmit();
  }
});

// A form that leaves the page is sent once, however often its button is pressed.
let sure = null; // the form whose question was answered with yes
document.addEventListener("submit", async (event) => {
  const form = event.target;
  const button = event.submitter;
  if (event.defaultPrevented || form.hasAttribute("hx-post") || form.method === "dialog") return;
  const asks = button?.dataset.ask ? button : form.dataset.ask ? form : null;
  if (asks && sure !== form) {
    event.preventDefault();
    if (!(await ask(asks.dataset.ask, asks.dataset.yes, asks.dataset.no))) return;
    sure = form;
    form.requestSubmit(button);
    return;
  }
  sure = null;
  if (form.method !== "post") return;
  keepTyped({ isSent: true });
  setTimeout(() => form.querySelectorAll("button").forEach((button) => (button.disabled = true)));
});
window.addEventListener("pageshow", () => document.querySelectorAll("form button:disabled:not([data-stays-disabled])").forEach((button) => (button.disabled = false)));

// One that sends itself by htmx asks as well.
document.body.addEventListener("htmx:confirm", async (event) => {
  const form = event.target;
  if (!form.dataset.ask) return;
  event.preventDefault();
  if (await ask(form.dataset.ask, form.dataset.yes, form.dataset.no)) event.detail.issueRequest(true);
});

// A link that shall open elsewhere is followed by the browser, whatever htmx would do at a plain click.
document.addEventListener(
  "click",
  (event) => {
    if ((event.ctrlKey || event.metaKey || event.shiftKey) && event.target.closest("a[hx-get]")) event.stopPropagation();
  },
  true,
);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    if (button.dataset.copied) return; // pressed twice: what it said before is known already
    const before = button.innerHTML;
    button.dataset.copied = "yes";
    button.textContent = "Copied";
    announce("Copied.");
    setTimeout(() => {
      button.innerHTML = before;
      delete button.dataset.copied;
    }, 1500);
  } catch {
    notify("Your browser does not let us copy here. Select the text and copy it yourself.");
  }
});

// An error that comes as a part of the page is the form with its sentence, and takes its place; any other is told.
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, elt } = event.detail;
  // A list that is asked for again and again would take away the form that is asking something.
  if (elt.matches('[hx-trigger^="every"]') && document.querySelector("dialog[open]")) event.detail.shouldSwap = false;
  if (xhr.status < 400 || !isPartOfPage(xhr)) return;
  event.detail.shouldSwap = true;
  event.detail.isError = false;
});
const isAskedAgain = (element) => element.matches('[hx-trigger^="every"]');
document.body.addEventListener("htmx:responseError", ({ detail }) => !isAskedAgain(detail.elt) && notify(sentenceOf(detail.xhr.responseText)));
document.body.addEventListener("htmx:sendError", ({ detail }) => !isAskedAgain(detail.elt) && notify(sentenceOf("")));

// Of a list that is asked for again and again it is told once that it cannot be had, until it can; and it is asked for
// less and less often.
const MOST_PAUSE_S = 60;
const away = { pause: 2, until: 0, notice: null };
document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (isAskedAgain(event.detail.elt) && Date.now() < away.until) event.preventDefault();
});
document.body.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (!isAskedAgain(detail.elt) || detail.xhr.status === 401) return;
  if (detail.successful) {
    away.notice?.remove();
    Object.assign(away, { pause: 2, until: 0, notice: null });
    return;
  }
  away.pause = Math.min(2 * away.pause, MOST_PAUSE_S);
  away.until = Date.now() + away.pause * 1000;
  away.notice ??= notify("The server does not answer as it should. This page shows what was last known.", null, { stays: true });
});

// Whoever is logged out meanwhile is sent to the door, and finds what they had typed when they are back. So do they
// whose form belongs to a session that is over.
document.body.addEventListener("htmx:beforeOnLoad", ({ detail: { xhr } }) => [401, 403].includes(xhr.status) && !isPartOfPage(xhr) && keepTyped());
document.body.addEventListener("htmx:afterOnLoad", ({ detail }) => detail.requestConfig.verb === "post" && detail.xhr.status < 400 && forgetTyped());
if (bringBackTyped()) notify("What you had typed is still here.");

export function toTheDoor(address) {
  keepTyped();
  location.assign(address ?? "/login");
}

// "3 minutes ago" stays true on a page that is left open.
setInterval(() => {
  for (const time of document.querySelectorAll("time[datetime]")) time.textContent = relative(Date.parse(time.dateTime));
}, 20000);

// The light: the other one than is seen now.
const light = document.querySelector("[data-theme-switch]");
const system = window.matchMedia("(prefers-color-scheme: dark)");
light.hidden = false;
light.addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // It holds for this page then.
  }
});
