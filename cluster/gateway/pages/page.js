// The gateway's page. No build step: these modules are what runs.

import { charts } from "/pages/charts.js";
import { cluster } from "/pages/cluster.js";
import { $, get, poll } from "/pages/dom.js";
import { logs } from "/pages/logs.js";
import { run } from "/pages/run.js";
import { load } from "/pages/share.js";

const THEMES = ["auto", "light", "dark"];
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  $("theme-name").textContent = name;
  localStorage.setItem("theme", name);
}
setTheme(localStorage.getItem("theme") ?? "auto");
$("theme").addEventListener("click", () =>
  setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]));

$("run").addEventListener("click", run);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  }
});

load();
poll(1000, cluster);
poll(2000, charts);
poll(2000, async () => { if ($("log-live").checked) await logs(); });
get("/v1/runtimes").then((answer) => answer.json()).then(({ runtimes, limits }) => {
  const java = runtimes.map((one) => `Java ${one.version}`).join(", ") || "no Java yet";
  $("runtime").textContent = `${java} · ${limits.wall_s} s, ${limits.cpu_s} s of processor, ${limits.memory_bytes / 2 ** 20} MiB a run`;
}).catch(() => {});
