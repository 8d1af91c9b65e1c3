"use strict";
// Everything here adds to a page that is whole without it. Text goes in as text, never as markup.
const { report, pages } = JSON.parse(document.getElementById("data").textContent);
const byKey = new Map(pages.map((page, i) => [page.key, { ...page, method: report.methods[i] }]));

// As in the rest of the page: what cannot be printed is replaced.
const clean = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, "\uFFFD");
const scale = (number, base, units) => {
  let step = 0;
  while (Math.abs(number) >= base - 0.05 && step + 1 < units.length) { number /= base; step += 1; }
  return `${step ? number.toFixed(1) : number} ${units[step]}`;
};
const formatBytes = (n) => scale(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
const formatFlops = (n) =>
  n < 0 ? "not modelled" : scale(n, 1000, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"]);
const formatCount = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
// aten.linear.default is `linear` where room is scarce.
const shortenOp = (op) => op.split(".").slice(1, -1).join(".") || op;

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") element.textContent = clean(String(value));
    else if (name === "click") element.addEventListener("click", value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, clean(String(value)));
  }
  element.append(...children);
  return element;
}

function fillFacet(select, values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  for (const [value, count] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const option = make("option", { text: `${value || "(the model itself)"} (${count})` });
    // An empty value stands for all.
    option.value = `=${value}`;
    select.append(option);
  }
}

const makeMatcher = (text) => {
  const words = text.toLowerCase().split(/\s+/);
  return (candidate) => words.every((word) => candidate.includes(word));
};

for (const element of document.querySelectorAll(".scripted")) element.hidden = false;
for (const element of document.querySelectorAll(".unscripted")) element.hidden = true;

// Sorting.
const collate = new Intl.Collator("en", { numeric: true }).compare;
function compareKeys(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y) ? x - y : collate(a, b);
}
for (const table of document.querySelectorAll("table:not(.tree, .nodes, .totals)")) {
  if (!table.tHead) continue;
  const heads = [...table.tHead.rows[0].cells];
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell ? (cell.dataset.key ?? cell.textContent.trim()) : "";
  };
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", text: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      // Numbers are first looked at from the largest down.
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const cell of heads) cell.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => sign * compareKeys(keyOf(a, column), keyOf(b, column)));
      table.tBodies[0].append(...rows);
    });
  });
}

// Search and facets of the findings.
for (const tools of document.querySelectorAll("[data-filters]")) {
  const table = document.getElementById(tools.dataset.filters);
  const { method } = byKey.get(tools.dataset.filters.split("-")[0]);
  const values = {
    reason: (finding) => [finding.reason.slug],
    op: (finding) => [finding.op],
    module: (finding) => finding.modules.map((module) => module.path),
  };
  const rows = [...table.tBodies[0].rows].map((row) => ({
    row, text: row.textContent.toLowerCase(), finding: method.findings[row.dataset.finding],
  }));
  const search = tools.querySelector("[data-search]");
  const facets = [...tools.querySelectorAll("[data-facet]")];
  for (const facet of facets) {
    fillFacet(facet, rows.flatMap(({ finding }) => values[facet.dataset.facet](finding)));
    facet.closest("label").hidden = facet.options.length < 3;
  }
  const filter = () => {
    const matches = makeMatcher(search.value);
    let [shown, nodes] = [0, 0];
    for (const { row, text, finding } of rows) {
      const fits = facets.every(
        (facet) => !facet.value ||
          values[facet.dataset.facet](finding).includes(facet.value.slice(1)),
      );
      row.hidden = !(fits && matches(text));
      if (!row.hidden) { shown += 1; nodes += finding.figures.nodes; }
    }
    const active = search.value || facets.some((facet) => facet.value);
    tools.querySelector("output").textContent =
      active ? `${shown} of ${rows.length} rows, ${formatCount(nodes, "node")}` : "";
  };
  // The address holds the filters, so that it can be handed on.
  const fields = [["search", search], ...facets.map((facet) => [facet.dataset.facet, facet])];
  const change = () => {
    const query = new URLSearchParams(location.search);
    for (const [name, field] of fields) {
      const key = `${tools.dataset.filters}.${name}`;
      if (field.value) query.set(key, field.value);
      else query.delete(key);
    }
    history.replaceState(null, "", `?${query}${location.hash}`);
    filter();
  };
  const given = new URLSearchParams(location.search);
  for (const [name, field] of fields) {
    field.value = given.get(`${tools.dataset.filters}.${name}`) ?? "";
  }
  filter();
  search.addEventListener("input", change);
  for (const facet of facets) facet.addEventListener("change", change);
  tools.addEventListener("reset-filters", () => {
    search.value = "";
    for (const facet of facets) facet.value = "";
    change();
  });
}

