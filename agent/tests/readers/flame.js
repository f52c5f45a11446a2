// Does what a user does with a flame graph, and writes down what is to be seen then.
"use strict";
(() => {
  const result = {};
  const groups = Array.from(document.querySelectorAll("#frames > g"));
  const find = (name) =>
    groups.find((group) => group.querySelector("title").textContent.startsWith(`${name} (`));
  const byId = (id) => document.getElementById(id);
  const note = (step) => {
    const frames = {};
    for (const group of groups) {
      const title = group.querySelector("title").textContent;
      const box = group.querySelector("rect").getBoundingClientRect();
      const rect = getComputedStyle(group.querySelector("rect"));
      frames[title.slice(0, title.lastIndexOf(" ("))] = {
        shown: getComputedStyle(group).display !== "none",
        width: Math.round(box.width),
        colour: rect.fill,
        label: group.querySelector("text").textContent,
      };
    }
    result[step] = {
      frames,
      matched: byId("matched").textContent,
      details: byId("details").textContent,
      reset: getComputedStyle(byId("reset")).visibility !== "hidden" &&
        getComputedStyle(byId("reset")).display !== "none" &&
        getComputedStyle(byId("reset")).opacity !== "0",
    };
  };
  const press = (target, key, more) => {
    const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
    target.dispatchEvent(event);
    return event.defaultPrevented;
  };
  // The middle of the frame, so that what lies above it would be hit instead.
  const click = (group) => {
    const box = group.getBoundingClientRect();
    const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    hit.dispatchEvent(new MouseEvent("click", { bubbles: true, view: window }));
  };
  let asked = 0;
  const answer = (text) => { window.prompt = () => { asked += 1; return text; }; };

  note("opened");
  if (location.search === "") {
    find("serve").dispatchEvent(new MouseEvent("mouseenter"));
    note("hovered");
    find("serve").dispatchEvent(new MouseEvent("mouseleave"));
    click(find("serve").querySelector("rect"));
    note("zoomed");
    answer("^pri.e$");
    result.prevented = press(window, "f", { ctrlKey: true });
    note("searched");
    answer("push_back(");
    click(byId("search"));
    note("cleared");
    click(byId("search"));
    note("not_a_pattern");
    press(window, "Escape");
    note("escaped");
    find("node").focus();
    press(find("node"), "Enter");
    note("entered");
    click(byId("reset"));
    note("reset");
    result.asked = asked;
  }
  const out = document.createElementNS("http://www.w3.org/2000/svg", "desc");
  out.id = "result";
  out.textContent = encodeURIComponent(JSON.stringify(result));
  document.documentElement.append(out);
})();
