/* Elements made without markup: text is only ever text, and nothing that loads can be asked for. */

const SVG = "http://www.w3.org/2000/svg";
const MATHML = "http://www.w3.org/1998/Math/MathML";
const FORBIDDEN = /^(on.*|href|xlink:href|src|srcset|srcdoc|style|action|formaction|data|poster)$/i;

export function element(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function math(tag, attributes, ...children) {
  return fill(document.createElementNS(MATHML, tag), attributes, children);
}

function fill(made, attributes, children) {
  if (/^(script|iframe|object|embed|link|base|form|meta)$/i.test(made.localName)) {
    throw new TypeError(`the page makes no <${made.localName}>`);
  }
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (FORBIDDEN.test(name)) throw new TypeError(`the attribute ${name} is not for data`);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  append(made, children);
  return made;
}

export function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return parent;
}

export function replaceChildren(parent, ...children) {
  parent.textContent = "";
  return append(parent, children);
}

/* A user's text whose marks of direction end with it; what is long is cut, with all as title. */
export function bidi(text, limit = 120) {
  const shown = visible(shorten(text, limit));
  return element("bdi", shown === text ? {} : { title: visible(text) }, shown);
}

/* Characters that cannot be seen, written out: a name shows what is in it. */
export function visible(text) {
  return String(text).replace(
    /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/* The beginning and the end of a long text: names of one scope differ at their end. */
export function shorten(text, limit) {
  const letters = Array.from(String(text).slice(0, 2 * limit + 64));
  const whole = String(text);
  if (whole.length <= limit) return whole;
  const front = Math.ceil(limit * 0.6) - 1;
  const back = limit - front - 1;
  return `${letters.slice(0, front).join("")}…${Array.from(whole.slice(-2 * back))
    .slice(-back)
    .join("")}`;
}

export function numberText(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const plain = size >= 1e-3 && size < 1e6;
  const text = plain ? String(Number(value.toPrecision(digits))) : value.toExponential(digits - 1);
  return text.replace(/^-/, "−").replace("e-", "e−").replace("e+", "e");
}

export function countText(value) {
  if (value < 1e6) return Math.round(value).toLocaleString("en-US");
  const units = ["", " k", " M", " G", " T", " P"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  return `${Number((value / 10 ** (3 * step)).toPrecision(3))}${units[step]}`;
}

export function bytesText(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  while (value >= 1024 && step < units.length - 1) {
    value /= 1024;
    step += 1;
  }
  return `${Number(value.toPrecision(value < 1000 ? 3 : 4))} ${units[step]}`;
}

export function plural(count, word) {
  return `${countText(count)} ${word}${count === 1 ? "" : word.endsWith("x") ? "es" : "s"}`;
}