// Keys: / searches, n and p lead to the next finding and the one before.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
  if (event.key === "/") {
    const search = document.querySelector("[data-filters] [data-search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
  } else if (event.key === "n" || event.key === "p") {
    const rows = [...document.querySelectorAll("[data-finding]")].filter((row) => !row.hidden);
    const now = rows.findIndex((row) => `#${row.id}` === location.hash);
    const next = event.key === "n" ? now + 1 : (now < 0 ? rows.length : now) - 1;
    if (rows[next]) location.hash = rows[next].id;
  }
});

// One switch for all tables: hide what is all on MLX.
const switches = [...document.querySelectorAll("[data-hide]")];
for (const box of switches) {
  box.addEventListener("change", () => {
    for (const other of switches) other.checked = box.checked;
    document.body.classList.toggle("hide-delegated", box.checked);
    document.dispatchEvent(new Event("hide-delegated"));
  });
}

// The module tree folds.
for (const table of document.querySelectorAll(".tree")) {
  const rows = [...table.tBodies[0].rows];
  const parents = rows.map((row) => Number(row.dataset.parent));
  const depths = rows.map((row) => Number(row.dataset.depth));
  const inner = new Set(parents);
  let depth = 0;
  while (rows.filter((_, i) => depths[i] <= depth + 1).length <= 24 && depth < 32) depth += 1;
  const open = rows.map((_, i) => depths[i] < depth);
  const buttons = rows.map((row, i) => {
    const button = make("button", {
      type: "button", className: "fold",
      "aria-label": `Parts of ${row.cells[0].querySelector("code").textContent}`,
      click: () => { open[i] = !open[i]; draw(); },
    });
    if (inner.has(i)) row.cells[0].prepend(button);
    else row.cells[0].prepend(make("span", { className: "fold" }));
    return button;
  });
  const draw = () => {
    const shown = [];
    rows.forEach((row, i) => {
      shown[i] = parents[i] < 0 || (shown[parents[i]] && open[parents[i]]);
      row.hidden = !shown[i];
      buttons[i].setAttribute("aria-expanded", open[i]);
    });
  };
  draw();
  const unfold = document.querySelector(`[data-unfold="${table.id}"]`);
  unfold.addEventListener("click", () => {
    const all = !open.every((value, i) => value || !inner.has(i));
    open.fill(all);
    if (!all) open.fill(true, 0, 1);
    unfold.textContent = all ? "Fold" : "Unfold all";
    draw();
  });
}

// The graph: one view at a time.
const [BOX, ROW, WIDTH, HEIGHT, MARGIN] = [196, 96, 176, 56, 16];

class Graph {
  constructor(root, page) {
    this.root = root;
    this.page = page;
    this.graph = page.method.graph;
    const { segment } = this.graph;
    this.order = segment.map((_, node) => node).sort((a, b) => segment[a] - segment[b] || a - b);
    this.position = [];
    this.order.forEach((node, i) => { this.position[node] = i; });
    this.marked = new Set();
    [this.crumbs, this.canvas, this.panel] =
      [".crumbs", ".canvas", ".panel"].map((name) => root.querySelector(name));
    if (page.views.length) this.open(0);
  }

