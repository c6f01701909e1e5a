const dark = matchMedia("(prefers-color-scheme: dark)");
const darkColours = JSON.parse(document.getElementById("dark-colours").textContent);
const NARROW = 420;

const unpacked = async (id) => {
  const packed = document.getElementById(id).textContent.trim();
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
};

const loadLibrary = async () => {
  const module = new Blob([await unpacked("library")], { type: "text/javascript" });
  const address = URL.createObjectURL(module);
  await import(address);
  URL.revokeObjectURL(address);
};

const inColours = (spec, isDark) => {
  if (!isDark) return spec;
  const text = JSON.stringify(spec);
  const known = new RegExp(`"(${Object.keys(darkColours).join("|")})"`, "g");
  return JSON.parse(text.replace(known, (_, colour) => `"${darkColours[colour]}"`));
};

const chosen = new Set();
const views = new Map();
let specs = [];
let printing = false;

const isKnown = ([key, shown]) => key === "method" || (shown !== "" && shown !== "null");

// What hovering tells: a row for each figure that is known.
const told = (value, sanitize) => {
  if (typeof value !== "object") return sanitize(value);
  const rows = Object.entries(value).filter(isKnown).map(([key, shown]) =>
    `<tr><td class="key">${sanitize(key)}</td><td class="value">${sanitize(shown)}</td></tr>`);
  return `<table><tbody>${rows.join("")}</tbody></table>`;
};

const draw = async (figure) => {
  const place = figure.querySelector(".drawing");
  const isDark = dark.matches && !printing;
  const spec = inColours(specs[Number(figure.dataset.chart)], isDark);
  const made = await vegaEmbed(place, spec, {
    actions: false,
    renderer: "svg",
    ast: true,
    tooltip: { theme: isDark ? "dark" : "light", formatTooltip: told },
    config: { background: null, aria: false },
  });
  views.get(figure)?.finalize();
  views.set(figure, made);
  made.view.signal("chosen", [...chosen]).signal("named", place.clientWidth >= NARROW);
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

const paintMarks = () => {
  for (const mark of document.querySelectorAll(".mark")) {
    const colour = mark.dataset.colour;
    mark.style.color = dark.matches ? darkColours[colour] ?? colour : colour;
  }
};

for (const choice of document.querySelectorAll('input[name="front"]'))
  choice.addEventListener("change", () => {
    for (const charts of document.querySelectorAll("[data-front]"))
      charts.hidden = charts.dataset.front !== choice.value;
  });

const valueOf = (row, index, numeric) => {
  const cell = row.cells[index];
  if (!numeric) return cell.dataset.word ?? cell.textContent.trim();
  return cell.dataset.sort ? Number(cell.dataset.sort) : NaN;
};

const compare = (one, other, direction) => {
  if (typeof one === "string") return direction * one.localeCompare(other, "en");
  if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
  return direction * (one - other);
};

for (const button of document.querySelectorAll("thead button"))
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const numeric = "numeric" in button.dataset;
    const now = heading.getAttribute("aria-sort");
    // The first click brings the largest number up, or the first word.
    const next = now === "none" ? (numeric ? "descending" : "ascending")
      : now === "ascending" ? "descending" : "ascending";
    for (const other of heading.parentElement.children)
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", next);
    const direction = next === "ascending" ? 1 : -1;
    const body = heading.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row, heading.cellIndex, numeric), row]);
    rows.sort(([one], [other]) => compare(one, other, direction));
    body.append(...rows.map(([, row]) => row));
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
    view.signal("named", figure.querySelector(".drawing").clientWidth >= NARROW).resize().runAsync();
});

paintMarks();
await loadLibrary();
specs = JSON.parse(await unpacked("charts"));
for (const figure of undrawn) seen.observe(figure);
drawRest();
names.observe(document.querySelector("main"));
dark.addEventListener("change", () => {
  paintMarks();
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
