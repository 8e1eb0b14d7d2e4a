/* Tabs of the page panels, shown in the place of the drawing. */

let leaveTab = null;

function openTab(name) {
  const panel = panelsAt("page").find((item) => item.name === name);
  if (!panel) return;
  closeTab(false);
  state.tab = name;
  const host = document.getElementById("tab-view");
  document.body.classList.add("in-tab");
  document.getElementById("main").inert = true;
  host.hidden = false;
  const inner = element("div", { class: `tab-body panel-${name}` });
  replaceChildren(host, inner);
  leaveTab = runPanel(panel, inner, state.selected?.node ?? null);
  markTabs();
  host.focus();
  writeAddress();
}

function closeTab(write = true) {
  if (!state.tab) return;
  leaveTab?.();
  leaveTab = null;
  state.tab = null;
  document.body.classList.remove("in-tab");
  document.getElementById("main").inert = false;
  const host = document.getElementById("tab-view");
  host.hidden = true;
  replaceChildren(host);
  markTabs();
  if (write) {
    writeAddress();
    canvas.focus({ preventScroll: true });
  }
}

function markTabs() {
  for (const tab of document.querySelectorAll("[data-tab]"))
    tab.setAttribute("aria-selected", String(tab.dataset.tab === (state.tab ?? "")));
}