  isFallback(node) { return this.graph.finding[node] >= 0; }
  nameOp(node) { return this.page.method.ops[this.graph.op[node]].op; }

  open(index, focus = null) {
    this.index = index;
    const view = this.page.views[index];
    const chain = [];
    for (let i = index; i >= 0; i = this.page.views[i].parent) chain.unshift(i);
    this.crumbs.replaceChildren(...chain.flatMap((i, depth) => {
      const text = this.page.views[i].label || "program";
      const last = i === index;
      const crumb = last
        ? make("b", { text })
        : make("button", { type: "button", text, click: () => this.open(i) });
      return depth ? [make("span", { text: " › ", "aria-hidden": "true" }), crumb] : [crumb];
    }));
    this.draw(view, focus);
    if (focus === null) this.describeView(view);
  }

  draw(view, focus) {
    const [width, height] = [
      Math.max(...view.x, ...view.edges.flatMap((edge) => edge.slice(2))) * BOX + WIDTH,
      Math.max(...view.layer) * ROW + HEIGHT,
    ].map((size) => size + 2 * MARGIN);
    // A small drawing stands in the middle.
    const shift = MARGIN + Math.max(0, (this.canvas.clientWidth - width) / 2);
    const left = (i) => shift + view.x[i] * BOX;
    const top = (layer) => MARGIN + layer * ROW;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("width", Math.max(width, shift + width - MARGIN));
    svg.setAttribute("height", height);
    svg.setAttribute("aria-hidden", "true");
    const ports = this.spreadPorts(view, left);
    view.edges.forEach(([from, to, ...bends], i) => {
      const points = [
        [ports.out[i], top(view.layer[from]) + HEIGHT],
        ...bends.map((x, j) => [
          shift + x * BOX + WIDTH / 2, top(view.layer[from] + 1 + j) + HEIGHT / 2,
        ]),
        [ports.into[i], top(view.layer[to]) - 6],
      ];
      let path = `M${points[0]}`;
      for (let j = 1; j < points.length; j += 1) {
        const [[x1, y1], [x2, y2]] = [points[j - 1], points[j]];
        const middle = (y1 + y2) / 2;
        path += `C${x1},${middle} ${x2},${middle} ${x2},${y2}`;
      }
      const draw = (name, attributes) => {
        const element = document.createElementNS(svg.namespaceURI, name);
        for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
        svg.append(element);
        return element;
      };
      const [x, y] = points.at(-1);
      draw("path", { d: path, class: "edge" });
      draw("path", { d: `M${x - 4},${y - 1}h8l-4,7z`, class: "tip" });
      const bytes = this.measureCrossing(view, from, to);
      if (bytes !== null) {
        const before = points.at(-2);
        draw("text", { x: (x + before[0]) / 2 + 6, y: (y + before[1]) / 2 + 4 })
          .textContent = formatBytes(bytes);
      }
    });
    const boxes = view.children.map((child, i) => {
      const box = child < 0 ? this.makeNode(this.order[-1 - child]) : this.makeGroup(child);
      box.style.left = `${left(i)}px`;
      box.style.top = `${top(view.layer[i])}px`;
      return box;
    });
    this.canvas.replaceChildren(svg, ...boxes);
    this.boxes = boxes;
    if (focus !== null) {
      const i = view.children.indexOf(-1 - this.position[focus]);
      this.select(focus);
      boxes[i].focus({ preventScroll: true });
      this.canvas.scrollTo(left(i) - 40, top(view.layer[i]) - 80);
    } else {
      this.canvas.scrollTo(Math.max((width - this.canvas.clientWidth) / 2, 0), 0);
    }
  }

