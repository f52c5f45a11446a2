"use strict";
(() => {
  const svg = document.documentElement;
  const margin = Number(svg.dataset.margin), letter = Number(svg.dataset.letter);
  const inner = svg.viewBox.baseVal.width - 2 * margin;
  const byId = (id) => document.getElementById(id);
  const details = byId("details"), note = details.textContent;
  const frames = Array.from(byId("frames").children, (group) => {
    const title = group.querySelector("title").textContent;
    return {
      group,
      rect: group.querySelector("rect"),
      label: group.querySelector("text"),
      title,
      name: title.slice(0, title.lastIndexOf(" (")),
      x: Number(group.dataset.x),
      width: Number(group.dataset.w),
      depth: Number(group.dataset.d),
    };
  });
  let zoomed = frames[0], pattern = null;

  const text = (name, width) => {
    const room = Math.floor((width - 6) / letter);
    if (room < 3) return "";
    return name.length <= room ? name : name.slice(0, room - 2) + "..";
  };

  const zoom = (to) => {
    zoomed = to;
    const scale = inner / to.width, slack = 0.001;
    for (const frame of frames) {
      const below = frame.depth < to.depth;
      const holds = frame.x <= to.x + slack && frame.x + frame.width >= to.x + to.width - slack;
      const inside = frame.x >= to.x - slack && frame.x + frame.width <= to.x + to.width + slack;
      const visible = below ? holds : inside;
      frame.group.classList.toggle("hidden", !visible);
      frame.group.classList.toggle("below", below);
      if (!visible) continue;
      const x = below ? margin : margin + (frame.x - to.x) * scale;
      const width = below ? inner : frame.width * scale;
      frame.rect.setAttribute("x", x);
      frame.rect.setAttribute("width", width);
      frame.label.setAttribute("x", x + 3);
      frame.label.textContent = text(frame.name, width);
    }
    byId("reset").classList.toggle("idle", to === frames[0]);
    mark();
  };

  // Matching frames are not counted twice where one is on top of another.
  const mark = () => {
    const spans = [];
    for (const frame of frames) {
      const match = pattern !== null && frame.depth > 0 && pattern.test(frame.name);
      frame.group.classList.toggle("match", match);
      if (match && frame.depth >= zoomed.depth && !frame.group.classList.contains("hidden")) {
        spans.push([frame.x, frame.x + frame.width]);
      }
    }
    let sum = 0, end = -1;
    for (const [from, to] of spans.sort((a, b) => a[0] - b[0])) {
      sum += Math.max(0, to - Math.max(from, end));
      end = Math.max(end, to);
    }
    byId("matched").textContent =
      pattern === null ? "" : `Matched: ${(100 * sum / zoomed.width).toFixed(1)} %`;
    byId("search").textContent = pattern === null ? "Search (Ctrl-F)" : "Clear search";
  };

  const search = (typed) => {
    pattern = null;
    if (typed) {
      try {
        pattern = new RegExp(typed, "i");
      } catch {
        pattern = new RegExp(typed.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
      }
    }
    mark();
    keep("search", typed);
  };

  // The place in the address bar, so that a link shows the same.
  const keep = (key, value) => {
    try {
      const url = new URL(location.href);
      if (value) url.searchParams.set(key, value); else url.searchParams.delete(key);
      history.replaceState(null, "", url);
    } catch { /* pages without an address have nothing to keep */ }
  };

  const ask = () => {
    const typed = prompt("Search for functions (regular expression):", pattern ? pattern.source : "");
    if (typed !== null) search(typed);
  };
  const reset = () => { zoom(frames[0]); keep("zoom", ""); };
  const enter = (frame) => { zoom(frame); keep("zoom", frame === frames[0] ? "" : String(frames.indexOf(frame))); };

  const activate = (element, action) => {
    element.addEventListener("click", action);
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); action(); }
    });
  };
  for (const frame of frames) {
    frame.group.setAttribute("tabindex", "0");
    activate(frame.group, () => enter(frame));
    const show = () => { details.textContent = frame.title; };
    const hide = () => { details.textContent = note; };
    frame.group.addEventListener("mouseenter", show);
    frame.group.addEventListener("focus", show);
    frame.group.addEventListener("mouseleave", hide);
    frame.group.addEventListener("blur", hide);
  }
  activate(byId("reset"), reset);
  activate(byId("search"), () => pattern === null ? ask() : search(""));
  window.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "f") { event.preventDefault(); ask(); }
    else if (event.key === "Escape") { reset(); search(""); }
  });

  let asked = null;
  try { asked = new URL(location.href).searchParams; } catch { /* no address, nothing asked */ }
  const place = asked && asked.get("zoom") !== null ? frames[Number(asked.get("zoom"))] : undefined;
  zoom(place || frames[0]);
  if (asked && asked.get("search")) search(asked.get("search"));
})();
