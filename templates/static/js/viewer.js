// Pictures large, over the page: arrows lead to their neighbours, Escape closes. Without this, links lead to a page.

const viewer = document.getElementById("viewer");
const place = document.getElementById("viewer-picture");
let at = null;

const all = () => [...document.querySelectorAll("a[data-picture]")];
// By its address: the card around it may have been replaced by a newer one since it was opened.
const placeOf = (links, link) => links.findIndex((one) => one.href === link.href);

async function show(link) {
  at = link;
  // As its own `source`: the page's requests may be under way, and htmx would send only the last that waits for them.
  await htmx.ajax("GET", link.getAttribute("href"), { source: place, target: place, swap: "innerHTML" }).catch(() => {});
  if (!place.hasChildNodes()) return; // it could not be had, which has been told
  // Whoever deletes it stays on the page they look at.
  for (const back of place.querySelectorAll('[name="back"]')) back.value = location.pathname + location.search;
  showWhereToGo(link);
  if (!viewer.open) viewer.showModal();
  viewer.scrollTop = 0;
}

// Before it opens, or what has the focus by then would lose it. At the first and the last picture Close takes it over.
function showWhereToGo(link) {
  const links = all();
  const here = placeOf(links, link);
  const had = document.activeElement;
  viewer.querySelector('[data-viewer="back"]').disabled = here <= 0;
  viewer.querySelector('[data-viewer="on"]').disabled = here < 0 || here === links.length - 1;
  if (had.matches("[data-viewer]:disabled")) viewer.querySelector('[data-viewer="close"]').focus();
}

function move(by) {
  const links = all();
  const here = placeOf(links, at);
  const link = here < 0 ? null : links[here + by];
  if (link) show(link);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-picture]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    show(link);
  }
  if (event.target === viewer) viewer.close();
  const button = event.target.closest("[data-viewer]");
  if (button?.dataset.viewer === "close") viewer.close();
  if (button?.dataset.viewer === "back") move(-1);
  if (button?.dataset.viewer === "on") move(1);
});

// On the whole page: what had the focus may have been replaced, and keys are then nobody's.
document.addEventListener("keydown", (event) => {
  if (!viewer.open || event.target.matches("input, select, textarea")) return;
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
// Deleted: whatever shows it takes it away, and nothing else of the page changes.
place.addEventListener("htmx:afterRequest", (event) => {
  if (!event.target.matches("[data-delete-picture]") || !event.detail.successful) return;
  viewer.close();
  all()[placeOf(all(), at)]?.dispatchEvent(new CustomEvent("picture:deleted", { bubbles: true }));
});

viewer.addEventListener("close", () => {
  place.replaceChildren();
  at?.focus();
});
