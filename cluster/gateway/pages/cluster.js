// The nodes as they are: a ring, a table, and what has changed.

import { $, el, get, svg } from "/pages/dom.js";
import { logNodes } from "/pages/logs.js";

let before = null;

function kindOf(node, view) {
  if (node.status === "FAILED" || node.status === "UNKNOWN") return "bad";
  if (node.id === view.leader) return "lead";
  if (node.status === "SUSPECT" || node.state === "LOOKING" || node.draining || node.trouble) return "warn";
  return node.role === "gateway" ? "gate" : "good";
}

function wordOf(node, view) {
  if (node.status === "FAILED") return "failed";
  if (node.status === "UNKNOWN") return "not heard";
  if (node.id === view.leader) return "leader";
  if (node.status === "SUSPECT") return "suspect";
  if (node.draining) return "draining";
  if (node.trouble) return "can't run programs";
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

export async function cluster() {
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
