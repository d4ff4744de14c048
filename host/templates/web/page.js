// Keeps an open page up to date: hears that something happened, fetches the same page again and puts its <main> in place.
// The page is complete without it.
"use strict";

const EVERY = 1000; // Fetched at most once in so many milliseconds.
const said = document.getElementById("live");
let due = null; // A fetch that is to come.
let last = 0; // When the last one began.
let behind = false; // News came while the page could not be replaced.

function main() {
  return document.getElementById("main");
}

function say(words, lost) {
  said.hidden = false;
  said.classList.toggle("lost", lost);
  if (said.textContent !== words) said.textContent = words;
}

// Somebody is writing in a form here; what they wrote must not be lost.
function isBusy() {
  const at = document.activeElement;
  const within = at && main().contains(at) && at.matches("input, textarea, select, button");
  const written = [...main().querySelectorAll("textarea")].some((area) => area.value !== area.defaultValue);
  return Boolean(within || written);
}

function concerns(news) {
  const { project, run } = main().dataset;
  if (!news.project) return true;
  if (run) return news.run === run || (!news.run && news.project === project);
  return !project || news.project === project;
}

function soon() {
  if (due !== null) return;
  due = setTimeout(refresh, Math.max(0, last + EVERY - Date.now()));
}

async function refresh() {
  due = null;
  last = Date.now();
  if (isBusy()) {
    behind = true;
    say("Something has happened since; this page shows it once the form is left.", false);
    return;
  }
  behind = false;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.redirected) return location.reload();
    if (!answer.ok) throw new Error(answer.statusText);
    replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
    say("Up to date.", false);
  } catch {
    say("Not up to date: the page cannot be fetched.", true);
  }
}

function replace(fresh) {
  const next = fresh.getElementById("main");
  if (!next || isBusy()) return;
  for (const folded of main().querySelectorAll("details[open][id]")) {
    const same = next.querySelector(`#${CSS.escape(folded.id)}`);
    if (same) same.open = true;
  }
  main().replaceWith(document.adoptNode(next));
}

// A browser opens only a few connections to one host: a page nobody looks at gives its own back.
let news = null;

function follow() {
  if (news !== null || document.hidden) return;
  news = new EventSource("/live");
  news.onopen = () => {
    say("Up to date.", false);
    soon();
  };
  news.onmessage = (told) => {
    if (concerns(JSON.parse(told.data))) soon();
  };
  news.onerror = () => {
    say("Connection lost: what stands here may be old.", true);
    // The browser tries again by itself, unless it was refused.
    if (news.readyState === EventSource.CLOSED) {
      news = null;
      setTimeout(follow, 5000);
    }
  };
}

function rest() {
  if (news !== null) news.close();
  news = null;
}

document.addEventListener("focusout", () => {
  if (behind) soon();
});
if (!("still" in main().dataset)) {
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : follow()));
  follow();
}
