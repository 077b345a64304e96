// The log of any node.

import { $, el } from "/pages/dom.js";
import { fetchAs, tokenNeeded } from "/pages/token.js";

const LOG_LINES = 300;
let logText = "";

export function logNodes(view) {
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

export async function logs() {
  if (!$("log-node").value) return;
  const answer = await fetchAs(`/logs/${$("log-level").value}?lines=${LOG_LINES}&node=${$("log-node").value}`, { signal: AbortSignal.timeout(6000) });
  if (answer.status === 401) tokenNeeded();
  const text = answer.ok ? await answer.text() : (await answer.json()).detail;
  if (text !== logText) {
    logText = text;
    drawLog();
  }
}
for (const id of ["log-node", "log-level"]) $(id).addEventListener("change", () => { $("log").scrollTop = $("log").scrollHeight; logs(); });
document.addEventListener("token", () => logs());
$("log-filter").addEventListener("input", drawLog);
