// One learning as it happens: the stage, the time left, the curve, the strip of samples.

import { announce } from "./page.js";
import { duration, prompt } from "./words.js";

let chart = null;
let points = [];
const title = document.title; // as the server wrote it; a tab in the background tells how far it has come

const article = () => document.getElementById("learning");
const colour = (name) => {
  const probe = document.createElement("span"); // light-dark() has to be computed before a canvas can use it
  probe.className = "visually-hidden";
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

// The thick line: an exponential mean, which begins where the losses begin.
function smoothed(losses) {
  let mean = losses[0];
  return losses.map((loss) => (mean = 0.92 * mean + 0.08 * loss));
}

function columns() {
  const losses = points.map((point) => point[1]);
  return [points.map((point) => point[0]), losses, smoothed(losses)];
}

function draw() {
  const place = document.querySelector("[data-curve]");
  chart?.destroy();
  chart = null;
  if (points.length < 2) return;
  place.replaceChildren();
  const [ink, faint, rule, rubric] = ["--ink-soft", "--rule", "--rule-strong", "--rubric"].map(colour);
  const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, width: 1 }, font: "12px system-ui, sans-serif" };
  const total = Number(article().dataset.steps) || points.at(-1)[0];
  const value = (_, number) => (number == null ? "" : number.toFixed(4));
  chart = new uPlot(
    {
      width: place.clientWidth,
      height: 200,
      scales: { x: { time: false, range: () => [0, Math.max(total, points.at(-1)[0])] } },
      axes: [{ ...axis, size: 32 }, { ...axis, size: 54 }],
      series: [
        { label: "at step", value: (_, number) => (number == null ? "" : String(number)) },
        { label: "each step", stroke: rule, width: 1, points: { show: false }, value },
        { label: "smoothed", stroke: rubric, width: 2.2, points: { show: false }, value },
      ],
      cursor: { y: false },
      legend: { markers: { width: 0, fill: (_, series) => [null, rule, rubric][series] } },
    },
    columns(),
    place,
  );
}

function begin() {
  if (!article()) return;
  if (!article().dataset.job) document.title = article().dataset.title;
  points = JSON.parse(article().dataset.losses);
  draw();
}

document.addEventListener("job:progress", (event) => {
  const { stage, step, steps_total: total, seconds_left: left, loss } = event.detail;
  const stages = [...article().querySelectorAll("[data-stage]")];
  const at = stages.findIndex((item) => item.dataset.stage === stage);
  const before = stages.findIndex((item) => item.classList.contains("now"));
  if (at >= 0 && at > before) announce(`${stages[at].querySelector("[data-label]").textContent}.`);
  if (at >= 0 && at >= before) {
    stages.forEach((item, place) => {
      item.className = place < at ? "done" : place === at ? "now" : "coming";
      item.toggleAttribute("aria-current", place === at);
      if (place === at) item.setAttribute("aria-current", "step");
    });
  }
  const standing = article().querySelector("[data-standing]");
  if (standing) standing.textContent = total > 1 ? `Step ${step} of ${total}${left ? `, ${duration(left)} left` : ""}` : "This takes a moment.";
  document.title = stage === "learning" && total ? `${Math.floor((100 * step) / total)} % · ${title}` : title;
  if (stage === "learning" && loss != null && step > (points.at(-1)?.[0] ?? 0)) {
    points.push([step, loss]);
    if (chart) chart.setData(columns());
    else draw();
  }
});

document.addEventListener("job:state", (event) => {
  if (event.detail.state === "queued") document.title = title;
  const mark = article().querySelector("[data-state-mark]");
  if (!mark || event.detail.state !== "running") return;
  mark.className = "mark running";
  mark.textContent = "running";
});

document.addEventListener("job:captions", (event) => {
  const places = article().querySelectorAll("[data-taught] [data-caption]");
  places.forEach((place, at) => event.detail.captions[at] && place.replaceChildren(...prompt(event.detail.captions[at])));
});

document.addEventListener("job:sample", (event) => {
  const place = article().querySelector(`[data-mark="${event.detail.step}"] .picture`);
  if (!place || place.querySelector("img")) return;
  const strip = article().querySelector("[data-samples]");
  const look = Object.assign(document.createElement("img"), { alt: `After ${event.detail.step} steps` });
  look.src = `/api/v1/jobs/${strip.dataset.samples}/samples/${event.detail.step}`;
  announce(`A new picture after ${event.detail.step} steps.`);
  place.classList.remove("waiting", "queued");
  place.classList.add("fresh");
  place.replaceChildren(look);
});

document.body.addEventListener("htmx:afterSettle", begin);
new ResizeObserver(() => chart && chart.setSize({ width: document.querySelector("[data-curve]").clientWidth, height: 200 })).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
begin();
