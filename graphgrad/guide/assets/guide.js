"use strict";
/* Shows one topic at a time, finds words in all of them, keeps the colours that were chosen. */
(() => {
  const byId = (id) => document.getElementById(id);
  const sections = [...document.querySelectorAll("#article section")];
  const links = new Map([...document.querySelectorAll("#list a")].map((link) => [link.hash.slice(1), link]));
  const search = byId("search");
  const found = byId("found");

  /* ---------------------------------------------------------------- one topic at a time */

  function topicOf(address) {
    const name = decodeURIComponent(address.replace(/^#/, ""));
    const place = byId(name);
    if (place === null) return [sections[0], null];
    const section = place.closest("section");
    if (section) return [section, place === section ? null : place];
    const heading = place.closest("#list h2"); /* a group of topics: its first one */
    const first = heading ? heading.nextElementSibling.querySelector("a") : null;
    return [first ? byId(first.hash.slice(1)) : sections[0], null];
  }

  function show() {
    const [section, place] = topicOf(location.hash);
    for (const each of sections) each.hidden = each !== section;
    for (const [name, link] of links) {
      if (name === section.id) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${section.dataset.title} · graphgrad`;
    openList(false);
    showNeighbours(sections.indexOf(section));
    if (place) place.scrollIntoView();
    else scrollTo(0, 0);
  }

  function showNeighbours(number) {
    const around = [[number - 1, "← "], [number + 1, "→ "]];
    byId("next").replaceChildren(
      ...around.filter(([each]) => sections[each]).map(([each, arrow]) => {
        const link = document.createElement("a");
        link.href = `#${sections[each].id}`;
        link.textContent = arrow + sections[each].dataset.title;
        return link;
      }),
    );
  }

  function openList(open) {
    document.body.classList.toggle("with-list", open);
    byId("list-button").setAttribute("aria-expanded", String(open));
  }

  /* ---------------------------------------------------------------- search */

  /* One entry a heading: its own text and the text up to the next heading. */
  const entries = sections.flatMap((section) => {
    const parts = [];
    for (const element of section.children) {
      if (/^H[123]$/.test(element.tagName)) {
        const id = element.tagName === "H1" ? section.id : element.id;
        parts.push({ id, title: element.textContent, topic: section.dataset.title, text: "" });
      } else if (parts.length) parts.at(-1).text += ` ${element.textContent}`;
    }
    return parts;
  });
  for (const entry of entries) {
    entry.text = entry.text.replace(/\s+/g, " ");
    entry.inTitle = entry.title.toLowerCase();
    entry.inText = entry.text.toLowerCase();
  }

  function score(entry, words) {
    const phrase = words.join(" ");
    let total = (entry.inTitle.includes(phrase) ? 15 : 0) + (entry.inText.includes(phrase) ? 25 : 0);
    for (const word of words) {
      const title = entry.inTitle === word ? 40 : entry.inTitle.startsWith(word) ? 20 : entry.inTitle.includes(word) ? 10 : 0;
      const text = entry.inText.split(word).length - 1;
      if (!title && !text) return 0;
      total += title + Math.min(text, 6);
    }
    return total;
  }

  function marked(text, words) {
    const lower = text.toLowerCase();
    const first = Math.min(...words.map((word) => lower.indexOf(word)).filter((place) => place >= 0));
    if (!Number.isFinite(first)) return [text.slice(0, 90)];
    const from = Math.max(0, first - 40);
    const word = words.find((each) => lower.startsWith(each, first));
    const mark = document.createElement("mark");
    mark.textContent = text.slice(first, first + word.length);
    return [(from ? "…" : "") + text.slice(from, first), mark, `${text.slice(first + word.length, from + 110)}…`];
  }

  let chosen = 0;

  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found.hidden = words.length === 0;
    search.setAttribute("aria-expanded", String(!found.hidden));
    if (found.hidden) return;
    const scored = entries.map((entry) => [score(entry, words), entry]).filter(([value]) => value > 0);
    scored.sort((a, b) => b[0] - a[0]);
    const hits = scored.slice(0, 12).map(([, entry], number) => {
      const link = document.createElement("a");
      link.className = "hit";
      link.id = `hit-${number}`;
      link.href = `#${entry.id}`;
      link.setAttribute("role", "option");
      const where = document.createElement("small");
      where.append(entry.title === entry.topic ? "" : `${entry.topic} · `, ...marked(entry.text, words));
      link.append(entry.title, where);
      return link;
    });
    const nothing = document.createElement("p");
    nothing.textContent = "nothing is called so";
    found.replaceChildren(...(hits.length ? hits : [nothing]));
    choose(0);
  }

  function choose(number) {
    const hits = found.querySelectorAll(".hit");
    chosen = hits.length ? (number + hits.length) % hits.length : 0;
    hits.forEach((hit, each) => hit.setAttribute("aria-selected", String(each === chosen)));
    if (hits.length) {
      search.setAttribute("aria-activedescendant", hits[chosen].id);
      hits[chosen].scrollIntoView({ block: "nearest" });
    }
  }

  function closeSearch() {
    found.hidden = true;
    search.setAttribute("aria-expanded", "false");
    search.removeAttribute("aria-activedescendant");
  }

  search.addEventListener("input", find);
  search.addEventListener("focus", find);
  search.addEventListener("keydown", (event) => {
    const hits = found.querySelectorAll(".hit");
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen - 1);
    else if (event.key === "Enter" && hits.length && !found.hidden) {
      location.hash = hits[chosen].hash;
      search.blur();
      closeSearch();
    } else if (event.key === "Escape") {
      search.blur();
      closeSearch();
    } else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.select();
    }
    if (event.key === "Escape") openList(false);
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest(".search") || event.target.closest(".hit")) closeSearch();
    if (event.target.closest("#list a, .hit")) openList(false);
  });

  /* ---------------------------------------------------------------- colours */

  /* Storage may be refused (a file opened from disk); then the choice lasts as long as the page. */
  const THEMES = ["system", "light", "dark"];

  function applyTheme(theme) {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    byId("theme-button").textContent = { light: "☀", dark: "☾" }[theme] ?? "◐";
  }

  byId("theme-button").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    applyTheme(next);
    try {
      localStorage.setItem("graphgrad-theme", next);
    } catch {
      /* see above */
    }
  });
  try {
    applyTheme(localStorage.getItem("graphgrad-theme"));
  } catch {
    /* see above */
  }

  byId("list-button").addEventListener("click", () => openList(!document.body.classList.contains("with-list")));
  addEventListener("hashchange", show);
  document.body.classList.add("one-topic");
  show();
  document.documentElement.dataset.ready = "";
})();
