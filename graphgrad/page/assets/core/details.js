/* Shows the side panel: all details of the selected node or scope. */

import { bundleDetails } from "./bundle.js";
import { panelsAt } from "./contract.js";
import { section } from "./detail_parts.js";
import { element, replaceChildren } from "./elements.js";
import { nodeDetails } from "./node_details.js";
import { runPanel } from "./panel_host.js";
import { overview, scopeDetails } from "./scope_details.js";
import { state } from "./state.js";

const leavers = [];

export function showDetails() {
  const host = document.getElementById("details");
  for (const leave of leavers.splice(0)) leave();
  const { selected } = state;
  if (!selected) replaceChildren(host, overview());
  else if (selected.bundle) replaceChildren(host, bundleDetails(selected.bundle));
  else if (selected.scope) replaceChildren(host, scopeDetails(selected.scope));
  else {
    replaceChildren(host, nodeDetails(selected.node));
    showNodePanels(host, selected.node);
  }
  requestAnimationFrame(() => (host.scrollTop = 0));
}

function showNodePanels(host, node) {
  for (const panel of panelsAt("node")) {
    const inner = element("div", { class: "panel-body" });
    const leave = runPanel(panel, inner, node);
    if (leave) leavers.push(leave);
    if (inner.childNodes.length) host.append(section(panel.title, inner, `panel-${panel.name}`));
  }
}