  // Edges leave and enter a box side by side, in the order of what they lead to.
  spreadPorts(view, left) {
    const ports = { out: [], into: [] };
    const spread = (side, own, other, bendOf) => {
      const groups = new Map();
      view.edges.forEach((edge, i) => {
        groups.set(edge[own], [...(groups.get(edge[own]) ?? []), i]);
      });
      for (const [box, edges] of groups) {
        const aim = (i) => bendOf(view.edges[i].slice(2)) ?? view.x[view.edges[i][other]];
        edges.sort((a, b) => aim(a) - aim(b));
        const step = Math.min(40, (WIDTH - 40) / Math.max(edges.length - 1, 1));
        edges.forEach((i, place) => {
          ports[side][i] = left(box) + WIDTH / 2 + (place - (edges.length - 1) / 2) * step;
        });
      }
    };
    spread("out", 0, 1, (bends) => bends[0]);
    spread("into", 1, 0, (bends) => bends.at(-1));
    return ports;
  }

  rangeOf(view, i) {
    const child = view.children[i];
    if (child < 0) return [-1 - child, -child];
    return [this.page.views[child].start, this.page.views[child].end];
  }

  // The bytes between two boxes that are whole segments.
  measureCrossing(view, from, to) {
    const segments = [from, to].map((i) => {
      const [start, end] = this.rangeOf(view, i);
      const [first, last] = [start, end - 1].map((at) => this.graph.segment[this.order[at]]);
      return first === last ? first : null;
    });
    if (segments.includes(null) || segments[0] === segments[1]) return null;
    const crossing = this.page.method.crossings.find(
      ({ source, target }) => source === segments[0] && target === segments[1],
    );
    return crossing ? crossing.bytes : null;
  }

  makeGroup(index) {
    const { start, end, label } = this.page.views[index];
    const nodes = this.order.slice(start, end);
    const fallback = nodes.filter((node) => this.isFallback(node)).length;
    const found = nodes.filter((node) => this.marked.has(node)).length;
    const state = fallback === 0 ? "mlx" : fallback === nodes.length ? "cpu" : "mixed";
    const count = formatCount(nodes.length, "node");
    const work = { mlx: `${count}, on MLX`, cpu: `${count}, on the CPU`,
      mixed: `${fallback} of ${nodes.length} on CPU` }[state];
    return make("button",
      { type: "button", className: `box group ${state}${found ? " found" : ""}`,
        title: label, click: () => this.open(index) },
      make("b", { text: label }),
      make("span", { text: work }),
      ...(found ? [make("i", { text: `◆ ${found}`, title: `${found} marked` })] : []));
  }

  makeNode(node) {
    const state = this.isFallback(node) ? "cpu" : "mlx";
    const found = this.marked.has(node);
    const result = this.graph.results[this.graph.result[node]];
    const box = make("button",
      { type: "button", className: `box node ${state}${found ? " found" : ""}`,
        title: `${this.nameOp(node)}: ${result}`, click: () => this.select(node) },
      make("b", { text: shortenOp(this.nameOp(node)) }),
      make("span", { text: `${state === "cpu" ? "CPU" : "MLX"} · ${result}` }),
      ...(found ? [make("i", { text: "◆", title: "marked" })] : []));
    box.dataset.node = node;
    return box;
  }

  describeView(view) {
    const nodes = this.order.slice(view.start, view.end);
    const fallback = nodes.filter((node) => this.isFallback(node)).length;
    const flops = nodes.reduce((sum, node) => sum + Math.max(this.graph.flops[node], 0), 0);
    const bytes = nodes.reduce((sum, node) => sum + this.graph.bytes[node], 0);
    const open = nodes.filter((node) => this.graph.flops[node] < 0).length;
    this.panel.replaceChildren(make("p", {
      text: `${formatCount(nodes.length, "node")} here: ${nodes.length - fallback} on MLX, ` +
        `${fallback} on the CPU. ${formatFlops(flops)}` +
        `${open ? ` (${formatCount(open, "node")} not modelled)` : ""}, ` +
        `${formatBytes(bytes)} moved.`,
    }));
  }

