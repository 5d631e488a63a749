// The price becomes a field: what is typed is what the costs of the tables are told for.
for (const place of document.querySelectorAll(".price .per-hour")) {
  const field = document.createElement("input");
  Object.assign(field, { type: "number", min: "0", step: "any", value: place.dataset.price });
  field.setAttribute("aria-label", "dollars an hour");
  field.addEventListener("input", () => {
    const price = field.value === "" ? NaN : Number(field.value);
    for (const cost of document.querySelectorAll("table.answer .cost")) {
      const dollars = price * Number(cost.dataset.value);
      cost.textContent = price >= 0 ? "$" + dollars.toFixed(2) : "";
    }
  });
  place.replaceChildren("$", field);
}
// nbconvert lets Tab stop at every cell, which does nothing there; boxes that scroll keep theirs.
for (const cell of document.querySelectorAll("[class^='jp-'][tabindex]")) cell.removeAttribute("tabindex");
// What is wider than its box says so: on many machines a scroll bar shows only while it is used.
const measured = new ResizeObserver((boxes) => {
  for (const { target } of boxes) {
    target.classList.toggle("wide", target.scrollWidth > target.clientWidth + 1);
  }
});
for (const box of document.querySelectorAll(".scroll")) measured.observe(box);
// Print opens what is folded, and a link opens what it leads to.
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details:not(.code)")) one.open = true;
});
const opened = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let one = target; one; one = one.parentElement) {
    if (one.tagName === "DETAILS") one.open = true;
  }
};
addEventListener("hashchange", opened);
opened();
