"""JavaScript that measures drawings in a browser, turned texts included.

`MEASURED` returns the size of the smallest text in pixels, and what is wrong: a text outside of its
box or of its drawing, two texts over each other, a line through a text.
"""

MEASURED = """() => {
  const wrong = [];
  const place = (text) => ({
    text, box: text.getBBox(), at: text.getBoundingClientRect(),
    there: text.getScreenCTM(), back: text.getScreenCTM().inverse(),
  });
  // whether a point of the screen is on the letters of a text: not at its very edges
  const within = (item, x, y) => {
    const {box, back} = item;
    const across = back.a * x + back.c * y + back.e - box.x;
    const down = back.b * x + back.d * y + back.f - box.y;
    return across > 1 && across < box.width - 1
      && down > 0.24 * box.height && down < 0.76 * box.height;
  };
  const points = ({box, there}) => {
    const found = [];
    for (const share of [0.3, 0.5, 0.7]) for (let k = 0; k <= 16; k++) {
      const x = box.x + box.width * k / 16, y = box.y + box.height * share;
      found.push([there.a * x + there.c * y + there.e, there.b * x + there.d * y + there.f]);
    }
    return found;
  };
  const touch = (a, b) => a.right > b.left && b.right > a.left && a.bottom > b.top
    && b.bottom > a.top;
  for (const drawing of document.querySelectorAll("svg")) {
    const edge = drawing.getBoundingClientRect();
    const texts = [...drawing.querySelectorAll("text")].filter((t) => t.textContent.trim())
      .map(place);
    for (const item of texts) {
      const {text, at} = item, group = text.closest("g.boxed");
      for (const [what, box] of [["drawing", edge],
          ...(group ? [["box", group.firstElementChild.getBoundingClientRect()]] : [])])
        if (at.left < box.left - 1 || at.right > box.right + 1 || at.top < box.top - 2
            || at.bottom > box.bottom + 2) wrong.push(`outside its ${what}: ${text.textContent}`);
      const mine = points(item);
      for (const other of texts)
        if (other !== item && touch(at, other.at) && mine.some(([x, y]) => within(other, x, y)))
          wrong.push(`over each other: ${text.textContent} | ${other.text.textContent}`);
    }
    for (const line of drawing.querySelectorAll("polyline")) {
      const room = line.getBoundingClientRect(), there = line.getScreenCTM();
      const near = texts.filter((item) => touch(
        {left: room.left - 1, right: room.right + 1, top: room.top - 1, bottom: room.bottom + 1},
        item.at));
      const long = near.length ? line.getTotalLength() : 0;
      for (const item of near) for (let along = 0; along <= long; along += 3) {
        const point = line.getPointAtLength(along).matrixTransform(there);
        if (within(item, point.x, point.y)) {
          wrong.push(`a line through: ${item.text.textContent}`);
          break;
        }
      }
    }
  }
  const sizes = [...document.querySelectorAll("svg text, svg tspan")].map((text) => {
    const {a, b} = text.getCTM();
    return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b);
  });
  return [Math.min(...sizes), [...new Set(wrong)]];
}"""