  select(node) {
    for (const box of this.boxes) {
      if (box.dataset.node === String(node)) box.setAttribute("aria-current", "true");
      else box.removeAttribute("aria-current");
    }
    const { graph, page } = this;
    const { method } = page;
    const source = method.sources[graph.source[node]];
    const place = source.file ? `${source.file}:${source.line}` : "unknown";
    const line = page.lines[graph.source[node]][0];
    const finding = graph.finding[node];
    const rows = [
      ["Result", make("code", { text: graph.results[graph.result[node]] })],
      ["Runs on", finding < 0
        ? make("span", { text: page.segments[graph.segment[node]] })
        : make("span", {}, `${page.segments[graph.segment[node]]}: `,
          make("a", {
            href: `#${page.anchors[finding]}`, text: method.findings[finding].reason.slug,
          }))],
      ["Module", make("code", { text: method.places[graph.place[node]]?.path || "the model itself" })],
      ["Source", line ? make("a", { href: `#${line}`, text: place }) : make("span", { text: place })],
      ["Work", make("span", {
        text: `${graph.flops[node] < 0 ? "FLOPs not modelled" : formatFlops(graph.flops[node])}, ` +
          `${formatBytes(graph.bytes[node])} moved`,
      })],
      ["Reads", this.listNodes(graph.edges_to, graph.edges_from, node)],
      ["Read by", this.listNodes(graph.edges_from, graph.edges_to, node)],
    ];
    const list = make("dl");
    for (const [name, value] of rows) {
      list.append(make("div", {}, make("dt", { text: name }), make("dd", {}, value)));
    }
    this.panel.replaceChildren(make("p", { className: "op" }, make("code", { text: this.nameOp(node) })), list);
  }

  listNodes(here, there, node) {
    const others = there.filter((_, i) => here[i] === node);
    if (!others.length) return make("span", { text: "none of the nodes" });
    const span = make("span");
    for (const other of others.slice(0, 12)) {
      span.append(make("button", {
        type: "button", text: shortenOp(this.nameOp(other)), click: () => this.show(other),
      }), " ");
    }
    if (others.length > 12) span.append(`and ${others.length - 12} more`);
    return span;
  }

  // Opens the view that shows a node.
  show(node) {
    const at = this.position[node];
    const { views } = this.page;
    let index = 0;
    for (;;) {
      const next = views[index].children.find(
        (child) => child >= 0 && views[child].start <= at && at < views[child].end,
      );
      if (next === undefined) break;
      index = next;
    }
    this.open(index, node);
  }

  // Marks nodes and goes to the first one.
  mark(nodes) {
    this.marked = new Set(nodes);
    if (!nodes.length) return;
    this.show(nodes[0]);
    if (nodes.length > 1) {
      const steps = make("p", { className: "steps" }, `${formatCount(nodes.length, "node")} marked ◆: `);
      nodes.slice(0, 40).forEach((node, i) => {
        steps.append(make("button", {
          type: "button", text: i + 1, "aria-label": `Marked node ${i + 1}`,
          click: () => { this.show(node); this.panel.prepend(steps); },
        }), " ");
      });
      this.panel.prepend(steps);
    }
  }
}

const graphs = new Map();
for (const root of document.querySelectorAll("[data-graph]")) {
  graphs.set(root.dataset.graph, new Graph(root, byKey.get(root.dataset.graph)));
}
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-show-finding], [data-show-line]");
  if (!link) return;
  const graph = graphs.get(link.hash.slice(1).split("-")[0]);
  if (!graph) return;
  const { finding, source } = graph.graph;
  const { showFinding, showLine } = link.dataset;
  graph.mark(graph.order.filter((node) => showLine
    ? graph.page.lines[source[node]].includes(showLine)
    : finding[node] === Number(showFinding)));
});

