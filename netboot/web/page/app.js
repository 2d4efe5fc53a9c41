// Shows what the server sends, and changes only what is new: who reads a row, by
// eye or by ear, is not thrown out of it.
const byId = (id) => document.getElementById(id);
const rows = new Map();
let last = null; // the last view
let skew = 0; // how far the server's clock is ahead of this one, in ms

const words = {
  waiting: "Waiting", discovered: "Discovered", installing: "Installing",
  installed: "Installed", claimed: "Starting", ready: "Ready",
};

function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d`;
}

const since = (time) => (Date.now() + skew - Date.parse(time)) / 1000;

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function makeRow(name) {
  const row = byId("row").content.firstElementChild.cloneNode(true);
  row.querySelector("th").textContent = name;
  row.querySelector("progress").setAttribute("aria-label", `${name}: image`);
  row.querySelector("summary").setAttribute("aria-label", `Phases of ${name}`);
  byId("nodes").append(row);
  rows.set(name, row);
  return row;
}

function work(n) {
  const parts = [];
  if (n.step === "writing" && n.total > 0) {
    parts.push(`Writing the image, ${Math.floor((100 * n.bytes) / n.total)} % of ${(n.total / 1e6).toFixed(0)} MB`);
  } else if (n.phase) {
    parts.push(`Phase ${n.phase}`);
  }
  if (n.line) parts.push(n.line);
  return parts.join(": ");
}

function showRow(n) {
  const row = rows.get(n.name) ?? makeRow(n.name);
  const find = (selector) => row.querySelector(selector);
  setText(find(".role"), n.role);
  const badge = find(".badge");
  badge.dataset.stage = n.step === "refused" ? "alarm" : n.stage;
  setText(badge, n.step === "refused" ? "Refused" : words[n.stage] ?? n.stage);
  setText(find(".line"), work(n));
  const bar = find("progress");
  bar.hidden = !(n.stage === "installing" && n.total > 0);
  if (!bar.hidden) bar.value = n.bytes / n.total;
  const phases = n.phases ?? [];
  const details = find("details");
  details.hidden = phases.length === 0;
  const items = phases.map((p) => p.name + (p.done ? `: ${duration(p.seconds)}` : ": now") + (p.retries ? `, ${p.retries} retries` : ""));
  const list = details.querySelector("ol");
  if (list.dataset.text !== items.join("\n")) {
    list.dataset.text = items.join("\n");
    list.replaceChildren(...items.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  }
}

function showList(id, items) {
  const section = byId(id);
  section.hidden = items.length === 0;
  const list = section.querySelector("ul");
  if (list.dataset.text === items.join("\n")) return;
  list.dataset.text = items.join("\n");
  list.replaceChildren(...items.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function showTimes() {
  if (!last) return;
  for (const n of last.nodes) {
    const row = rows.get(n.name);
    setText(row.querySelector(".for"), duration(since(n.since)));
    setText(row.querySelector(".seen"), n.seen ? `${duration(since(n.seen))} ago` : "not yet");
  }
}

function show(view) {
  last = view;
  skew = Date.parse(view.now) - Date.now();
  setText(byId("cluster"), view.cluster);
  document.title = `${view.ready}/${view.nodes.length} ${view.cluster}`;
  setText(byId("summary"), `${view.ready} of ${view.nodes.length} nodes are ready`);
  view.nodes.forEach(showRow);
  for (const [name, row] of rows) {
    if (!view.nodes.some((n) => n.name === name)) { row.remove(); rows.delete(name); }
  }
  showList("alarms", view.nodes.flatMap((n) => (n.alarms ?? []).map((a) => `${new Date(a.at).toLocaleString()} ${n.name}: ${a.text}`)));
  showList("strangers", view.strangers.map((s) => `${s.mac} asked ${s.asked}, last at ${new Date(s.last).toLocaleString()}`));
  showTimes();
}

const events = new EventSource("v1/events");
events.onmessage = (e) => { document.body.classList.remove("lost"); show(JSON.parse(e.data)); };
events.onerror = () => {
  document.body.classList.add("lost");
  setText(byId("summary"), "The server does not answer. What is below is old; this page goes on by itself.");
};
setInterval(showTimes, 1000);
