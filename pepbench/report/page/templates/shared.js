const darkColours = JSON.parse(document.getElementById("dark-colours").textContent);

const unpacked = async (id) => {
  const packed = document.getElementById(id).textContent.trim();
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
};

const inColours = (spec, isDark) => {
  if (!isDark) return spec;
  const text = JSON.stringify(spec);
  const known = new RegExp(`"(${Object.keys(darkColours).join("|")})"`, "g");
  return JSON.parse(text.replace(known, (_, colour) => `"${darkColours[colour]}"`));
};

const isKnown = ([key, shown]) => key === "method" || (shown !== "" && shown !== "null");

// What hovering tells: a row for each figure that is known.
const told = (value, sanitize) => {
  if (typeof value !== "object") return sanitize(value);
  const rows = Object.entries(value).filter(isKnown).map(([key, shown]) =>
    `<tr><td class="key">${sanitize(key)}</td><td class="value">${sanitize(shown)}</td></tr>`);
  return `<table><tbody>${rows.join("")}</tbody></table>`;
};

// A chart in its place; names beside points only where there is room.
const drawnIn = async (place, spec, isDark) => {
  const made = await vegaEmbed(place, inColours(spec, isDark), {
    actions: false,
    renderer: "svg",
    ast: true,
    tooltip: { theme: isDark ? "dark" : "light", formatTooltip: told },
    config: { background: null, aria: false },
  });
  made.view.signal("named", isRoomy(place));
  return made;
};

const isRoomy = (place) => place.clientWidth >= 420;

const paintMarks = (isDark) => {
  for (const { dataset, style } of document.querySelectorAll(".mark"))
    style.color = isDark ? darkColours[dataset.colour] ?? dataset.colour : dataset.colour;
};

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
