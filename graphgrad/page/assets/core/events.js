/* The events of the page, by which modules react to each other without importing each other (start.js
connects them).

    draw      the picture was drawn
    view      another view, or the neighbourhood of a node, is shown
    select    another node or scope is selected, or nothing
    path      paths to the loss are shown or hidden
    details   the content of the side panel has changed
    theme     light became dark, or dark light
    sizes     a size of an axis was set
    step      another training step of the recorded history is shown */

const listeners = new Map();

export function listen(event, listener) {
  if (!listeners.has(event)) listeners.set(event, new Set());
  listeners.get(event).add(listener);
  return () => listeners.get(event).delete(listener);
}

export function announceEvent(event, detail) {
  for (const listener of listeners.get(event) ?? []) listener(detail);
}
