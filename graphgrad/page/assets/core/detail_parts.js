/* What the side panel is made of: sections, facts, and links to nodes. */

import { bidi, element, visible } from "./elements.js";
import { page, shortName } from "./model.js";
import { selectByName } from "./selection.js";

export function section(title, body, name = "") {
  return element("section", { class: `part ${name}` }, element("h3", {}, title), body);
}

export function facts(rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element(
    "dl",
    { class: "facts" },
    shown.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
}

export function nodeLink(name, text = null) {
  const node = page.byName.get(name);
  const shown = bidi(text ?? name, 60);
  if (!node) return element("span", {}, shown);
  return element(
    "button",
    {
      type: "button",
      class: `node-link kind-${node.kind}`,
      title: visible(name),
      click: () => selectByName(name),
    },
    shown,
  );
}

export function linkTo(id, scope = 0) {
  const node = page.nodes[id];
  if (node.value !== undefined) return element("span", { class: "number" }, node.value);
  return nodeLink(node.name, shortName(node, scope));
}
