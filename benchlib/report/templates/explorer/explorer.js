// Fills the explorer around this script: filters the rows, draws both charts, lists and answers.
// The form is the state; a link has its fields, and the marked networks, in the URL's fragment.
(async (root) => {
  const find = (selector) => root.querySelector(selector);
  const form = find("form"), fields = form.elements, tip = find(".tip"), copied = find("textarea");
  const unpack = (name) => {
    const packed = Uint8Array.from(atob(find(`.${name}`).textContent), (sign) => sign.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  };
  const make = (tag, text, attributes = {}) => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(text);
    return element;
  };
  const {axes, columns, rows: cells, charts, ...told} = JSON.parse(await unpack("payload"));
  if (!window.benchlibVega) document.head.append(make("script", await unpack("library")));
  const {View, parse, compile, expressionInterpreter} = window.benchlibVega;

  const rows = cells.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
  const known = (value) => value !== null && value !== undefined;
  const whole = (value) => Math.round(value).toLocaleString("en-US");
  const short = (value) => !known(value) ? "–"
    : value >= 99.95 ? whole(Number(value.toPrecision(3))) : value.toPrecision(3);
  const size = (word) => word.replace(/^(\d+)x(\d+)$/, "$1×$2");
  const listed = (words) => words.length < 2 ? words.join("")
    : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
  const plural = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
  const distinct = (some, name) => [...new Set(some.map((row) => row[name]))];
  const marked = new Set(), views = [];

  // What each row's tooltip says; the dollars go by the price that stands in the form.
  const tell = (row) => [
    `${row.model}, ${told.labels[row.precision]}, ${size(row.resolution)}${
      known(row.made_for) ? ` (made for ${size(row.made_for)})` : ""}, batch ${row.batch}`,
    row.set,
    known(row.latency_ms) && `${row.latency} ms${known(row.latency_ci_low_ms)
      ? " (95 % interval of the median, for this engine alone)" : ", no interval known"}; ${short(row.fps)} FPS`,
    known(row.speedup) && `${short(row.speedup)} times as fast as FP32`,
    `${row.verdict ?? "no verdict"}${row.reasons ? `: ${row.reasons.replaceAll(";", ", ")}` : ""}`,
    known(row.sm_clock_mhz) && `clock ${whole(row.sm_clock_mhz)} MHz${
      known(row.limited_by) && row.limited_by !== "none" ? `, limited by ${row.limited_by}` : ""}`,
    known(row.accuracy) && `${row.accuracy_metric} ${row.accuracy} % (published)`,
    `${short(row.gmacs)} GMACs, ${short(row.params_m)} M parameters`,
    known(row.energy_j) && `${short(row.energy_j)} J per image`,
    known(row.dollars) && `$${short(row.dollars)} per million images`,
  ].filter(Boolean).join("\n");

  const ticked = (name) => [...form.querySelectorAll(`[name="${name}"]:checked`)].map((one) => one.value);
  const limit = (name) => fields[name].value === "" ? null : Number(fields[name].value);
  const spans = {};
  const reach = (mine) => {
    for (const [name, column] of [["ms", "latency_ms"], ["least", "accuracy"]]) {
      const values = mine.map((row) => row[column]).filter(known);
      spans[name] = [Math.min(...values), Math.max(...values)];
      fields[`${name}_slider`].disabled = !(spans[name][0] < spans[name][1]);
      slide(name);
    }
  };
  const slide = (name) => { fields[`${name}_slider`].value = place[name](limit(name)); };
  // A slider at its loose end sets no limit; milliseconds go by their logarithm.
  const slid = {
    ms: (at) => at === 1000 ? "" : spans.ms[0] * (spans.ms[1] / spans.ms[0]) ** (at / 1000),
    least: (at) => at === 0 ? "" : spans.least[0] + (spans.least[1] - spans.least[0]) * at / 1000,
  };
  const place = {
    ms: (value) => value === null ? 1000
      : 1000 * Math.log(value / spans.ms[0]) / Math.log(spans.ms[1] / spans.ms[0]),
    least: (value) => value === null ? 0
      : 1000 * (value - spans.least[0]) / (spans.least[1] - spans.least[0]),
  };

  // Offers the sizes, precisions and families of the chosen set. None ticked means all.
  const offer = () => {
    const mine = rows.filter((row) => ["", row.set].includes(fields.set.value));
    reach(mine);
    const pixels = Object.fromEntries(mine.map((row) => [row.resolution, row.megapixels]));
    const order = {
      resolution: Object.keys(pixels).sort((a, b) => pixels[a] - pixels[b]),
      precision: told.precisions, family: told.families,
    };
    for (const [name, words] of Object.entries(order)) {
      const before = ticked(name), there = new Set(distinct(mine, name)), box = find(`[data-name="${name}"]`);
      box.querySelectorAll("label").forEach((label) => label.remove());
      for (const word of words.filter((one) => there.has(one))) {
        const text = name === "precision" ? told.labels[word] : size(word);
        const label = make("label", make("input", "", {
          type: "checkbox", name, value: word, checked: before.includes(word)}));
        if (told.colors[word]) label.append(make("i", ""));
        label.append(text);
        if (told.colors[word]) label.querySelector("i").style.background = told.colors[word];
        box.append(label);
      }
      if (name === "resolution" && before.length && !ticked(name).length) usual(pixels);
    }
    return pixels;
  };
  const usual = (pixels) => {
    const off = (word) => Math.abs(Math.log(pixels[word] / told.usual.megapixels));
    const timed = rows.filter((row) => ["", row.set].includes(fields.set.value)
      && row.precision === told.usual.precision && known(row.latency_ms));
    const networks = (word) => distinct(timed.filter((row) => row.resolution === word), "model").length;
    const boxes = [...form.querySelectorAll('[name="resolution"]')].sort(
      (a, b) => networks(b.value) - networks(a.value) || off(a.value) - off(b.value));
    if (boxes.length) boxes[0].checked = true;
  };
  const start = () => {
    const pixels = offer();
    form.querySelectorAll("fieldset input").forEach((box) => { box.checked = false; });
    usual(pixels);
    form.querySelectorAll(`[value="${told.usual.precision}"]`).forEach((box) => { box.checked = true; });
    marked.clear();
    copied.hidden = true;
    const mine = rows.filter((row) => row.set === fields.set.value);
    fields.x.value = ["accuracy", "gmacs"].find((name) => mine.some((row) => known(row[name]))) ?? "megapixels";
    redraw();
  };

  const link = () => {
    const told = [...new FormData(form)].filter(([name, value]) => value && !name.endsWith("_slider"));
    const query = new URLSearchParams([...told, ...[...marked].map((name) => ["lit", name])]);
    return `${location.href.split("#")[0]}#explore&${query}`;
  };
  const follow = () => {
    if (!location.hash.startsWith("#explore&")) return false;
    const asked = new URLSearchParams(location.hash.slice("#explore&".length));
    for (const name of ["set", "y", "x", "task", "batch", "ms", "least", "name", "price"]) {
      fields[name].value = asked.get(name) ?? "";
      if (fields[name].selectedIndex === -1) fields[name].selectedIndex = 0;
    }
    offer();
    form.querySelectorAll("fieldset input").forEach((box) => {
      box.checked = asked.getAll(box.name).includes(box.value);
    });
    marked.clear();
    asked.getAll("lit").forEach((name) => marked.add(name));
    redraw();
    root.scrollIntoView();
    return true;
  };

  const chosen = () => {
    const names = fields.name.value.toLowerCase().split(",").map((one) => one.trim()).filter(Boolean);
    const picked = Object.fromEntries(["resolution", "precision", "family"].map((name) => [name, ticked(name)]));
    const [most, least] = [limit("ms"), limit("least")];
    let shown = rows.filter((row) =>
      ["set", "task", "batch"].every((name) => ["", String(row[name])].includes(fields[name].value))
      && Object.entries(picked).every(([name, some]) => !some.length || some.includes(row[name]))
      && (!names.length || names.some((one) => row.model.toLowerCase().includes(one)))
      && (most === null || (known(row.latency_ms) && row.latency_ms <= most)));
    // Accuracies of two kinds are never compared: the kind with more rows stays.
    let note = "";
    if (fields.x.value === "accuracy" || least !== null) {
      const kinds = distinct(shown.filter((row) => known(row.accuracy)), "accuracy_metric");
      const count = (kind) => shown.filter((row) => row.accuracy_metric === kind).length;
      kinds.sort((a, b) => count(b) - count(a));
      if (kinds.length > 1) {
        shown = shown.filter((row) => !kinds.slice(1).includes(row.accuracy_metric));
        note = ` Accuracy here is ${kinds[0]}; choose another task for ${listed(kinds.slice(1))}.`;
      }
    }
    if (least !== null) shown = shown.filter((row) => known(row.accuracy) && row.accuracy >= least);
    return [shown, note];
  };

  const draw = (element, chart, some, x, y, title) => {
    const titles = {x: axes[x][0], y: axes[y][0]}, width = element.clientWidth;
    const legend = {title: null, orient: "top", columns: Math.max(1, Math.floor(width / 140)),
      values: told.precisions.map((word) => told.labels[word]).filter((one) => distinct(some, "label").includes(one))};
    const spec = structuredClone(chart);
    spec.data = {name: "rows", values: some};
    Object.assign(spec, {
      width, height: 400, autosize: {type: "fit", contains: "padding"}, title: {text: title, anchor: "start"}});
    spec.description = `${titles.y} against ${titles.x}; ${plural(some.length, "mark")}. The table below has the rows.`;
    const linear = {x: x === "accuracy", y: false};
    for (const {encoding} of spec.layer) {
      for (const name of ["shape", "strokeDash"]) if (encoding[name]) encoding[name].legend = legend;
      for (const name of ["x", "y"]) {
        encoding[name].title = titles[name];
        Object.assign(encoding[name].scale, linear[name] ? {type: "linear", zero: false} : {});
        encoding[name].axis = {format: ",~g", labelOverlap: "greedy", tickCount: 6};
        if (name === "x" && x === "megapixels") {
          encoding.x.axis = {values: distinct(some, "x"), format: ".2~f", labelOverlap: "greedy"};
        }
      }
    }
    element.replaceChildren();
    const view = new View(parse(compile(spec).spec, {}, {ast: true}), {
      expr: expressionInterpreter, renderer: "svg", container: element, hover: false});
    view.addEventListener("mousemove", (event, item) => {
      tip.hidden = !item?.datum?.tip;
      if (tip.hidden) return;
      tip.textContent = item.datum.tip;
      const box = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 4))}px`;
      tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4))}px`;
    });
    view.addEventListener("mouseout", () => { tip.hidden = true; });
    view.addEventListener("click", (_, item) => { if (item?.datum?.tip) mark(item.datum.model); });
    views.push(view);
    view.runAsync();
  };
  const mark = (model) => {
    if (!marked.delete(model)) marked.add(model);
    redraw();
  };

  // Which is fastest, where that is one question: one set, size and batch. Nobody is called faster
  // whose interval a rebuild might bring to the other's, as in benchlib.analysis.significance.
  const answer = (shown) => {
    const timed = shown.filter((row) => known(row.latency_ms)).sort((a, b) => a.latency_ms - b.latency_ms);
    if (!timed.length || ["set", "resolution", "batch"].some((name) => distinct(timed, name).length > 1)) return "";
    const first = timed[0], high = first.latency_ci_high_ms ?? first.latency_ms;
    const name = (row) => `${row.model} in ${told.labels[row.precision]}`;
    const tied = timed.slice(1).filter(
      (row) => !(high * (1 + told.rebuild) < (row.latency_ci_low_ms ?? row.latency_ms)));
    const ties = tied.length ? `, tied with ${listed(tied.map(name))} (intervals less than ${
      100 * told.rebuild} % apart, as much as a rebuilt engine may differ)` : "";
    const cost = known(first.dollars) ? `, $${short(first.dollars)} per million images` : "";
    const doubt = first.verdict === "SUSPECT" ? " (SUSPECT)" : "";
    return ` Fastest: ${name(first)}, ${first.latency} ms${doubt}${cost}${ties}.`;
  };

  const list = (shown, y) => {
    const several = (name) => distinct(shown, name).length > 1;
    const some = (name) => shown.some((row) => known(row[name]));
    const heads = [
      ["Size", (row) => size(row.resolution)],
      some("made_for") && ["Made for", (row) => known(row.made_for) ? size(row.made_for) : "–"], ["Precision", (row) => told.labels[row.precision]],
      several("batch") && ["Batch", (row) => row.batch], several("set") && ["Set", (row) => row.set],
      ["ms per batch", (row) => row.latency || "–"], ["Verdict", (row) => row.verdict ?? "–"], ["FPS", (row) => short(row.fps)],
      some("speedup") && ["× FP32", (row) => short(row.speedup)],
      some("energy_j") && ["J per image", (row) => short(row.energy_j)],
      some("dollars") && ["$ per million", (row) => short(row.dollars)],
      some("accuracy") && ["Accuracy, %", (row) => known(row.accuracy) ? row.accuracy.toFixed(1) : "–"],
      ["GMACs", (row) => short(row.gmacs)], ["Parameters, M", (row) => short(row.params_m)],
      some("sm_clock_mhz") && ["MHz", (row) => known(row.sm_clock_mhz) ? whole(row.sm_clock_mhz) : "–"],
      some("reasons") && ["Reasons", (row) => row.reasons?.replaceAll(";", ", ") ?? ""],
    ].filter(Boolean);
    const head = make("tr", make("th", "Network", {scope: "col"}));
    head.append(...heads.map(([text]) => make("th", text, {scope: "col", className: text === "Reasons" ? "words" : ""})));
    find("thead").replaceChildren(head);
    const focused = root.contains(document.activeElement) && document.activeElement.dataset.key;
    find("tbody").replaceChildren(...shown.map((row) => {
      const button = make("button", row.model, {type: "button", onclick: () => mark(row.model)});
      button.setAttribute("aria-pressed", marked.has(row.model));
      button.dataset.key = rows.indexOf(row);
      const line = make("tr", make("th", button, {scope: "row"}));
      line.append(...heads.map(([text, of]) => make("td", of(row), {className: text === "Reasons" ? "words" : ""})));
      return line;
    }));
    if (focused) find(`[data-key="${focused}"]`)?.focus({preventScroll: true});
  };

  // Names stand right or left of their marks, above or under, where that covers no other; without
  // room, only a marked network keeps its name. The chart's inside is reckoned as below.
  const ink = make("canvas", "").getContext("2d");
  ink.font = "11px sans-serif"; // as Vega writes them
  const placeNames = (points, x) => {
    const scaled = (name, log, pixels) => {
      const values = points.map((point) => log ? Math.log(point[name]) : point[name]);
      const low = Math.min(...values), span = Math.max(...values) - low || 1;
      return values.map((value) => pixels * (value - low) / span);
    };
    const inside = find(".cloud").clientWidth - 80;
    const xs = scaled("x", x !== "accuracy", inside), ys = scaled("y", true, 270);
    const taken = points.map((_, i) => [xs[i] - 5, xs[i] + 5, ys[i] - 5, ys[i] + 5]);
    points.forEach((point, i) => {
      if (!point.named) return;
      const long = ink.measureText(point.model).width + 1;
      const [right, left] = [xs[i] + 8, xs[i] - 8 - long];
      const places = [[false, right], [true, left], [false, right, true], [true, left, true]];
      const free = places.find(([, start, under]) => {
        const box = [start, start + long, ys[i] - (under ? 17 : -1), ys[i] + (under ? -4 : 13)];
        const room = start >= -10 && start + long <= inside + 15 && !taken.some((other, j) => j !== i
          && box[0] < other[1] && box[1] > other[0] && box[2] < other[3] && box[3] > other[2]);
        if (room) taken.push(box);
        return room;
      });
      point.left = free ? free[0] : xs[i] > inside / 2;
      point.under = Boolean(free?.[2]);
      point.named = Boolean(free) || point.lit;
    });
  };

  let waiting = false, width = 0;
  const redraw = () => {
    if (!waiting) requestAnimationFrame(show);
    waiting = true;
  };
  let shown = [];
  const show = () => {
    waiting = false;
    width = find(".views").clientWidth;
    const price = limit("price"), [x, y] = [fields.x.value, fields.y.value];
    for (const row of rows) {
      const rate = row.throughput_img_s ?? row.fps;
      row.dollars = price && rate ? price / 3600 * 1e6 / rate : null;
    }
    const [some, note] = chosen();
    const less = axes[y][1] ? 1 : -1;
    const last = (row) => known(row[y]) ? 0 : 1;
    shown = some.sort((a, b) => last(a) - last(b) || less * (a[y] - b[y]) || a.model.localeCompare(b.model));
    const key = (row) => [row.set, row.model, row.precision, row.batch].join("\n");
    const there = new Set(shown.map(key));
    const largest = {};
    const lines = rows.filter((row) => there.has(key(row)) && known(row[y]));
    lines.forEach((row) => { largest[row.model] = Math.max(largest[row.model] ?? 0, row.megapixels); });
    const ends = {latency_ms: (row, ms) => ms, fps: (row, ms) => 1000 * row.batch / ms}[y];
    const drawn = (row, across, named) => ({
      model: row.model, family: row.family, set: row.set, batch: row.batch, verdict: row.verdict,
      label: told.labels[row.precision], x: row[across], y: row[y], tip: tell(row), named,
      low: ends && known(row.latency_ci_low_ms) ? ends(row, row.latency_ci_low_ms) : null,
      high: ends && known(row.latency_ci_high_ms) ? ends(row, row.latency_ci_high_ms) : null,
      lit: marked.has(row.model), dim: marked.size > 0 && !marked.has(row.model),
    });
    views.splice(0).forEach((view) => view.finalize());
    tip.hidden = true;
    const both = shown.filter((row) => known(row[y]) && known(row[x]));
    const few = !marked.size && both.length <= find(".cloud").clientWidth / 20;
    const points = both.map((row) => drawn(row, x, few || marked.has(row.model)));
    placeNames(points, x);
    draw(find(".cloud"), charts[0], points, x, y, "The rows chosen");
    const named = lines.map((row) => drawn(row, "megapixels",
      marked.has(row.model) && row.megapixels === largest[row.model]));
    placeNames(named, "megapixels");
    draw(find(".bysize"), charts[1], named, "megapixels", y, "The same networks at every size");
    list(shown, y);
    const undrawn = shown.length - points.length;
    const why = y === "dollars" && !price ? "no price per hour is given" : "one of the two numbers is missing";
    find(".answer").textContent = `${shown.length} of ${plural(rows.length, "row")}`
      + `${undrawn ? `, ${undrawn} of them not drawn (${why})` : ""}.${answer(shown)}${note}`;
  };

  const copy = async (text, button) => {
    copied.hidden = false;
    copied.value = text;
    copied.select();
    const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    const before = button.dataset.text ??= button.textContent;
    button.textContent = done ? "Copied" : "Copy the text below";
    setTimeout(() => { button.textContent = before; }, 2000);
  };
  const csv = () => {
    const names = [...columns.filter((name) => name !== "latency"), "dollars_per_million"];
    const quoted = (value) => /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
    const line = (row) => names.map((name) => quoted(String((name === "dollars_per_million" ? row.dollars : row[name]) ?? "")));
    return [names, ...shown.map(line)].map((one) => one.join(",")).join("\n") + "\n";
  };
  fields.link.onclick = () => copy(link(), fields.link);
  fields.csv.onclick = () => copy(csv(), fields.csv);
  fields.dark.onclick = () => { marked.clear(); redraw(); };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(start));
  form.addEventListener("input", ({target}) => {
    const name = target.name.replace("_slider", "");
    if (target.name !== name) {
      const value = slid[name](Number(target.value));
      fields[name].value = value && Number(value.toPrecision(3));
    } else if (slid[name]) slide(name);
    if (target.name === "set") offer();
    if (target !== copied) redraw();
  });
  addEventListener("hashchange", follow);
  new ResizeObserver(() => { if (find(".views").clientWidth !== width) redraw(); }).observe(find(".views"));
  find(".notice").hidden = true;
  form.hidden = find(".rows").hidden = false;
  if (!follow()) start();
})(document.currentScript.parentElement).catch((error) => {
  console.warn("the explorer cannot run in this browser; its notice stays:", error);
});
