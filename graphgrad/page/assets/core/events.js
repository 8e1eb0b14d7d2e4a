/* What happens in the page, so that a part can follow another without knowing it (start.js says who
follows what).

    draw      the picture was drawn
    view      another view, or the neighbourhood of a node, is shown
    select    another node or scope is selected, or nothing
    path      ways to the loss are shown or hidden
    details   what the side panel shows of the selection has changed
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
