/* The side panel: everything that is known of the selected node or scope. */

let leavers = [];

function showDetails() {
  const host = document.getElementById("details");
  for (const leave of leavers.splice(0)) leave();
  const { selected } = state;
  if (!selected) replaceChildren(host, overview());
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

/* A panel that fails says so in its place and leaves the rest of the page alone. */
function runPanel(panel, host, node) {
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

function section(title, body, name = "") {
  return element("section", { class: `part ${name}` }, element("h3", {}, title), body);
}

function nodeLink(name, text = null) {
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

function linkTo(id, scope = 0) {
  const node = page.nodes[id];
  if (node.value !== undefined) return element("span", { class: "number" }, node.value);
  return nodeLink(node.name, shortName(node, scope));
}

function facts(rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element(
    "dl",
    { class: "facts" },
    shown.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
}
