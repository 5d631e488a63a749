// Makes the last heading row of every sortable table a row of buttons. Numbers sort by
// data-value, words by their text; a cell without a value stays last in both directions.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const body = table.tBodies[0];
  heads.forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[index];
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        const [m, n] = [x.dataset.value, y.dataset.value];
        if ((m === undefined) !== (n === undefined)) return (m === undefined) - (n === undefined);
        const words = () => x.textContent.localeCompare(y.textContent, "en", {numeric: true});
        return (m === undefined ? words() : Number(m) - Number(n)) * (down ? -1 : 1);
      });
      body.append(...rows);
    });
  });
}
