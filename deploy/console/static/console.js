"use strict";

// Pages work without this file; it keeps their figures fresh, draws the chart, ticks many boxes.

const main = document.getElementById("main");
const away = document.getElementById("away");
let chart = null;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Credits are exact as text. As numbers they only say how high a bar is.
function draw() {
  const box = document.querySelector("[data-chart]");
  if (chart) chart.destroy();
  chart = null;
  if (!box) return;
  const { seconds, credits, step } = JSON.parse(box.dataset.chart);
  const axis = {
    stroke: () => colour("--dim"),
    grid: { stroke: () => colour("--grid"), width: 1 },
    ticks: { stroke: () => colour("--grid"), width: 1 },
  };
  const grouped = (text) => text.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
  chart = new uPlot({
    width: Math.max(box.clientWidth, 300),
    height: 230,
    tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
    cursor: { drag: { x: false, y: false } },
    scales: {
      x: { range: (u, low, high) => [low - step * 0.1, high + step * 1.1] },
      y: { range: (u, low, high) => [0, Math.max(high, 1) * 1.1] },
    },
    axes: [
      { ...axis, values: [[86400, "{D} {MMM}", null, null, null, null, null, null, 1],
        [3600, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1]] },
      { ...axis, size: 80, values: (u, marks) => marks.map((mark) => grouped(String(mark))) },
    ],
    series: [
      { label: "Hour (UTC)", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
      {
        label: "Credits",
        fill: () => colour("--bar"),
        stroke: () => colour("--bar"),
        width: 0,
        points: { show: false },
        paths: uPlot.paths.bars({ size: [0.8, 60], align: 1 }),
        value: (u, number, series, index) => (index == null ? "–" : grouped(credits[index])),
      },
    ],
  }, [seconds, credits.map(Number)], box);
}

function say(text) {
  away.hidden = !text;
  if (away.textContent !== text) away.textContent = text;
}

// What was open stays open, and the focus where it was: at the same place of the new part.
function fill(id, html) {
  const part = document.getElementById(id);
  if (!part) return;
  const stops = () => [...part.querySelectorAll("a, button, summary, input, [tabindex]")];
  const at = stops().indexOf(document.activeElement);
  const open = [...part.querySelectorAll("details")].map((one) => one.open);
  part.innerHTML = html;
  part.querySelectorAll("details").forEach((one, index) => { one.open = Boolean(open[index]); });
  if (at >= 0 && stops()[at]) stops()[at].focus({ preventScroll: true });
  if (part.querySelector("[data-chart]")) draw();
}

function follow(address) {
  const events = new EventSource(address);
  events.addEventListener("fragments", (event) => {
    say("");
    for (const [id, html] of Object.entries(JSON.parse(event.data))) fill(id, html);
    main.dataset.fresh = String(Number(main.dataset.fresh || 0) + 1);
  });
  events.addEventListener("away", (event) => say(JSON.parse(event.data)));
  events.addEventListener("error", () => {
    say("The console does not answer: these figures stand still. Trying again …");
    // Refused for good: the session has ended. Loading the page leads to the login.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  });
  addEventListener("pagehide", () => events.close());
}

function tick() {
  const form = document.getElementById("letters");
  if (!form) return;
  const boxes = [...form.querySelectorAll("input[name=id]")];
  const all = form.querySelector("[data-all]");
  const label = form.querySelector("[data-ticked]");
  const count = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    label.textContent = `(${ticked})`;
    all.checked = ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
  };
  all.addEventListener("change", () => {
    boxes.forEach((box) => { box.checked = all.checked; });
    count();
  });
  form.addEventListener("change", count);
  count();
}

if (main.dataset.live) follow(main.dataset.live);
tick();
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
addEventListener("resize", draw);
