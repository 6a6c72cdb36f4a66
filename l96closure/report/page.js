"use strict";

// The colours follow the system until the reader chooses; the choice is kept where the browser lets a page keep things.
const root = document.documentElement;
const themeButton = document.getElementById("theme");
function stored(value) {
  try {
    if (value) localStorage.setItem("theme", value);
    return localStorage.getItem("theme");
  } catch {
    return null; // a page opened from a file may have no storage
  }
}
function dark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
function show(theme) {
  if (theme) root.dataset.theme = theme;
  themeButton.textContent = dark() ? "Light" : "Dark";
}
show(stored());
themeButton.addEventListener("click", () => {
  const theme = dark() ? "light" : "dark";
  stored(theme);
  show(theme);
});

// A figure enlarges in a dialog, which Escape closes.
const dialog = document.getElementById("enlarged");
for (const button of document.querySelectorAll(".enlarge")) {
  button.addEventListener("click", () => {
    const image = button.querySelector("img");
    const shown = dialog.querySelector("img");
    shown.src = image.src;
    shown.alt = image.alt;
    shown.style.minWidth = `${image.naturalWidth / 2}px`; // on a small screen it scrolls: all its text can be read
    dialog.showModal();
  });
}
dialog.addEventListener("click", () => dialog.close());

// On paper nothing is folded.
const settings = document.querySelector("details");
let unfolded = settings.open;
addEventListener("beforeprint", () => {
  unfolded = settings.open;
  settings.open = true;
});
addEventListener("afterprint", () => {
  settings.open = unfolded;
});

// A table is sorted by the first number in each cell of a column, by the text where there is none.
const number = /[-+−]?(?:\d+\.?\d*(?:e[-+−]?\d+)?|∞)/i;
function key(cell) {
  const text = cell.dataset.text ?? cell.textContent.trim();
  const found = text.match(number);
  if (found === null) return text;
  return Number(found[0].replaceAll("−", "-").replace("∞", "Infinity"));
}
function compare(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  return typeof a === "number" ? -1 : 1; // what has no number comes last
}
for (const head of document.querySelectorAll("thead th")) {
  head.querySelector("button").addEventListener("click", () => {
    const table = head.closest("table");
    const column = [...head.parentNode.children].indexOf(head);
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    const of = (row) => (column === 0 ? row.children[0].textContent.trim() : key(row.children[column]));
    const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(of(a), of(b)));
    body.append(...rows);
  });
}

// The contents show which section is being read.
const named = new Map(
  [...document.querySelectorAll("nav li a")].map((link) => [decodeURIComponent(link.hash.slice(1)), link]),
);
const links = new Map(); // of a section that they do not name they show the last before it that they do
let last;
for (const heading of document.querySelectorAll("h2[id]")) links.set(heading, (last = named.get(heading.id) ?? last));
const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of named.values()) link.removeAttribute("aria-current");
      links.get(entry.target)?.setAttribute("aria-current", "true");
    }
  },
  { rootMargin: "0px 0px -75% 0px" },
);
for (const heading of links.keys()) seen.observe(heading);

document.getElementById("copy")?.addEventListener("click", async (event) => {
  const yaml = document.getElementById("yaml");
  getSelection().selectAllChildren(yaml);
  try {
    await navigator.clipboard.writeText(yaml.textContent);
    event.target.textContent = "Copied";
  } catch {
    event.target.textContent = "Selected"; // without the right to the clipboard, the reader copies
  }
});
