/* The contract between the page and its panels.

One script: all core/*.js, then all panels/*.js, each in the order of its name, inside one function
that runs in strict mode. Each file of panels/ stands in a block of its own, so the names that it
declares at its top are private. One style: all *.css, then panels/*.css, in the order of names.
A panel file does nothing when it is read but call the two functions below.

    registerPanel({name, title, place, section, show(host, context)})

        name       a short word, unique; the deep link of a page panel is #tab=name
        title      what is written on the tab or above the part of the side panel
        place      "node": below the details of the selected node in the side panel;
                   "page": a tab in the header, shown over the whole width
        section    the panel is there only where page.sections[section] exists
        show       fills the empty element `host`; for place "node" once for each selected node,
                   for "page" whenever its tab is opened. What it returns, if a function, is called
                   before the host is emptied again (to stop timers, to drop listeners). A "node"
                   panel that has nothing to say about the node leaves the host empty: then its
                   title is not shown either.

    context = {
        page       the page's data, see below
        node       the selected node, or null
        section    page.sections[section]
        select(nodeName)       selects a node by name: opens the scopes around it, moves there and
                               shows its details; from a page panel it goes back to the graph.
                               Returns false where there is no such node.
        element(tag, attributes, ...children)   a new HTML element
        svg(tag, attributes, ...children)       a new SVG element
        nodeLink(nodeName, text)                a button that selects a node (plain text where
                                                there is no such node)
    }

    registerColouring({name, label, section, value(node, section), scale, format})

        fills the menu "colour by": value gives a number or null (no colour) for a node; scale is
        "linear", "log" (numbers of 0 and below have no colour) or "diverging" (0 is neutral). A
        box of a scope has the colour of its greatest number, by size. With `section` left out the
        colouring is always there; `format(number)`, if given, makes the texts of the legend.

    page = {title, outputs, sections, nodes, scopes, byName: Map(name -> node), dimensions, …}
    node = {
        id         its position in page.nodes
        name       the shown name, unique; names: all of them; label: the name without its scope
        op, part   the operation; "forward", "delta" or "update"
        kind       input, parameter, state, known, operation, output, delta, step, update
        scope      the id of its scope in page.scopes (0 is the whole graph)
        shape      a list of integers and texts ("batch", "2*target"); dtype
        heads, tails     ids of nodes (heads with repetitions, by place)
        delta      the id of the node of its delta, or null
        before     the id of the node that its delta was before it was cut, or null
        owner      for a delta, a contribution or a step of a rule, the id of the forward node that
                   it belongs to; else null
        contributions    [{tail, place, value}], ids: what each tail sends back
        bytes(), flops() numbers for the sizes that are set in the header
    }

Rules. No markup from text: there is no innerHTML anywhere, `element` and `svg` set text by
textContent and refuse attributes that load or run something (href, src, style, on…). A listener is
given as an attribute whose value is a function: element("button", {click: open}, "open"). Texts
come from users and are hostile; wrap a name in `bidi(text)`, which isolates marks of direction.
Numbers are formatted by `numberText(x)` (4 digits), `bytesText(x)`, `countText(x)`. The colours of
the theme are CSS variables: --ink --muted --faint --line --surface --raised --sunken --accent
--value --delta --good --warn --bad; series --s1 … --s6; scales: rampColour(t) for t in 0 … 1,
divergingColour(t) for t in -1 … 1, both as CSS texts that follow light and dark. To be told of a
change of theme, sizes or selection: listen("theme" | "sizes" | "select", function).
*/

const panels = [];
const colourings = [];
const listeners = new Map();

function registerPanel(panel) {
  for (const key of ["name", "title", "section"]) {
    if (typeof panel[key] !== "string") throw new TypeError(`a panel needs a ${key}`);
  }
  if (panel.place !== "node" && panel.place !== "page") {
    throw new TypeError(`the place of a panel is "node" or "page"`);
  }
  if (panels.some((other) => other.name === panel.name)) {
    throw new TypeError(`there are two panels called ${panel.name}`);
  }
  panels.push(panel);
}

function registerColouring(colouring) {
  if (!["linear", "log", "diverging"].includes(colouring.scale)) {
    throw new TypeError(`the scale of a colouring is "linear", "log" or "diverging"`);
  }
  if (colourings.some((other) => other.name === colouring.name)) {
    throw new TypeError(`there are two colourings called ${colouring.name}`);
  }
  colourings.push(colouring);
}

/* Panels and colourings for which the page has data. */
function panelsAt(place) {
  return panels.filter((panel) => panel.place === place && panel.section in page.sections);
}

function availableColourings() {
  return colourings.filter((item) => item.section === undefined || item.section in page.sections);
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

function listen(event, listener) {
  if (!listeners.has(event)) listeners.set(event, new Set());
  listeners.get(event).add(listener);
  return () => listeners.get(event).delete(listener);
}

function announceEvent(event, detail) {
  for (const listener of listeners.get(event) ?? []) listener(detail);
}
