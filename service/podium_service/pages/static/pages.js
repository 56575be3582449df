// Keys, copying and dragging. Every page works without it.
"use strict";
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  document.documentElement.classList.add("js");

  let at = -1;
  const go = (elements, index) => {
    if (!elements.length) return;
    at = Math.max(0, Math.min(elements.length - 1, index));
    elements.forEach((each, place) => each.classList.toggle("at", place === at));
    const target = elements[at].querySelector("a[href]") || elements[at];
    target.focus({ preventScroll: true });
    elements[at].scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  const stops = () => {
    const attempts = all("[data-attempt]");
    return attempts.length ? attempts : all("[data-row]");
  };
  const click = (selector) => document.querySelector(selector)?.click();

  // My own order: an item is `tied` with the one above it, and its select holds its place.
  const items = () => all("[data-place]");
  const placeOf = (item) => Number(item.querySelector("select").value);
  const number = () => {
    let place = 1;
    items().forEach((item, index) => {
      if (index === 0) item.classList.remove("tied");
      if (!item.classList.contains("tied")) place = index + 1;
      item.querySelector("select").value = String(place);
    });
  };
  const moveTo = (item, index) => {
    const others = items().filter((each) => each !== item);
    const to = Math.max(0, Math.min(others.length, index));
    if (items().indexOf(item) === to) return;
    const wasTied = item.classList.contains("tied");
    if (!wasTied) item.nextElementSibling?.classList.remove("tied");
    item.classList.remove("tied");
    others[to]?.classList.remove("tied");
    item.parentElement.insertBefore(item, others[to] ?? null);
    number();
  };
  const orderKey = (item, key) => {
    const index = items().indexOf(item);
    if (/^[1-9]$/.test(key)) moveTo(item, Number(key) - 1);
    else if (key === "J") moveTo(item, index + 1);
    else if (key === "K") moveTo(item, index - 1);
    else if (key === "j" || key === "k") return items()[index + (key === "j" ? 1 : -1)]?.focus();
    else if (key === "=" && index > 0) {
      item.classList.toggle("tied");
      number();
    } else return;
    item.focus();
  };
  document.addEventListener("change", (event) => {
    if (!event.target.closest("[data-place]")) return;
    const sorted = items().sort((a, b) => placeOf(a) - placeOf(b));
    const places = sorted.map(placeOf);
    sorted.forEach((item, index) => {
      item.classList.toggle("tied", places[index] === places[index - 1]);
      item.parentElement.append(item);
    });
    number();
    event.target.focus();
  });
  let dragged = null;
  document.addEventListener("dragstart", (event) => {
    dragged = event.target.closest?.("[data-place]") ?? null;
    dragged?.classList.add("dragged");
  });
  document.addEventListener("dragover", (event) => {
    const over = dragged && event.target.closest?.("[data-place]");
    if (!over) return;
    event.preventDefault();
    if (over === dragged) return;
    const box = over.getBoundingClientRect();
    const below = event.clientY > box.top + box.height / 2;
    const others = items().filter((each) => each !== dragged);
    moveTo(dragged, others.indexOf(over) + (below ? 1 : 0));
  });
  document.addEventListener("dragend", () => {
    dragged?.classList.remove("dragged");
    dragged = null;
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog")) return;
    const item = event.target.closest("[data-place]");
    if (item && event.key !== "?") return orderKey(item, event.key);
    if (event.key === "j") go(stops(), at + 1);
    else if (event.key === "k") go(stops(), at - 1);
    else if (event.key === "[") click("a[rel=prev]");
    else if (event.key === "]") click("a[rel=next]");
    else if (event.key === "/") {
      const search = document.querySelector("input[type=search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
    } else if (event.key === "?") document.getElementById("keys").showModal();
    else if (/^[1-9]$/.test(event.key)) {
      const attempts = all("[data-attempt]");
      const place = attempts.findIndex((each) => each.dataset.attempt === event.key);
      if (place >= 0) go(attempts, place);
    }
  });

  const showCopyButtons = () => {
    if (!navigator.clipboard) return;
    all("button.copy").forEach((button) => { button.hidden = false; });
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    const words = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = words; }, 1500);
  });
  showCopyButtons();
  document.addEventListener("htmx:afterSwap", showCopyButtons);
})();
