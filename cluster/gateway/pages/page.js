// The gateway's page: the cluster as it is, an editor that runs programs, the logs. No build step; whatever
// comes from outside reaches the page as text only, never as markup.

const $ = (id) => document.getElementById(id);
const el = (name, attributes = {}, ...inside) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
};
const svg = (name, attributes = {}, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
};
const time = (seconds) =>
  seconds < 0.9995 ? `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms` : `${seconds.toFixed(2)} s`;

let toastTimer;
function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("shown"), 3500);
}

// Ask again `every` milliseconds, but never while an answer is awaited, and not while nobody looks.
function poll(every, ask) {
  const round = async () => {
    if (!document.hidden) await ask().catch(() => {});
    setTimeout(round, every);
  };
  round();
}

async function get(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(4000), headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

// --- theme ------------------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  $("theme-name").textContent = name;
  localStorage.setItem("theme", name);
}
setTheme(localStorage.getItem("theme") ?? "auto");
$("theme").addEventListener("click", () =>
  setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]));

// --- examples, and the program in the address ---------------------------------------------------------

const EXAMPLES = {
  "Hello": { source: `public class Hello {
    public String run() {
        return "Hello from Java " + Runtime.version().feature() + ", somewhere in the cluster";
    }
}
` },
  "Records and streams": { source: `import java.util.List;

/** Several types in one file; the one public class is started. */
public class Shapes {
    public String run() {
        return List.of(new Circle(1), new Square(2)).stream()
                .map(shape -> "%s has area %.2f".formatted(shape, shape.area()))
                .reduce("", (left, right) -> left + right + "\\n");
    }
}

interface Shape {
    double area();
}

record Circle(double radius) implements Shape {
    public double area() {
        return Math.PI * radius * radius;
    }
}

record Square(double side) implements Shape {
    public double area() {
        return side * side;
    }
}
` },
  "Arguments and input": { source: `import java.util.Scanner;

/** Reads numbers from standard input, and greets whom its arguments name. */
public class Sum {
    public static void main(String[] args) {
        System.out.println("Hello, " + String.join(" and ", args) + "!");
        long sum = 0;
        var in = new Scanner(System.in);
        while (in.hasNextLong()) {
            sum += in.nextLong();
        }
        System.out.println("The sum is " + sum);
    }
}
`, args: 'Ada "Grace Hopper"', stdin: "3 4\n35\n" },
  "An error to find": { source: `import java.util.ArrayList;

public class Mistakes {
    public static void main(String[] args) {
        var names = new ArrayList<String>();
        names.add(42);
        for (String name : names) {
            System.out.println(nane.toUpperCase());
        }
    }
}
` },
  "An exception": { source: `public class Boom {
    public static void main(String[] args) {
        System.out.println("so far, so good");
        int[] few = new int[3];
        few[3] = 1;
    }
}
` },
  "It never ends": { source: `/** The cluster stops it and says which limit it passed. */
public class Endless {
    public static void main(String[] args) {
        System.out.println("still here");
        while (true) {
            Thread.onSpinWait();
        }
    }
}
` },
};
const SHARED_MAX = 2 ** 20;

const program = () => ({ source: $("source").value, args: $("args").value, stdin: $("stdin").value });

function show({ source, args = "", stdin = "" }) {
  $("source").value = source;
  $("args").value = args;
  $("stdin").value = stdin;
  $("input").open = Boolean(args || stdin);
  $("result").hidden = true;
  $("source").setSelectionRange(0, 0);
  $("source").scrollTo(0, 0);
  marks = new Map();
  draw();
}

