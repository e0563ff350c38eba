// The timeline: which version is open, a page that is loaded again when something was learned, pictures to slide over.

import { gently, notify } from "./page.js";
import { isInUse } from "./typed.js";

// A tree that is longer than the window opens where the shown version stands.
const tree = document.querySelector(".tree");
const here = tree?.querySelector(".version-link[aria-current]");
if (here && tree.scrollHeight > tree.clientHeight) tree.scrollTop = here.offsetTop - tree.offsetTop - tree.clientHeight / 2;

document.body.addEventListener("htmx:afterSwap", (event) => {
  const version = document.getElementById("version");
  if (!version || !event.detail.target?.matches?.("#version")) return;
  for (const link of document.querySelectorAll(".version-link")) {
    const number = new URL(link.href).searchParams.get("version");
    if (number === version.dataset.number) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  version.focus({ preventScroll: true });
  const { top } = version.getBoundingClientRect();
  if (top < 0 || top > innerHeight * 0.8 || matchMedia("(max-width: 62rem)").matches) version.scrollIntoView({ behavior: gently() });
});

// The address names the version that is open. htmx is not asked to keep it: going back and forth quickly, its own loading
// and ours would overtake each other.
const withoutHash = (address) => address.split("#")[0];
let named = withoutHash(location.href);
function showWhatTheAddressNames() {
  if (withoutHash(location.href) === named) return; // a link within the page was followed
  named = withoutHash(location.href);
  htmx.ajax("GET", named, { target: "#version", swap: "outerHTML" });
}

document.body.addEventListener("htmx:afterRequest", (event) => {
  const link = event.target.closest?.(".version-link");
  if (!link || !event.detail.successful) return;
  if (link.href !== location.href) history.pushState({}, "", link.href);
  named = withoutHash(location.href);
});
window.addEventListener("popstate", showWhatTheAddressNames);
// Back or forward may be pressed before this script runs; nobody would have heard it.
const [loaded] = performance.getEntriesByType("navigation");
named = loaded ? withoutHash(loaded.name) : named;
showWhatTheAddressNames();

// Up and down walk along the tree.
document.addEventListener("keydown", (event) => {
  const links = [...document.querySelectorAll(".version-link")];
  const at = links.indexOf(document.activeElement);
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (at < 0 || !by) return;
  event.preventDefault();
  links[at + by]?.focus();
});

document.addEventListener("job:ended", (event) => {
  if (event.target.dataset.then !== "reload") return;
  if (!isInUse()) return location.reload();
  const again = Object.assign(document.createElement("a"), { href: withoutHash(location.href), textContent: "Show it" });
  notify("There is something new. To show it, the page is loaded again.", again);
});

for (const pair of document.querySelectorAll("[data-pair]")) {
  const slider = pair.querySelector("input");
  const frame = pair.querySelector(".pair-pictures");
  const over = pair.querySelector(".over");
  slider.hidden = false;
  pair.classList.add("sliding");
  const show = () => {
    over.style.clipPath = `inset(0 0 0 ${100 - slider.value}%)`;
    frame.style.setProperty("--at", `${100 - slider.value}%`);
  };
  slider.addEventListener("input", show);
  const drag = (event) => {
    const box = frame.getBoundingClientRect();
    slider.value = String(100 - ((event.clientX - box.left) / box.width) * 100);
    show();
  };
  frame.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    frame.setPointerCapture(event.pointerId);
    drag(event);
  });
  frame.addEventListener("pointermove", (event) => event.buttons && drag(event));
  show();
}
