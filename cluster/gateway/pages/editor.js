// The editor: a plain text area over a coloured copy of its text, with line numbers and marks at lines.

import { $, el } from "/pages/dom.js";

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

export function setMarks(found) {
  marks = found;
  draw();
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

export function save() {
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

export function goTo(line, column) {
  const box = $("source");
  const start = box.value.split("\n").slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  box.focus();
  box.setSelectionRange(start + Math.max(0, column - 1), start + Math.max(0, column - 1));
  box.scrollTop = Math.max(0, (line - 6) * parseFloat(getComputedStyle(box).lineHeight));
}

// --- the program as a whole

export const program = () => ({ source: $("source").value, args: $("args").value, stdin: $("stdin").value });

export function show({ source, args = "", stdin = "" }) {
  $("source").value = source;
  $("args").value = args;
  $("stdin").value = stdin;
  $("input").open = Boolean(args || stdin);
  $("result").hidden = true;
  $("source").setSelectionRange(0, 0);
  $("source").scrollTo(0, 0);
  setMarks(new Map());
}