async function through(transform, bytes) {
  const parts = [];
  let size = 0;
  for await (const part of new Blob([bytes]).stream().pipeThrough(transform)) {
    size += part.length;
    if (size > SHARED_MAX) throw new Error("too large");
    parts.push(part);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function toFragment(value) {
  const packed = await through(new CompressionStream("deflate-raw"), new TextEncoder().encode(JSON.stringify(value)));
  let text = "";
  for (const byte of packed) text += String.fromCharCode(byte);
  return `#p=${btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

async function fromFragment(fragment) {
  const packed = Uint8Array.from(atob(fragment.slice(3).replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const bytes = await through(new DecompressionStream("deflate-raw"), packed);
  const { source, args, stdin } = JSON.parse(new TextDecoder().decode(bytes));
  return { source: String(source ?? ""), args: String(args ?? ""), stdin: String(stdin ?? "") };
}

async function load() {
  if (location.hash.startsWith("#p=")) {
    try {
      return show(await fromFragment(location.hash));
    } catch {
      toast("The program in this link can't be read");
    }
  }
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem("program"));
  } catch { /* what is kept there is ours to lose */ }
  show(kept?.source ? kept : EXAMPLES.Hello);
}

$("share").addEventListener("click", async () => {
  history.replaceState(null, "", await toFragment(program()));
  try {
    await navigator.clipboard.writeText(location.href);
    toast("Copied: the link holds the program itself");
  } catch {
    toast("The link is in the address bar: it holds the program itself");
  }
});
window.addEventListener("hashchange", () => { if (location.hash.startsWith("#p=")) load(); });

$("examples").append(el("option", { value: "" }, "choose…"), ...Object.keys(EXAMPLES).map((name) => el("option", {}, name)));
$("examples").addEventListener("change", () => {
  const chosen = EXAMPLES[$("examples").value];
  if (!chosen) return;
  history.replaceState(null, "", location.pathname);
  show(chosen);
  save();
});

// --- the editor ---------------------------------------------------------------------------------------

const TOKENS = new RegExp([
  "(?<c>//.*|/\\*[^]*?(?:\\*/|$))",
  '(?<s>"""[^]*?(?:"""|$)|"(?:\\\\.|[^"\\\\\\n])*"?|\'(?:\\\\.|[^\'\\\\\\n])*\'?)',
  "(?<a>@\\w+)",
  "(?<n>\\b(?:0[xXbB][\\da-fA-F_]+|\\d[\\d_]*(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)[lLfFdD]?\\b)",
  "(?<k>\\b(?:abstract|assert|boolean|break|byte|case|catch|char|class|const|continue|default|do|double|else|enum|extends|false|final|finally|float|for|goto|if|implements|import|instanceof|int|interface|long|native|new|null|package|permits|private|protected|public|record|return|sealed|short|static|strictfp|super|switch|synchronized|this|throw|throws|transient|true|try|var|void|volatile|while|yield)\\b)",
  "(?<t>\\b[A-Z]\\w*)",
].join("|"), "g");
const HIGHLIGHT_MAX = 200_000;

let marks = new Map(); // line -> { severity, message }

function* coloured(text) {
  let at = 0;
  if (text.length <= HIGHLIGHT_MAX) {
    for (const found of text.matchAll(TOKENS)) {
      if (found.index > at) yield ["", text.slice(at, found.index)];
      yield [Object.entries(found.groups).find(([, value]) => value !== undefined)[0], found[0]];
      at = found.index + found[0].length;
    }
  }
  yield ["", text.slice(at)];
}

function draw() {
  const lines = [el("div")];
  for (const [kind, text] of coloured($("source").value)) {
    text.split("\n").forEach((piece, index) => {
      if (index) lines.push(el("div"));
      if (piece) lines.at(-1).append(kind ? el("span", { class: kind }, piece) : piece);
    });
  }
  const numbers = lines.map((line, index) => {
    const mark = marks.get(index + 1);
    if (mark) {
      line.className = mark.severity;
      line.append(el("span", { class: "note" }, mark.message.split("\n")[0]));
    }
    return el("div", mark ? { class: mark.severity } : {}, String(index + 1));
  });
  $("ink").replaceChildren(...lines, el("div"));
  $("gutter").replaceChildren(...numbers, el("div"));
  $("input-hint").textContent = $("args").value || $("stdin").value ? "· given" : "";
  scrolled();
}

function scrolled() {
  $("ink").scrollTop = $("gutter").scrollTop = $("source").scrollTop;
  $("ink").scrollLeft = $("source").scrollLeft;
}

function save() {
  try {
    localStorage.setItem("program", JSON.stringify(program()));
  } catch { /* a full store is no reason to stop */ }
}

function insert(text) {
  // The one way that keeps the browser's own undo; where it is gone, the text still gets in.
  if (!document.execCommand("insertText", false, text)) {
    const box = $("source");
    box.setRangeText(text, box.selectionStart, box.selectionEnd, "end");
    box.dispatchEvent(new Event("input"));
  }
}

let leaving = false; // after Esc, Tab moves on instead of indenting
$("source").addEventListener("keydown", (event) => {
  const box = $("source");
  if (event.key === "Escape") {
    leaving = true;
    return;
  }
  if (event.key === "Tab" && !leaving && !event.shiftKey && !event.altKey && !event.ctrlKey) {
    event.preventDefault();
    insert("    ");
  } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && !event.isComposing) {
    const before = box.value.slice(0, box.selectionStart);
    const indent = before.slice(before.lastIndexOf("\n") + 1).match(/^[ \t]*/)[0];
    event.preventDefault();
    insert(`\n${indent}${before.trimEnd().endsWith("{") ? "    " : ""}`);
  } else if (event.key === "}" && /(^|\n)[ \t]* {4}$/.test(box.value.slice(0, box.selectionStart)) && box.selectionStart === box.selectionEnd) {
    event.preventDefault();
    box.selectionStart -= 4;
    insert("}");
  }
  if (!["Shift", "Control", "Alt", "Meta"].includes(event.key)) leaving = false;
});
$("source").addEventListener("input", () => {
  marks = new Map();
  $("examples").value = "";
  draw();
  save();
});
$("source").addEventListener("scroll", scrolled);
for (const id of ["args", "stdin"]) $(id).addEventListener("input", () => { draw(); save(); });

function goTo(line, column) {
  const box = $("source");
  const start = box.value.split("\n").slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  box.focus();
  box.setSelectionRange(start + Math.max(0, column - 1), start + Math.max(0, column - 1));
  box.scrollTop = Math.max(0, (line - 6) * parseFloat(getComputedStyle(box).lineHeight));
}

// --- running ------------------------------------------------------------------------------------------

const WORDS = {
  ok: "OK", compile_error: "Does not compile", runtime_error: "Runtime error", time_limit: "Time limit",
  memory_limit: "Memory limit", output_limit: "Output limit", signalled: "Killed by a signal",
};
const GROUP = { ok: "ok", compile_error: "program", runtime_error: "program" };

// Words, where "double" or 'single' quotes hold several together.
const words = (text) =>
  [...text.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) => word.replace(/"([^"]*)"|'([^']*)'/g, "$1$2"));

let running = null;

async function run() {
  if (running) {
    running.abort(); // the gateway cancels the job of a client that goes away
    return;
  }
  running = new AbortController();
  $("run").classList.add("busy");
  $("run-word").textContent = "Stop";
  const { source, args, stdin } = program();
  const began = performance.now();
  try {
    const answer = await fetch("/v1/run", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ source, args: words(args), stdin }),
      signal: running.signal,
    });
    const told = await answer.json();
    const seconds = (performance.now() - began) / 1000;
    if (answer.ok) result(told, seconds);
    else problem(WORDS[told.verdict] ?? told.verdict ?? told.title, told.detail);
  } catch (error) {
    if (error.name === "AbortError") problem("Stopped", "You stopped it.");
    else problem("No answer", "The gateway can't be reached.");
  } finally {
    running = null;
    $("run").classList.remove("busy");
    $("run-word").textContent = "Run";
  }
}

function problem(title, text) {
  announce("cluster", String(title).replaceAll("_", " "), "", text);
  $("timing").replaceChildren();
  $("outputs").replaceChildren();
  mark([]);
}

function announce(group, word, facts, message) {
  $("result").hidden = false;
  $("verdict").className = group;
  $("verdict").textContent = word;
  $("facts").textContent = facts;
  $("message").textContent = message;
}

function result(told, seconds) {
  const [one] = told.runs;
  const facts = [
    told.worker === null ? "" : `node ${told.worker}`,
    told.cached ? `from the cache, ${Math.round(told.age_s)} s old` : "",
    one?.exit_code ? `exit code ${one.exit_code}` : "",
    one?.signal ? `signal ${one.signal}` : "",
    one?.detail ?? "",
    one?.peak_memory_bytes ? `${Math.round(one.peak_memory_bytes / 2 ** 20)} MiB` : "",
  ];
  const message = told.verdict === "compile_error" && told.compilation.diagnostics.length ? "" : told.message;
  announce(GROUP[told.verdict] ?? "limit", WORDS[told.verdict] ?? told.verdict, facts.filter(Boolean).join(" · "), message);
  mark(told.compilation?.diagnostics ?? []);
  phases(told, seconds);
  const blocks = [];
  const block = (title, text, kind = "", cut = false) => {
    if (text) blocks.push(el("h3", {}, title + (cut ? " (cut: it reached its limit)" : "")), el("pre", { class: kind, tabindex: 0 }, text));
  };
  if (one) {
    if (told.compilation.entry === "run" && one.verdict === "ok") block("run() returned", one.value ?? "null", "value");
    block("Standard output", one.stdout, "stdout", one.stdout_truncated);
    block("Standard error", one.stderr, "stderr", one.stderr_truncated);
    if (!blocks.length) blocks.push(el("p", { class: "muted" }, "It wrote nothing."));
  }
  $("outputs").replaceChildren(...blocks);
}

function phases(told, seconds) {
  const ran = told.runs.reduce((sum, one) => sum + one.wall_s, 0);
  const parts = told.cached ? [] : [["queue", told.queue_s], ["compile", told.compilation?.seconds ?? 0], ["run", ran]];
  const known = parts.reduce((sum, [, value]) => sum + value, 0);
  if (!told.runs.length) parts.pop();
  parts.push(["all in all", seconds]);
  $("timing").replaceChildren(...parts.map(([name, value]) => {
    const part = el("div", { class: name }, `${name} ${time(value)}`);
    part.style.flexGrow = name === "all in all" ? Math.max(0.05, (seconds - known) / seconds) : Math.max(0.02, value / seconds);
    return part;
  }));
}

function mark(diagnostics) {
  marks = new Map();
  for (const found of diagnostics) {
    const severity = found.severity === "error" ? "error" : "warning";
    if (found.line && (!marks.has(found.line) || severity === "error")) marks.set(found.line, { severity, message: found.message });
  }
  $("diagnostics").replaceChildren(...diagnostics.map((found) => {
    const where = found.line ? `line ${found.line}: ` : "";
    const button = el("button", { type: "button", class: found.severity === "error" ? "error" : "warning" }, where + found.message);
    button.addEventListener("click", () => found.line && goTo(found.line, found.column));
    return el("li", {}, button);
  }));
  draw();
}

$("run").addEventListener("click", run);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  }
});

// --- the cluster --------------------------------------------------------------------------------------

let before = null;

function kindOf(node, view) {
  if (node.status === "FAILED" || node.status === "UNKNOWN") return "bad";
  if (node.id === view.leader) return "lead";
  if (node.status === "SUSPECT" || node.state === "LOOKING" || node.draining) return "warn";
  return node.role === "gateway" ? "gate" : "good";
}

function wordOf(node, view) {
  if (node.status === "FAILED") return "failed";
  if (node.status === "UNKNOWN") return "not heard";
  if (node.id === view.leader) return "leader";
  if (node.status === "SUSPECT") return "suspect";
  if (node.draining) return "draining";
  if (node.role === "gateway") return "gateway";
  return (node.state ?? "alive").toLowerCase();
}

function news(text, kind) {
  $("news").prepend(el("li", { class: kind }, el("time", {}, new Date().toLocaleTimeString([], { hour12: false })), text));
  while ($("news").children.length > 5) $("news").lastChild.remove();
}

function compare(view) {
  if (before) {
    if (view.leader !== before.leader) {
      news(view.leader === null ? "no leader" : `node ${view.leader} leads, epoch ${view.epoch}`, view.leader === null ? "bad" : "lead");
    }
    const was = new Map(before.nodes.map((node) => [node.id, kindOf(node, before) === "bad"]));
    for (const node of view.nodes) {
      const bad = kindOf(node, view) === "bad";
      if (was.get(node.id) === false && bad) news(`node ${node.id} failed`, "bad");
      if (was.get(node.id) === true && !bad) news(`node ${node.id} is back`, "good");
    }
  }
  before = view;
}

function ring(view) {
  const leader = view.nodes.find((node) => node.id === view.leader);
  const gateways = view.nodes.filter((node) => node.role === "gateway");
  const others = view.nodes.filter((node) => node !== leader && node.role !== "gateway");
  const places = new Map();
  if (leader) places.set(leader, [0, 0]);
  const around = [...gateways, ...others];
  around.forEach((node, index) => {
    const turn = (index / around.length) * 2 * Math.PI - Math.PI / 2;
    places.set(node, [112 * Math.cos(turn), 76 * Math.sin(turn)]);
  });
  const size = Math.max(6, Math.min(18, 190 / (around.length + 1)));
  const edges = leader ? around.map((node) => {
    const [x, y] = places.get(node);
    return svg("line", { x1: 0, y1: 0, x2: x, y2: y, class: kindOf(node, view) === "bad" ? "edge" : "edge live" });
  }) : [];
  const dots = [...places].map(([node, [x, y]]) => {
    const group = svg("g", { class: kindOf(node, view) });
    group.append(
      svg("circle", { cx: x, cy: y, r: node === leader ? size * 1.25 : size }),
      svg("text", { x, y: y + 0.5 }, size < 9 ? "" : node.id),
      svg("text", { x, y: y < -30 ? y - size - 10 : y + size + (node === leader ? 15 : 11), class: "word" }, size < 14 ? "" : wordOf(node, view)),
    );
    return group;
  });
  $("ring").replaceChildren(...edges, ...dots);
}

function row(node, view) {
  const kind = kindOf(node, view);
  const age = node.heartbeat_age_s;
  const heard = node.id === view.node ? "this node" : age === null ? "–" : age < 100 ? `${age.toFixed(1)} s ago` : "long ago";
  const pips = el("span", { class: "pips" });
  for (let slot = 0; slot < Math.min(node.slots, 16); slot += 1) pips.append(el("i", slot < node.running ? { class: "on" } : {}));
  const load = kind === "bad" || !node.slots ? "–" : el("span", { title: `${node.running} of ${node.slots} slots busy` }, pips, node.queued ? ` +${node.queued}` : "");
  return el("tr", { class: kind, "data-node": node.id },
    el("td", {}, `${node.id} `, el("small", {}, node.host)), el("td", { class: "word" }, wordOf(node, view)), el("td", {}, heard), el("td", {}, load));
}

async function cluster() {
  let view;
  try {
    view = await (await get("/v1/cluster")).json();
  } catch (error) {
    $("state").className = "unready";
    $("headline").textContent = "the gateway does not answer";
    throw error;
  }
  view.nodes.sort((left, right) => left.id - right.id);
  compare(view);
  const alive = view.nodes.filter((node) => kindOf(node, view) !== "bad").length;
  $("state").className = view.ready ? "ready" : "unready";
  $("headline").textContent = view.ready ? `serving · ${alive} of ${view.nodes.length} nodes alive` : view.not_ready_reason;
  $("name").textContent = view.cluster;
  $("epoch").textContent = view.leader === null ? "no leader" : `node ${view.leader} leads · epoch ${view.epoch}`;
  ring(view);
  $("nodes").tBodies[0].replaceChildren(...view.nodes.map((node) => row(node, view)));
  logNodes(view);
}

// --- throughput and latency -----------------------------------------------------------------------------

const SPAN_S = 300;

async function load5() {
  const { interval_s: step, intervals } = await (await get("/v1/stats")).json();
  // A whole interval's width each; the one that is still filling up is left out of the rates.
  const x = (one) => 600 * (1 - one.at_s / SPAN_S);
  const width = 600 * step / SPAN_S;
  const most = Math.max(5, ...intervals.map((one) => one.answers / step));
  const bars = [...grid([0.5])];
  label($("throughput"), [[57 / 110, `${Math.round(most / 2)} /s`]]);
  for (const one of intervals) {
    const height = 104 * one.answers / step / most;
    const failed = height * one.failures / one.answers;
    bars.push(svg("rect", { class: "bars", x: x(one), width: width * 0.8, y: 110 - height, height: height - failed }));
    if (failed) bars.push(svg("rect", { class: "failed", x: x(one), width: width * 0.8, y: 110 - failed, height: failed }));
  }
  $("throughput").replaceChildren(...bars);
  const last = intervals.filter((one) => one.at_s >= step && one.at_s < 10 + step).reduce((sum, one) => sum + one.answers, 0);
  $("rate").textContent = `${(last / 10).toFixed(1)} /s`;
  const y = (seconds) => 106 - 100 * Math.min(1, Math.max(0, Math.log10(seconds / 0.0005) / Math.log10(20 / 0.0005)));
  const decades = [[0.001, "1 ms"], [0.01, "10 ms"], [0.1, "100 ms"], [1, "1 s"], [10, "10 s"]];
  label($("latency"), decades.map(([seconds, text]) => [y(seconds) / 110, text]));
  const curve = (name) => svg("path", {
    class: `curve ${name}`,
    d: intervals.map((one, index) => {
      const near = index && intervals[index - 1].at_s - one.at_s < 4 * step;
      return `${near ? "L" : "M"}${(x(one) + width / 2).toFixed(1)} ${y(one[`${name}_s`]).toFixed(1)}${near ? "" : "h.01"}`;
    }).join(""),
  });
  $("latency").replaceChildren(...grid(decades.map(([seconds]) => y(seconds) / 110)), curve("p99"), curve("p50"));
  const recent = intervals.at(-1);
  $("latency-now").textContent = recent ? time(recent.p50_s) : "–";
  const total = intervals.reduce((sum, one) => sum + one.answers, 0);
  const cached = intervals.reduce((sum, one) => sum + one.cached, 0);
  $("reading").textContent = total ? `${total} answers, ${Math.round(100 * cached / total)} % from the cache` : "no answers yet";
}

// Words beside a drawing that is stretched; they would be stretched with it inside.
function label(drawing, marks) {
  const figure = drawing.parentElement;
  figure.querySelectorAll(".mark").forEach((old) => old.remove());
  for (const [share, text] of marks) {
    const made = el("span", { class: "mark" }, text);
    const inner = drawing.getBoundingClientRect();
    made.style.top = `${inner.top - figure.getBoundingClientRect().top + inner.height * share}px`;
    figure.append(made);
  }
}

function* grid(shares) {
  for (const share of shares) yield svg("line", { class: "grid", x1: 0, x2: 600, y1: 110 * share, y2: 110 * share });
}

// --- the logs -------------------------------------------------------------------------------------------

const LOG_LINES = 300;
let logText = "";

function logNodes(view) {
  const names = view.nodes.map((node) => `${node.id}`);
  const select = $("log-node");
  if (names.join() === [...select.options].map((option) => option.value).join()) return;
  const chosen = select.value;
  select.replaceChildren(...view.nodes.map((node) => el("option", { value: node.id }, node.id === view.node ? "this gateway" : `node ${node.id}`)));
  select.value = names.includes(chosen) ? chosen : String(view.node);
  logs();
}

function lineKind(text) {
  if (/FAILED|failed|lost|refused|error/i.test(text)) return "bad";
  if (/LEADING|leads|leader/.test(text)) return "lead";
  return /answered: ok|is back|alive again/i.test(text) ? "good" : "";
}

function drawLog() {
  const wanted = $("log-filter").value.toLowerCase();
  const box = $("log");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.replaceChildren(...logText.split("\n").filter((line) => line && line.toLowerCase().includes(wanted)).map((line) => {
    const [, when, what] = line.match(/^(?:\d{4}-\d\d-\d\dT)?([\d:.]+Z?) (.*)$/) ?? [null, "", line];
    return el("div", {}, el("span", { class: "when" }, when ? `${when}  ` : ""), el("span", { class: lineKind(what) }, what));
  }));
  if (atEnd) box.scrollTop = box.scrollHeight;
}

async function logs() {
  if (!$("log-node").value) return;
  const answer = await fetch(`/logs/${$("log-level").value}?lines=${LOG_LINES}&node=${$("log-node").value}`, { signal: AbortSignal.timeout(6000) });
  const text = answer.ok ? await answer.text() : (await answer.json()).detail;
  if (text !== logText) {
    logText = text;
    drawLog();
  }
}
for (const id of ["log-node", "log-level"]) $(id).addEventListener("change", () => { $("log").scrollTop = $("log").scrollHeight; logs(); });
$("log-filter").addEventListener("input", drawLog);

// --- go ---------------------------------------------------------------------------------------------------

load();
poll(1000, cluster);
poll(2000, load5);
poll(2000, async () => { if ($("log-live").checked) await logs(); });
get("/v1/runtimes").then((answer) => answer.json()).then(({ runtimes, limits }) => {
  const java = runtimes.map((one) => `Java ${one.version}`).join(", ") || "no Java yet";
  $("runtime").textContent = `${java} · ${limits.wall_s} s, ${limits.cpu_s} s of processor, ${limits.memory_bytes / 2 ** 20} MiB a run`;
}).catch(() => {});
