// Keeps a page of promferry alive: asks for the same page again and puts in what has changed. Everything works without it.
"use strict";

(() => {
  const EVERY_MS = 5000;
  const TIMEOUT_MS = 10000;
  const TYPING_MS = 250;

  const live = document.getElementById("live");
  const said = document.getElementById("said");
  const state = document.createElement("span");
  const button = document.createElement("button");
  let isPaused = false;
  let timer = 0;
  let typing = 0;
  let asked = 0;
  let giveUp = new AbortController();
  let view = "";
  let answeredAt = new Date();
  let isGone = false;

  // --- putting in what has changed -------------------------------------------------------------------------------------------

  // Makes `old` like `now`, keeping every node that can stay: focus, selection, scrolling and what is open stay with it.
  function morph(old, now) {
    if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName) {
      old.replaceWith(now);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue;
      return;
    }
    if (old.hasAttribute("data-still") || old.isEqualNode(now)) return;
    attributes(old, now);
    children(old, now);
  }

  function attributes(old, now) {
    // Whether it is open, and what is typed or chosen, belongs to the person.
    const isKept = (name) =>
      (name === "open" && old.nodeName === "DETAILS") || (name === "selected" && old.nodeName === "OPTION");
    for (const { name } of [...old.attributes]) {
      if (!now.hasAttribute(name) && !isKept(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...now.attributes]) {
      if (old.getAttribute(name) !== value && !isKept(name)) old.setAttribute(name, value);
    }
  }

  function children(old, now) {
    const ids = new Set([...now.children].map((child) => child.id).filter(Boolean));
    const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let at = old.firstChild;
    for (const next of [...now.childNodes]) {
      // One that has gone is no partner for what comes now.
      while (at && at.id && !ids.has(at.id)) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
      const same = next.id ? known.get(next.id) : undefined;
      if (same && same.nodeName === next.nodeName) {
        if (same === at) at = at.nextSibling;
        else old.insertBefore(same, at);
        morph(same, next);
      } else if (next.id || !at || at.id || at.nodeName !== next.nodeName) {
        old.insertBefore(next, at);
      } else {
        const partner = at;
        at = at.nextSibling;
        morph(partner, next);
      }
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  // Says the headline to a screen reader when it is another one; not when only its numbers have moved.
  function say(before, after) {
    const words = (text) => text.replace(/[0-9,.]+/g, "0");
    if (words(before) !== words(after)) said.textContent = after;
  }

  function headline() {
    const shown = document.getElementById("headline");
    return shown ? shown.textContent : "";
  }

  function put(text) {
    const now = new DOMParser().parseFromString(text, "text/html");
    const main = now.getElementById("main");
    if (!main) throw new Error("this is no page of promferry");
    const before = headline();
    const focused = document.activeElement;
    // A job that came or went moves the options, and what is chosen would stay with the place.
    const job = document.getElementById("job");
    const chosen = job ? job.value : "";
    if (document.title !== now.title) document.title = now.title;
    const icons = [document, now].map((one) => one.getElementById("icon"));
    if (icons[0] && icons[1]) morph(icons[0], icons[1]);
    morph(document.getElementById("main"), main);
    morph(document.querySelector("footer"), now.querySelector("footer"));
    if (job && job.value !== chosen && [...job.options].some((option) => option.value === chosen)) job.value = chosen;
    // A row that moved took the focus with it, and lost it on the way.
    if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    say(before, headline());
  }

  // What is shown, without the place on the page.
  function here() {
    return location.href.split("#")[0];
  }

  // --- asking -----------------------------------------------------------------------------------------------------------------

  async function ask() {
    clearTimeout(timer);
    const mine = ++asked;
    // Nobody waits for the one before any more: a slow promferry has one question of this page to answer, and not one a key.
    giveUp.abort();
    const stop = (giveUp = new AbortController());
    const limit = setTimeout(() => stop.abort(), TIMEOUT_MS);
    try {
      view = here();
      const answer = await fetch(view, { cache: "no-store", signal: stop.signal, headers: { accept: "text/html" } });
      // A target that has gone is a page too.
      if (!answer.ok && answer.status !== 404) throw new Error(`status ${answer.status}`);
      const text = await answer.text();
      if (mine !== asked) return;
      put(text);
      answeredAt = new Date();
      isGone = false;
    } catch {
      if (mine !== asked) return;
      if (!isGone) said.textContent = "promferry does not answer";
      isGone = true;
    } finally {
      clearTimeout(limit);
    }
    tell();
    later();
  }

  function later() {
    clearTimeout(timer);
    if (!isPaused && !document.hidden) timer = setTimeout(ask, EVERY_MS);
  }

  function tell() {
    const at = answeredAt.toLocaleTimeString();
    live.classList.toggle("gone", isGone);
    if (isGone) state.textContent = `No answer since ${at}: what is shown is old`;
    else if (isPaused) state.textContent = `Paused at ${at}`;
    else state.textContent = "Live";
    button.textContent = isPaused ? "Resume" : "Pause";
  }

  // --- what a person does ---------------------------------------------------------------------------------------------------

  // Another view of the same page, without loading all of it.
  function show(url, isNew) {
    if (isNew) history.pushState(null, "", url);
    else history.replaceState(null, "", url);
    return ask();
  }

  function formUrl(form) {
    const data = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value !== "") data.append(name, value);
    const query = data.toString();
    return "./" + (query ? "?" + query : "") + "#targets";
  }

  function start() {
    button.type = "button";
    button.addEventListener("click", () => {
      isPaused = !isPaused;
      tell();
      if (isPaused) {
        asked += 1;
        giveUp.abort();
        clearTimeout(timer);
      } else ask();
    });
    live.replaceChildren(state, button);
    tell();

    document.addEventListener("visibilitychange", () => {
      if (document.hidden) clearTimeout(timer);
      else if (!isPaused) ask();
    });
    document.addEventListener("input", (event) => {
      if (event.target.id !== "q") return;
      clearTimeout(typing);
      typing = setTimeout(() => show(formUrl(event.target.form), false), TYPING_MS);
    });
    document.addEventListener("change", (event) => {
      if (event.target.id === "job") show(formUrl(event.target.form), true);
    });
    document.addEventListener("submit", (event) => {
      if (event.target.id !== "search") return;
      event.preventDefault();
      clearTimeout(typing);
      show(formUrl(event.target), true);
    });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-view]");
      const isPlain = !event.defaultPrevented && event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
      if (!link || !isPlain) return;
      event.preventDefault();
      show(link.getAttribute("href"), true).then(filled);
    });
    // A link to a place on the page is no other view: it neither ends a pause nor takes away what is being typed.
    addEventListener("popstate", () => {
      if (here() !== view) ask().then(filled);
    });
    view = here();
    later();
  }

  // After going to another view the form shows that view's search.
  function filled() {
    const asked = new URLSearchParams(location.search);
    const [search, job] = ["q", "job"].map((id) => document.getElementById(id));
    if (search) search.value = asked.get("q") || "";
    if (job) job.value = asked.get("job") || "";
  }

  if (live && said && document.getElementById("main")) start();
})();
