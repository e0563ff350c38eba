// What every page does: menus that close, forms that are sent once, questions, notices, the light, things to copy.

import { ask } from "./ask.js";
import { bringBackTyped, keepTyped } from "./typed.js";
import { relative } from "./words.js";

const notices = document.getElementById("notices");
const said = document.getElementById("said");
const NOTICED_S = 8;

// While a dialog is open, all that is outside of it can be neither seen, heard nor pressed.
const bringWhereItIsNoticed = () => (document.querySelector("dialog[open]") ?? document.body).append(notices, said);
document.addEventListener("close", bringWhereItIsNoticed, true);

// With a link it stays until it is followed or closed.
export function notify(sentence, link = null) {
  bringWhereItIsNoticed();
  const notice = document.createElement("div");
  notice.className = "notice";
  notice.append(Object.assign(document.createElement("span"), { textContent: sentence }));
  if (link) notice.append(link);
  const close = Object.assign(document.createElement("button"), { type: "button", className: "as-link", textContent: "Close" });
  close.addEventListener("click", () => notice.remove());
  notice.append(close);
  notices.append(notice);
  if (!link) setTimeout(() => notice.remove(), NOTICED_S * 1000);
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
  if (form.method === "post") setTimeout(() => form.querySelectorAll("button").forEach((button) => (button.disabled = true)));
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
document.body.addEventListener("htmx:responseError", (event) => notify(sentenceOf(event.detail.xhr.responseText)));
document.body.addEventListener("htmx:sendError", () => notify(sentenceOf("")));

// Whoever is logged out meanwhile is sent to the door, and finds what they had typed when they are back.
document.body.addEventListener("htmx:beforeOnLoad", ({ detail }) => detail.xhr.status === 401 && keepTyped());
if (bringBackTyped()) notify("You are logged in again. What you had typed is still here.");

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