// Every node, on demand.
for (const details of document.querySelectorAll("[data-nodes]")) {
  const page = byKey.get(details.dataset.nodes);
  const { method } = page;
  const { graph } = method;
  const [search, more, output] =
    ["[data-search]", "[data-more]", "output"].map((name) => details.querySelector(name));
  const facets = [...details.querySelectorAll("[data-facet]")];
  const valueOf = {
    op: (node) => method.ops[graph.op[node]].op,
    segment: (node) => page.segments[graph.segment[node]],
  };
  let limit = 200;
  let texts = null;
  const describe = (node) => {
    const source = method.sources[graph.source[node]];
    return [
      valueOf.op(node), graph.results[graph.result[node]],
      method.places[graph.place[node]]?.path ?? "",
      source.file ? `${source.file}:${source.line}` : "", valueOf.segment(node),
    ];
  };
  const begin = () => {
    texts = graph.op.map((_, node) => describe(node).join(" ").toLowerCase());
    for (const facet of facets) fillFacet(facet, graph.op.map((_, node) => valueOf[facet.dataset.facet](node)));
  };
  const draw = () => {
    if (!texts) begin();
    const matches = makeMatcher(search.value);
    const hide = document.body.classList.contains("hide-delegated");
    const nodes = graph.op.map((_, node) => node).filter((node) =>
      (!hide || graph.finding[node] >= 0) &&
      facets.every((facet) => !facet.value || `=${valueOf[facet.dataset.facet](node)}` === facet.value) &&
      matches(texts[node]));
    details.querySelector("tbody").replaceChildren(...nodes.slice(0, limit).map((node) => {
      const [op, result, module, place, segment] = describe(node);
      const line = page.lines[graph.source[node]][0];
      return make("tr", {},
        make("td", { className: "number" }, make("a", {
          href: `#${page.key}-graph`, text: node + 1, "aria-label": `Node ${node + 1} in the graph`,
          click: () => graphs.get(page.key)?.mark([node]),
        })),
        make("td", {}, make("code", { text: op })), make("td", {}, make("code", { text: result })),
        make("td", {}, make("code", { text: module })),
        make("td", {}, line ? make("a", { href: `#${line}`, text: place }) : make("span", { text: place })),
        make("td", { text: segment }),
        make("td", { className: "number", text: formatFlops(graph.flops[node]) }),
        make("td", { className: "number", text: formatBytes(graph.bytes[node]) }));
    }));
    more.hidden = nodes.length <= limit;
    output.textContent = `${Math.min(limit, nodes.length)} of ${formatCount(nodes.length, "node")} shown`;
  };
  details.addEventListener("toggle", () => texts || draw());
  for (const input of [search, ...facets]) input.addEventListener("input", () => { limit = 200; draw(); });
  document.addEventListener("hide-delegated", () => texts && draw());
  more.addEventListener("click", () => { limit += 1000; draw(); });
}

// The JSON.
const raw = document.getElementById("raw-json");
const showJson = document.getElementById("show-json");
showJson.addEventListener("click", () => {
  raw.hidden = !raw.hidden;
  showJson.textContent = raw.hidden ? "Show" : "Hide";
  if (!raw.textContent) {
    raw.textContent = JSON.stringify(report, null, 1).split("\n").map(clean).join("\n");
  }
});
document.getElementById("save-json").addEventListener("click", (event) => {
  const link = event.currentTarget;
  if (!link.href.startsWith("blob:")) {
    link.href = URL.createObjectURL(
      new Blob([`${JSON.stringify(report, null, 2)}\n`], { type: "application/json" }));
  }
});

// A link leads to its target, whatever is folded or filtered.
function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  const table = target.closest("table");
  if (target.hidden && table) {
    document.querySelector(`[data-filters="${table.id}"]`)?.dispatchEvent(new Event("reset-filters"));
  }
  target.scrollIntoView();
}
window.addEventListener("hashchange", reveal);
if (location.hash) reveal();
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([data-nodes])")) details.open = true;
});
