/* Where panels are shown: below the details of a node, and as tabs. */

import { panelsAt } from "./contract.js";
import { nodeLink } from "./detail_parts.js";
import { element, replaceChildren, svg, visible } from "./elements.js";
import { page } from "./model.js";
import { selectByName } from "./selection.js";
import { state } from "./state.js";
import { enterTab } from "./tabs.js";

export function openTab(name) {
  const panel = panelsAt("page").find((item) => item.name === name);
  if (panel) enterTab(name, (host) => runPanel(panel, host, state.selected?.node ?? null));
}

/* A panel that fails says so in its place and leaves the rest of the page alone. */
export function runPanel(panel, host, node) {
  try {
    const leave = panel.show(host, contextOf(panel, node));
    return typeof leave === "function" ? leave : null;
  } catch (problem) {
    replaceChildren(
      host,
      element("p", { class: "problem" }, `This panel failed: ${visible(problem.message)}`),
    );
    return null;
  }
}

function contextOf(panel, node) {
  return {
    page,
    node,
    section: page.sections[panel.section],
    select: selectByName,
    element,
    svg,
    nodeLink,
  };
}
