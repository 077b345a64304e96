// Throughput and latency of the last five minutes.

import { $, el, get, svg, time } from "/pages/dom.js";

const SPAN_S = 300;

export async function charts() {
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
  $("reading").textContent = total ? `${total} ${total === 1 ? "answer" : "answers"}, ${Math.round(100 * cached / total)} % from the cache` : "no answers yet";
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
