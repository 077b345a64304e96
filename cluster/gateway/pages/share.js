// Where the program comes from: an example, a link that holds it, or the last visit.

import { $, el, toast } from "/pages/dom.js";
import { program, save, show } from "/pages/editor.js";
import { EXAMPLES } from "/pages/examples.js";

const SHARED_MAX = 2 ** 20;

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

export async function load() {
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
