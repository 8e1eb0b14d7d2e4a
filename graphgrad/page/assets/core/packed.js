/* Numbers that Python packed (encoding.py): float32 and bits in base64; and small pictures of them. */

import { element, numberText } from "./elements.js";

function bytesOf(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let place = 0; place < raw.length; place += 1) bytes[place] = raw.charCodeAt(place);
  return bytes;
}

/* Little-endian float32, whatever the machine's own order is. */
export function floatsOf(text) {
  const view = new DataView(bytesOf(text).buffer);
  const floats = new Float32Array(view.byteLength / 4);
  for (let place = 0; place < floats.length; place += 1) floats[place] = view.getFloat32(4 * place, true);
  return floats;
}

/* Truth values as a function of their number. */
export function bitsOf(text) {
  const bytes = bytesOf(text);
  return (place) => ((bytes[place >> 3] >> (7 - (place & 7))) & 1) === 1;
}

/* Colours that a canvas understands for any that CSS does, in `count` steps from t = from to 1. */
export function colourTable(colour, from, count = 129) {
  const probe = element("i", { hidden: true });
  document.body.append(probe);
  const table = [];
  for (let place = 0; place < count; place += 1) {
    probe.style.color = colour(from + ((1 - from) * place) / (count - 1));
    table.push(getComputedStyle(probe).color);
  }
  probe.remove();
  return (t) => table[Math.max(0, Math.min(count - 1, Math.round(((t - from) / (1 - from)) * (count - 1))))];
}

/* The colour of a theme's variable as a canvas understands it. */
export function themeColour(variable) {
  return colourTable(() => `var(${variable})`, 0, 2)(0);
}

/* A canvas of this many CSS pixels with its context, sharp on any screen. */
export function sharpCanvas(width, height, attributes) {
  const canvas = element("canvas", attributes);
  const scale = Math.min(window.devicePixelRatio || 1, 3);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  return [canvas, pen];
}

/* The q-quantile of finite numbers; NaN where there is none. */
export function quantile(numbers, q) {
  const sorted = Array.from(numbers).filter(Number.isFinite).sort((a, b) => a - b);
  if (!sorted.length) return NaN;
  return sorted[Math.round(q * (sorted.length - 1))];
}

/* 10^k as text with a raised exponent. */
export function powerOfTen(exponent) {
  const raised = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  if (exponent === 0) return "1";
  return `10${Array.from(String(exponent), (mark) => raised[mark]).join("")}`;
}

/* Numbers for the ticks of a logarithmic axis between two exponents of ten, with their texts. */
export function logTicks(lowest, highest, most = 6) {
  const whole = decades(lowest, highest, most);
  if (whole.length > 2) return whole.map((exponent) => [10 ** exponent, powerOfTen(exponent)]);
  const found = [];
  for (let exponent = Math.floor(lowest); exponent <= highest; exponent += 1) {
    for (const factor of [1, 2, 5]) {
      const number = factor * 10 ** exponent;
      if (Math.log10(number) >= lowest && Math.log10(number) <= highest) found.push([number, factor === 1 ? powerOfTen(exponent) : numberText(number, 1)]);
    }
  }
  return found;
}

/* Powers of ten within lowest … highest (exponents), at most `most` of them. */
export function decades(lowest, highest, most = 6) {
  const first = Math.ceil(lowest - 1e-9);
  const last = Math.floor(highest + 1e-9);
  const step = Math.max(1, Math.ceil((last - first + 1) / most));
  const found = [];
  for (let exponent = Math.ceil(first / step) * step; exponent <= last; exponent += step) found.push(exponent);
  return found;
}
