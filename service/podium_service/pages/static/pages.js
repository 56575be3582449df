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

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog")) return;
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
