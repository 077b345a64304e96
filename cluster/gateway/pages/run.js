// Running a program, and showing what came of it.

import { $, el, time } from "/pages/dom.js";
import { goTo, program, setMarks } from "/pages/editor.js";

const WORDS = {
  ok: "OK", compile_error: "Does not compile", runtime_error: "Runtime error", time_limit: "Time limit",
  memory_limit: "Memory limit", output_limit: "Output limit", signalled: "Killed by a signal",
};
const GROUP = { ok: "ok", compile_error: "program", runtime_error: "program" };

// Words, where "double" or 'single' quotes hold several together.
const words = (text) =>
  [...text.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) => word.replace(/"([^"]*)"|'([^']*)'/g, "$1$2"));

let running = null;

export async function run() {
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
  const marks = new Map();
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
  setMarks(marks);
}
