// The public status page, kept up to date while somebody looks. Without scripts, a reload does it.
"use strict";

const EVERY = 60_000;
const main = document.getElementById("main");
let last = Date.now();

async function refresh() {
  if (document.hidden || Date.now() - last < EVERY) return;
  last = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const other = fresh.getElementById("main");
    if (other && !main.contains(document.activeElement)) {
      main.replaceChildren(...document.importNode(other, true).childNodes);
      document.title = fresh.title;
    }
  } catch { /* the next try may find it again */ }
}

setInterval(refresh, 5_000);
document.addEventListener("visibilitychange", refresh);
