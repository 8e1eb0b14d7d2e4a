/* Effects of patching: what each value contributes to the difference of two texts, as colours of the graph,
as a table with the largest first, and beside each node. */

import { registerColouring, registerPanel } from "../core/contract.js";
import { append, element, numberText, plural, visible } from "../core/elements.js";

/* Names with their effects, the largest first; one that is not finite is last. */
function ranked(section) {
  const size = ([, effect]) => (Number.isFinite(effect) ? Math.abs(effect) : -1);
  return [...section.values].sort((one, other) => size(other) - size(one));
}

function effectText(effect) {
  return Number.isFinite(effect) ? `${effect > 0 ? "+" : ""}${numberText(effect, 4)}` : "not finite";
}

function showEffects(host, { section, nodeLink }) {
  append(host, [
    element("div", { class: "panel-head" }, element("h2", {}, "Effects"), element("p", { class: "from" }, plural(section.values.length, "value"))),
    section.lines.map((line) => element("p", { class: "from" }, visible(line))),
    element("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": "effects of values, the largest first" },
      element("table", {},
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "value"), element("th", { scope: "col" }, "effect"))),
        element("tbody", {}, ranked(section).map(([name, effect]) =>
          element("tr", {}, element("th", { scope: "row" }, nodeLink(name, name)), element("td", { "data-effect": name }, effectText(effect))))))),
  ]);
}

function showOwnEffect(host, { section, node }) {
  const own = section.values.find(([name]) => name === node.name);
  if (own) append(host, [element("p", {}, element("b", { "data-effect": node.name }, effectText(own[1])), " of the difference of the loss, to first order")]);
}

registerPanel({ name: "effects", title: "Effects", place: "page", section: "effects", show: showEffects });
registerPanel({ name: "effects-node", title: "Effect", place: "node", section: "effects", show: showOwnEffect });
registerColouring({
  name: "effect", label: "effect on the loss", section: "effects", scale: "diverging",
  value: (node, section) => {
    section.byName = section.byName ?? new Map(section.values);
    return section.byName.get(node.name) ?? null;
  },
});
