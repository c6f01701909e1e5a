const isDark = () => document.body.dataset.mdColorScheme === "slate";

const drawAll = async () => {
  paintMarks(isDark());
  const figures = [...document.querySelectorAll(".chart")];
  if (!figures.length) return;
  await window.vegaReady;
  const specs = JSON.parse(await unpacked("charts"));
  for (const figure of figures) {
    const place = figure.querySelector(".drawing");
    const { view } = await drawnIn(place, specs[Number(figure.dataset.chart)], isDark());
    await view.runAsync();
  }
};

// A choice above the table for each column that has several values.
const addFilters = (table) => {
  if (!table.querySelector("[data-filter]")) return;
  const box = document.createElement("div");
  const choices = [];
  const count = document.createElement("output");
  count.setAttribute("aria-live", "polite");
  const rows = [...table.tBodies[0].rows];
  const filter = () => {
    for (const row of rows)
      row.hidden = choices.some(([index, { value }]) => value && row.cells[index].textContent !== value);
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  for (const heading of table.querySelectorAll("th[data-filter]")) {
    const values = new Set(rows.map((row) => row.cells[heading.cellIndex].textContent));
    if (values.size < 2) continue;
    const select = document.createElement("select");
    select.add(new Option("all", ""));
    for (const value of values) select.add(new Option(value || "none", value));
    const label = document.createElement("label");
    label.append(heading.textContent, " ", select);
    box.append(label);
    choices.push([heading.cellIndex, select]);
    select.addEventListener("input", filter);
  }
  box.className = "filters";
  box.append(count);
  table.parentElement.before(box);
  filter();
};

// Rows of the boards nearest in the logarithms of features and of rows per feature come first.
const nearestFirst = () => {
  const features = document.getElementById("my-features");
  const rows = document.getElementById("my-rows");
  if (!features) return;
  const table = document.querySelector("table.board");
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const [first, second, board] = ["features", "rows per feature", "board"]
    .map((name) => headings.indexOf(name));
  const words = document.getElementById("nearest");
  const order = () => {
    const mine = [Number(features.value), Number(rows.value) / Number(features.value)];
    if (!(mine[0] > 0 && mine[1] > 0)) return;
    const distance = (row) => [first, second].reduce((sum, column, i) =>
      sum + Math.abs(Math.log(mine[i] / Number(row.cells[column].dataset.sort || NaN))), 0);
    const sorted = [...body.rows].map((row) => [distance(row), row]);
    sorted.sort(([one], [other]) => compare(one, other, 1));
    body.append(...sorted.map(([, row]) => row));
    const cells = sorted[0][1].cells;
    words.textContent = `Yours: ${mine[1].toPrecision(3)} training rows per feature. Nearest: `
      + `${cells[board].textContent}, ${cells[first].textContent} features, `
      + `${cells[second].textContent} rows per feature.`;
  };
  for (const input of [features, rows]) input.addEventListener("input", order);
};

for (const table of document.querySelectorAll("table.board")) addFilters(table);
nearestFirst();
drawAll();
new MutationObserver(drawAll).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
