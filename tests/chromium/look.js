// What is wrong with a page for people who see little, use a keyboard, or listen to it: a list of sentences, empty where all is well.
// It runs in the page; WCAG 2.2 AA by what a script can compute. Names of elements are asked of the browser's accessibility tree instead.
const wrong = [];
const all = (selector) => [...document.querySelectorAll(selector)];
const what = (element) => {
  const words = (element.textContent || "").trim().replace(/\s+/g, " ").slice(0, 40);
  return `<${element.localName}${element.id ? " #" + element.id : ""}${element.getAttribute("class") ? " ." + element.getAttribute("class") : ""}> "${words}"`;
};
const isSeen = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && element.getClientRects().length > 0;
// Only for those who listen.
const isUnseen = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const box = at.getBoundingClientRect();
    if (box.width <= 1 && box.height <= 1 && getComputedStyle(at).overflow === "hidden") return true;
  }
  return false;
};

// --- structure --------------------------------------------------------------------------------------------------------------------
if (!document.documentElement.lang) wrong.push("the page has no language");
if (!document.title.trim()) wrong.push("the page has no title");
for (const [selector, name] of [["h1", "heading of the first level"], ["main", "main landmark"], ["body > header", "banner"], ["body > footer", "footer"]]) {
  if (all(selector).length !== 1) wrong.push(`there are ${all(selector).length} of: ${name}`);
}
let level = 0;
for (const heading of all("h1, h2, h3, h4, h5, h6").filter(isSeen)) {
  const its = Number(heading.localName[1]);
  if (its > level + 1) wrong.push(`${what(heading)} skips a level`);
  level = its;
}
const ids = all("[id]").map((element) => element.id);
for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) wrong.push(`two elements have the id ${id}`);
for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for"]) {
  for (const element of all(`[${name}]`)) {
    for (const id of element.getAttribute(name).split(/\s+/)) {
      if (!document.getElementById(id)) wrong.push(`${what(element)} names #${id}, which is not there`);
    }
  }
}
for (const link of all('a[href^="#"]')) {
  const id = decodeURIComponent(link.getAttribute("href").slice(1));
  if (id && !document.getElementById(id)) wrong.push(`${what(link)} leads to #${id}, which is not there`);
}
for (const table of all("table")) {
  if (!table.caption && !table.getAttribute("aria-label") && !table.getAttribute("aria-labelledby")) wrong.push(`${what(table)} has no caption`);
  if (!table.querySelector("th")) wrong.push(`${what(table)} has no headers`);
  for (const header of table.querySelectorAll("th")) if (!header.scope) wrong.push(`${what(header)} has no scope`);
}
for (const svg of all("svg")) {
  const isNamed = svg.getAttribute("role") === "img" && (svg.getAttribute("aria-label") || svg.querySelector("title"));
  if (!isNamed && svg.getAttribute("aria-hidden") !== "true") wrong.push(`${what(svg)} is a picture without words`);
}
if (all("[tabindex]").some((element) => element.tabIndex > 0)) wrong.push("a tabindex changes the order");
const first = all("a[href], button, input, select, summary, [tabindex]")[0];
if (!first || !/^#/.test(first.getAttribute("href") || "")) wrong.push("the first link does not skip to the content");
if (!document.querySelector('[aria-live="polite"], [role="status"]')) wrong.push("nothing announces what changes");
// What scrolls must be reachable without a pointer.
for (const box of all("body *").filter((element) => /auto|scroll/.test(getComputedStyle(element).overflowX) && element.scrollWidth > element.clientWidth + 1)) {
  if (box.tabIndex < 0 && !box.querySelector("a[href], button")) wrong.push(`${what(box)} scrolls, and cannot be focused`);
}

// --- sizes of what is clicked (2.5.8) -----------------------------------------------------------------------------------------------
for (const element of all("a[href], button, input:not([type=hidden]), select, summary").filter(isSeen)) {
  // In a sentence they are as high as its words.
  if (getComputedStyle(element).display === "inline" || isUnseen(element)) continue;
  const box = element.getBoundingClientRect();
  if (box.height < 23.9 || box.width < 15) wrong.push(`${what(element)} is ${Math.round(box.width)} by ${Math.round(box.height)} pixels small`);
}

// --- contrast (1.4.3, 1.4.11) -------------------------------------------------------------------------------------------------------
const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
const known = new Map();
function rgba(color) {
  if (!known.has(color)) {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    known.set(color, [r, g, b, a / 255]);
  }
  return known.get(color);
}
const over = ([r, g, b, a], ground) => [r, g, b].map((part, at) => part * a + ground[at] * (1 - a));
function ground(element) {
  const layers = [];
  for (let at = element; at; at = at.parentElement) {
    const color = rgba(getComputedStyle(at).backgroundColor);
    layers.push(color);
    if (color[3] >= 1) break;
  }
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches && /dark/.test(getComputedStyle(document.documentElement).colorScheme);
  return layers.reverse().reduce((below, color) => over(color, below), isDark ? [18, 18, 18] : [255, 255, 255]);
}
function luminance(color) {
  const [r, g, b] = color.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(color, below) {
  const [high, low] = [luminance(over(rgba(color), below)), luminance(below)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}
const seen = new Set();
function check(color, below, least, element, kind) {
  const ratio = contrast(color, below);
  const key = [color, below, kind].join();
  if (ratio >= least || seen.has(key)) return;
  seen.add(key);
  wrong.push(`${kind} of ${what(element)}: ${color} on rgb(${below.map(Math.round)}) has a contrast of ${ratio.toFixed(2)}, not ${least}`);
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let measured = 0;
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.nodeValue.trim() || !isSeen(element) || isUnseen(element) || element.closest("option, meter, script, style, noscript")) continue;
  measured += 1;
  check(getComputedStyle(element).color, ground(element), 4.5, element, "text");
}
if (measured === 0) wrong.push("there is no text");
for (const element of all("body *").filter(isSeen)) {
  for (const part of ["::before", "::after"]) {
    const style = getComputedStyle(element, part);
    if (!["none", "normal", '""'].includes(style.content)) check(style.color, ground(element), 4.5, element, part);
  }
}
for (const element of all("input:not([type=hidden]), select, button").filter(isSeen)) {
  const style = getComputedStyle(element);
  check(style.color, ground(element), 4.5, element, "text");
  if (element.placeholder) check(getComputedStyle(element, "::placeholder").color, ground(element), 4.5, element, "placeholder");
  const [inside, outside] = [ground(element), ground(element.parentElement)];
  if (contrast(`rgb(${inside.map(Math.round)})`, outside) < 3) check(style.borderTopColor, outside, 3, element, "edge");
}
for (const mark of all("svg path:not(.base), svg rect:not(.base), svg circle").filter(isSeen)) {
  const style = getComputedStyle(mark);
  const color = style.stroke !== "none" ? style.stroke : style.fill;
  if (color !== "none") check(color, ground(mark.closest("svg")), 3, mark, "mark");
}
return wrong;
