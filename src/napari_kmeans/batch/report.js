"use strict";
// Pages, a filter and sorting. Without this script, the report shows everything in one list.
const PAGE_SIZE = 50;
document.documentElement.className = "loading";

function page(element) {
  const list = element.dataset.paged === "self" ? element : element.querySelector("tbody");
  let items = [...list.children];
  if (items.length <= PAGE_SIZE) return { items: () => items, update: () => {}, list };
  let start = 0, words = "", all = false;
  const nav = document.createElement("div");
  nav.className = "pager";
  const add = (tag, properties) => nav.appendChild(Object.assign(document.createElement(tag), properties));
  const filter = add("input", { type: "search", placeholder: "Filter by name or group" });
  filter.setAttribute("aria-label", "Filter by name or group");
  const back = add("button", { type: "button", textContent: "◀ Previous" });
  const place = add("span", {});
  const next = add("button", { type: "button", textContent: "Next ▶" });
  const label = add("label", {});
  const box = label.appendChild(Object.assign(document.createElement("input"), { type: "checkbox" }));
  label.append(" Show all, for printing");

  function update() {
    const found = items.filter((item) => !words || text(item).includes(words));
    if (start >= found.length) start = 0;
    const end = all ? found.length : Math.min(start + PAGE_SIZE, found.length);
    if (all) start = 0;
    const shown = new Set(found.slice(start, end));
    for (const item of items) item.hidden = !shown.has(item);
    place.textContent = found.length ? `${start + 1} to ${end} of ${found.length}` : "nothing found";
    back.disabled = start === 0;
    next.disabled = end >= found.length;
  }
  filter.oninput = () => { words = filter.value.toLowerCase(); start = 0; update(); };
  back.onclick = () => { start = Math.max(0, start - PAGE_SIZE); update(); };
  next.onclick = () => { start += PAGE_SIZE; update(); };
  box.onchange = () => { all = box.checked; update(); };
  const outer = element.closest(".wide") || element;
  outer.before(nav);
  update();
  return { items: () => items, update: () => { items = [...list.children]; start = 0; update(); }, list };
}

// The texts are kept: reading those of a thousand rows at each key takes long.
const texts = new WeakMap();
function text(item) {
  if (!texts.has(item)) {
    const parts = item.matches("tr") ? item.querySelectorAll(".text") : item.querySelectorAll("h3, .facts");
    texts.set(item, [...parts].map((part) => part.textContent).join(" ").toLowerCase());
  }
  return texts.get(item);
}

function sortable(table, paged) {
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].textContent.trim();
  heads.forEach((head, column) => {
    if (head.classList.contains("plain")) return;
    const isText = head.classList.contains("text");
    head.tabIndex = 0;
    head.onclick = () => {
      const isUp = head.getAttribute("aria-sort") === (isText ? "ascending" : "descending");
      const down = isText ? isUp : !isUp;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => isText ? value(row, column) : parseFloat(value(row, column).replace("<", "")) || (value(row, column) === "–" ? -1 : 0);
      const compare = (a, b) => isText ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
      const rows = paged.items().map((row) => [key(row), row]).sort((a, b) => (down ? -1 : 1) * compare(a[0], b[0]));
      paged.list.append(...rows.map((pair) => pair[1]));
      paged.update();
    };
    head.onkeydown = (event) => { if (event.key === "Enter") head.click(); };
  });
}

addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll("[data-paged]")) {
    const paged = page(element);
    if (element.matches(".sortable")) sortable(element, paged);
  }
  document.documentElement.className = "";
});
