// Choosing many pictures: how many, and arrows that walk over the wall row by row.

const bar = document.getElementById("chosen");
const wall = document.getElementById("wall");

function count() {
  const chosen = wall.querySelectorAll(":checked").length;
  bar.classList.toggle("some", chosen > 0);
  wall.classList.toggle("choosing", chosen > 0);
  const most = Number(bar.dataset.most);
  const tooMany = chosen > most ? `, and at most ${most} go at once` : "";
  bar.querySelector("[data-count]").textContent = chosen ? `${chosen} chosen${tooMany}` : "Tick pictures";
  for (const button of bar.querySelectorAll("[data-needs-choice]")) {
    button.disabled = !chosen || Boolean(tooMany);
    button.toggleAttribute("data-stays-disabled", button.disabled);
  }
}

let last = null;
wall?.addEventListener("click", (event) => {
  if (!event.target.matches('input[type="checkbox"]')) return;
  // With Shift, all from the last ticked to this one.
  const boxes = [...wall.querySelectorAll('input[type="checkbox"]')];
  if (event.shiftKey && last) {
    const [from, to] = [boxes.indexOf(last), boxes.indexOf(event.target)].sort((a, b) => a - b);
    boxes.slice(from, to + 1).forEach((box) => (box.checked = event.target.checked));
  }
  last = event.target;
  count();
});

wall?.addEventListener("keydown", (event) => {
  const item = event.target.closest(".picture");
  const items = [...wall.querySelectorAll(".picture")];
  const inARow = items.filter((one) => one.offsetTop === items[0].offsetTop).length;
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: inARow, ArrowUp: -inARow }[event.key];
  if (!item) return;
  if (by) {
    event.preventDefault();
    items[items.indexOf(item) + by]?.querySelector("a").focus();
  } else if (event.key === "x" || (event.key === " " && event.target.matches("a"))) {
    event.preventDefault();
    item.querySelector("input").checked ^= true;
    count();
  }
});

document.addEventListener("picture:deleted", (event) => {
  const item = event.target.closest(".picture");
  const neighbour = [item.nextElementSibling, item.previousElementSibling].find((one) => one?.matches(".picture"));
  if (!neighbour) return location.reload(); // the page says what there is to do without any
  neighbour.querySelector("a").focus();
  item.remove();
  count();
});

if (bar) count();
