// What all parts of the page share. Whatever comes from outside reaches the page as text only, never as markup.

export const $ = (id) => document.getElementById(id);
export const el = (name, attributes = {}, ...inside) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
};
export const svg = (name, attributes = {}, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
};
export const time = (seconds) =>
  seconds < 0.9995 ? `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms` : `${seconds.toFixed(2)} s`;

let toastTimer;
export function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("shown"), 3500);
}

// Ask again `every` milliseconds, but never while an answer is awaited, and not while nobody looks.
export function poll(every, ask) {
  const round = async () => {
    if (!document.hidden) await ask().catch(() => {});
    setTimeout(round, every);
  };
  round();
}

export async function get(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(4000), headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}
