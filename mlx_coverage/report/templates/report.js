"use strict";
// Sorting and search; without this script the tables are whole and in order.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.key ?? cell.textContent.trim();
  };
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      // Numbers are first looked at from the largest down.
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows];
      rows.sort((a, b) => sign * compare(keyOf(a, column), keyOf(b, column)));
      body.append(...rows);
    });
  });
}
for (const input of document.querySelectorAll("input[data-table]")) {
  input.closest(".tools").hidden = false;
  const rows = [...document.getElementById(input.dataset.table).tBodies[0].rows];
  const shown = document.querySelector(`[data-shown="${input.dataset.table}"]`);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const count = rows.filter((row) => !row.hidden).length;
    shown.textContent = input.value ? `${count} of ${rows.length} rows` : "";
  });
}
