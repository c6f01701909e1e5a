const dark = matchMedia("(prefers-color-scheme: dark)");

const loadLibrary = async () => {
  const module = new Blob([await unpacked("library")], { type: "text/javascript" });
  const address = URL.createObjectURL(module);
  await import(address);
  URL.revokeObjectURL(address);
};

const chosen = new Set();
const views = new Map();
let specs = [];
let printing = false;

const draw = async (figure) => {
  const place = figure.querySelector(".drawing");
  const made = await drawnIn(place, specs[Number(figure.dataset.chart)], dark.matches && !printing);
  views.get(figure)?.finalize();
  views.set(figure, made);
  made.view.signal("chosen", [...chosen]);
  made.view.addEventListener("click", (_, item) => {
    const method = item?.datum?.method;
    if (method) toggle(method);
  });
  await made.view.runAsync();
  figure.dataset.drawn = "yes";
};

// Charts are drawn as they come into view; the others of what is open follow when there is time, so
// that a page that was not scrolled prints whole.
const undrawn = new Set(document.querySelectorAll(".chart"));
const drawOnce = async (figure) => {
  if (undrawn.delete(figure)) await draw(figure);
};
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) drawOnce(target);
}, { rootMargin: "300px" });
const idle = () => new Promise((done) => (window.requestIdleCallback ?? setTimeout)(done));
const drawRest = async () => {
  for (const figure of undrawn) {
    await idle();
    if (figure.checkVisibility()) await drawOnce(figure);
  }
};

const showChosen = () => {
  for (const chip of document.querySelectorAll(".chip[data-method]"))
    chip.setAttribute("aria-pressed", chosen.has(chip.dataset.method));
  for (const item of document.querySelectorAll("tr[data-method], .card[data-method]"))
    item.classList.toggle("faint", chosen.size > 0 && !chosen.has(item.dataset.method));
  for (const { view } of views.values()) view.signal("chosen", [...chosen]).runAsync();
};

const toggle = (method) => {
  if (!chosen.delete(method)) chosen.add(method);
  showChosen();
};

for (const chip of document.querySelectorAll(".chip[data-method]"))
  chip.addEventListener("click", () => toggle(chip.dataset.method));
document.getElementById("all-methods").addEventListener("click", () => {
  chosen.clear();
  showChosen();
});

for (const choice of document.querySelectorAll('input[name="front"]'))
  choice.addEventListener("change", () => {
    for (const charts of document.querySelectorAll("[data-front]"))
      charts.hidden = charts.dataset.front !== choice.value;
  });

const filters = ["dataset", "backbone", "budget"].map((name) => document.getElementById(`by-${name}`));
const search = document.getElementById("search");
const onFront = document.getElementById("by-front");
const columns = [1, 2, 3];

const filter = () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...document.getElementById("board").tBodies[0].rows];
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits = words.every((word) => text.includes(word))
      && filters.every(({ value }, i) => !value || row.cells[columns[i]].textContent === value)
      && (!onFront.checked || row.cells[11].textContent !== "");
    row.hidden = !fits;
    shown += fits;
  }
  document.getElementById("count").textContent = `${shown} of ${rows.length} cells`;
};

for (const control of [search, onFront, ...filters]) control.addEventListener("input", filter);

const redraw = () => Promise.all([...views.keys()].map(draw));
const names = new ResizeObserver(() => {
  for (const [figure, { view }] of views)
    view.signal("named", isRoomy(figure.querySelector(".drawing"))).resize().runAsync();
});

paintMarks(dark.matches);
await loadLibrary();
specs = JSON.parse(await unpacked("charts"));
for (const figure of undrawn) seen.observe(figure);
drawRest();
names.observe(document.querySelector("main"));
dark.addEventListener("change", () => {
  paintMarks(dark.matches);
  redraw();
});
const reasons = document.querySelectorAll("details.why");
addEventListener("beforeprint", () => {
  printing = true;
  for (const reason of reasons) reason.open = true;
  if (dark.matches) redraw();
});
addEventListener("afterprint", () => {
  printing = false;
  if (dark.matches) redraw();
});
