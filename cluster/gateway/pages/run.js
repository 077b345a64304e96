// Running a program: what it writes is shown as it comes, then what came of it.

import { $, el, time } from "/pages/dom.js";
import { goTo, program, setMarks } from "/pages/editor.js";
import { events } from "/pages/events.js";
import { askToken, fetchAs, token } from "/pages/token.js";

const WORDS = {
  ok: "OK", compile_error: "Does not compile", runtime_error: "Runtime error", time_limit: "Time limit",
  memory_limit: "Memory limit", output_limit: "Output limit", signalled: "Killed by a signal",
};
const GROUP = { ok: "ok", compile_error: "program", runtime_error: "program" };
const TITLES = { stdout: "Standard output", stderr: "Standard error" };

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
  try {
    await follow(running.signal);
  } catch (error) {
    if (error.name === "AbortError") problem("Stopped", "You stopped it.", true);
    else problem("No answer", "The gateway can't be reached, or went away.", true);
  } finally {
    running = null;
    $("run").classList.remove("busy");
    $("run-word").textContent = "Run";
  }
}

async function follow(signal) {
  const { source, args, stdin } = program();
  const began = performance.now();
  const answer = await fetchAs("/v1/run", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ source, args: words(args), stdin }),
    signal,
  });
  if (answer.status === 401) {
    if (await askToken(token() ? "This token is not known here." : "This gateway asks who you are.")) return follow(signal);
    return problem("Token needed", "Nothing was run.");
  }
  if (!answer.ok) {
    const told = await answer.json();
    const later = answer.headers.get("Retry-After");
    return problem(WORDS[told.verdict] ?? told.verdict ?? told.title, told.detail + (later ? ` (again in ${later} s)` : ""));
  }
  const live = new Live();
  for await (const { name, data } of events(answer.body)) {
    if (name === "verdict") return end(data, live, (performance.now() - began) / 1000);
    live.tell(name, data);
  }
  throw new Error("the stream ended without a verdict");
}

// What is known of a program that runs.
class Live {
  constructor() {
    this.blocks = {};
    this.decoders = {};
    announce("busy", "Waiting", "", "");
    $("timing").replaceChildren();
    $("outputs").replaceChildren();
    mark([]);
  }

  tell(name, data) {
    if (name === "assigned") announce("busy", "Compiling", `node ${data.worker}${data.attempt > 1 ? `, attempt ${data.attempt}` : ""}`, "");
    else if (name === "compiled") {
      announce("busy", "Running", $("facts").textContent, "");
      mark(data.diagnostics);
    } else if (name === "restarted") {
      this.blocks = {};
      $("outputs").replaceChildren();
      announce("busy", "Again", "", "Its worker was lost: another one starts it again.");
    } else if (name === "output") this.write(data);
  }

  write({ stream, text, base64 }) {
    const block = this.blocks[stream] ??= this.open(stream);
    const atEnd = block.scrollHeight - block.scrollTop - block.clientHeight < 40;
    if (base64 === undefined) block.append(text);
    else {
      const decoder = this.decoders[stream] ??= new TextDecoder();
      block.append(decoder.decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)), { stream: true }));
    }
    if (atEnd) block.scrollTop = block.scrollHeight;
  }

  open(stream) {
    const block = el("pre", { class: stream, tabindex: 0, "aria-label": TITLES[stream] });
    $("outputs").append(el("h3", {}, TITLES[stream]), block);
    return block;
  }

  // The block that shows this text already, so that it stays where its reader has scrolled to.
  showing(stream, text) {
    const block = this.blocks[stream];
    return block?.textContent === text ? block : null;
  }
}

function end({ result: told, problem: failed }, live, seconds) {
  if (told) result(told, live, seconds);
  else problem(failed.verdict ?? failed.title, failed.detail, true);
}

function problem(title, text, keep = false) {
  announce("cluster", String(title).replaceAll("_", " "), "", text);
  $("timing").replaceChildren();
  if (!keep) $("outputs").replaceChildren();
  mark([]);
}

function announce(group, word, facts, message) {
  $("result").hidden = false;
  $("verdict").className = group;
  $("verdict").textContent = word;
  $("facts").textContent = facts;
  $("message").textContent = message;
}

function result(told, live, seconds) {
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
    if (!text) return;
    const shown = live.showing(kind, text) ?? el("pre", { class: kind, tabindex: 0, "aria-label": title }, text);
    blocks.push(el("h3", {}, title + (cut ? " (cut: it reached its limit)" : "")), shown);
  };
  if (one) {
    if (told.compilation.entry === "run" && one.verdict === "ok") block("run() returned", one.value ?? "null", "value");
    block(TITLES.stdout, one.stdout, "stdout", one.stdout_truncated);
    block(TITLES.stderr, one.stderr, "stderr", one.stderr_truncated);
    if (!blocks.length) blocks.push(el("p", { class: "muted" }, "It wrote nothing."));
  }
  const places = blocks.map((one) => one.scrollTop);
  $("outputs").replaceChildren(...blocks);
  blocks.forEach((one, index) => { one.scrollTop = places[index]; });
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
