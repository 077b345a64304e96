// A bearer token, where the gateway asks for one: kept for this tab alone, and sent nowhere but to this gateway.

import { $ } from "/pages/dom.js";

const KEY = "token";

export const token = () => sessionStorage.getItem(KEY) ?? "";

function keep(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
  shown();
}

function shown() {
  $("token").hidden = !token() && !$("token").dataset.needed;
  $("token-word").textContent = token() ? "token given" : "token needed";
  $("token").classList.toggle("wanting", !token());
}

// Ask for a token; whether one was given. `why` says what is the matter.
export function askToken(why) {
  $("token").dataset.needed = "yes";
  shown();
  const dialog = $("token-dialog");
  $("token-why").textContent = why;
  $("token-text").value = "";
  if (!dialog.open) dialog.showModal();
  $("token-text").focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"), { once: true }));
}

function given() {
  keep($("token-text").value.trim());
  $("token-text").value = "";
  $("token-dialog").close(token() ? "given" : "");
  document.dispatchEvent(new Event("token"));
}

$("token-keep").addEventListener("click", given);
$("token-forget").addEventListener("click", () => { $("token-text").value = ""; given(); });
$("token-text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) given();
  event.stopPropagation();
});
$("token").addEventListener("click", () => askToken(token() ? "Another token, or none." : "This gateway asks who you are."));
shown();

// As fetch, with the token if there is one.
export function fetchAs(path, options = {}) {
  const headers = { ...options.headers, ...(token() ? { Authorization: `Bearer ${token()}` } : {}) };
  return fetch(path, { ...options, headers });
}

// A 401 that nobody waits for: the button in the header says it, and nothing jumps up.
export function tokenNeeded() {
  $("token").dataset.needed = "yes";
  shown();
}
