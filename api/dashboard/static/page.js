// What every page does where scripts run. All of it works without, too, but less well.
"use strict";

// Times, in the reader's zone.
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const withYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function relative(seconds) {
  const past = seconds <= 0;
  const size = Math.abs(seconds);
  if (size < 1) return "just now";
  if (size > 30 * 86400) return null;
  const [unit, length] = UNITS.find(([, length]) => size >= length);
  const words = `${Math.floor(size / length)} ${unit}`;
  return past ? `${words} ago` : `in ${words}`;
}

function writeTime(element) {
  const at = new Date(element.dateTime);
  if (isNaN(at)) return;
  const style = element.dataset.style;
  const now = new Date();
  const date = at.getFullYear() === now.getFullYear() ? short.format(at) : withYear.format(at);
  let words = date;
  if (style === "relative") words = relative((at - now) / 1000) ?? date;
  else if (style === "date") words = day.format(at);
  else if (style === "clock") words = clock.format(at);
  if (element.textContent !== words) element.textContent = words;
  element.title = exact.format(at);
}

const writeTimes = (within = document) => within.querySelectorAll("time[data-style]").forEach(writeTime);

// Buttons that need scripts appear where there are some.
function equip(within = document) {
  writeTimes(within);
  for (const button of within.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  for (const button of within.querySelectorAll("[data-theme]:not(html)")) button.hidden = false;
  document.dispatchEvent(new CustomEvent("pingpulse:fresh", { detail: within }));
}

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(copy.parentElement.querySelector("pre, code, input").textContent);
    const label = copy.querySelector("span");
    const before = label.textContent;
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = before; }, 1500);
  }
  if (event.target.closest("button[data-theme]")) {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("pingpulse-theme", root.dataset.theme); } catch { /* for this page only, then */ }
  }
  for (const menu of document.querySelectorAll("details[data-menu][open]"))
    if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.getElementById("search");
    if (search) { event.preventDefault(); search.focus(); }
  }
});

// What cannot be undone is asked first. Nothing is sent twice.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.ask && !confirm(form.dataset.ask)) { event.preventDefault(); return; }
  if (form.method !== "post") return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  keepDraft(form);
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

// What is typed outlives a login that ended meanwhile: the login leads back here, and it is filled in again.
const DRAFT = "pingpulse-draft";

function keepDraft(form) {
  if (!form.closest("main") || form.querySelector("input[type=password]")) return;
  const fields = [...new FormData(form)].filter(([name, value]) => name !== "csrf_token" && typeof value === "string");
  try {
    sessionStorage.setItem(DRAFT, JSON.stringify({ page: location.pathname, action: form.getAttribute("action"), fields }));
  } catch { /* storage may be forbidden, or full */ }
}

function fillDraft() {
  const address = new URL(location.href);
  if (!address.searchParams.has("again")) return;
  address.searchParams.delete("again");
  history.replaceState(history.state, "", address);
  let draft = null;
  try { draft = JSON.parse(sessionStorage.getItem(DRAFT)); sessionStorage.removeItem(DRAFT); } catch { /* nothing was kept */ }
  if (!draft || draft.page !== location.pathname) return;
  const form = [...document.querySelectorAll("main form")].find((one) => one.getAttribute("action") === draft.action);
  if (!form) return;
  const values = new Map();
  for (const [name, value] of draft.fields) values.set(name, [...(values.get(name) ?? []), value]);
  for (const control of form.elements) {
    const kept = values.get(control.name);
    if (control.type === "checkbox" || control.type === "radio") control.checked = Boolean(kept?.includes(control.value));
    else if (kept?.length && control.type !== "submit" && (control.type !== "hidden" || control.name === "as_of"))
      control.value = kept.shift(); // what it was typed over, too: a change meanwhile is told
  }
  form.closest("details")?.setAttribute("open", "");
  const said = document.createElement("div");
  said.className = "said";
  said.setAttribute("role", "status");
  said.textContent = "Your login had ended, so nothing was saved. What you had typed is here again: look at it, and send it once more.";
  form.before(said);
}
fillDraft();

// The answer to a form is no page that a reload should ask for again: it would do the same once more.
if (document.body.dataset.posted !== undefined) {
  const from = document.referrer.startsWith(`${location.origin}/`) ? document.referrer : location.href;
  history.replaceState(history.state, "", from);
}

// What was done was told: a reload need not tell it again.
if (new URLSearchParams(location.search).has("done")) {
  const address = new URL(location.href);
  address.searchParams.delete("done");
  history.replaceState(history.state, "", address);
}

// Live pages: the server says that something changed, and the parts of the page that did are exchanged.
const FRESH_EVERY = 1000;

class LivePage {
  constructor(subject) {
    this.subject = subject;
    this.stale = false;
    this.loading = false;
    this.last = 0;
    this.note = document.querySelector("[data-live-note]");
    document.addEventListener("visibilitychange", () => { if (!document.hidden && this.stale) this.refresh(); });
    addEventListener("pagehide", () => this.source?.close());
    addEventListener("pageshow", (event) => { if (event.persisted) this.connect(); });
    this.connect();
  }

  connect() {
    this.source = new EventSource(`/live?subject=${encodeURIComponent(this.subject)}`);
    this.source.addEventListener("changed", () => this.refresh());
    // Whatever changed while nobody listened is not told again.
    this.source.addEventListener("open", () => { if (this.lost) this.refresh(); this.lost = false; this.note.hidden = true; });
    this.source.addEventListener("error", () => {
      this.lost = true;
      this.say("Not live: the connection was lost. Trying again …");
      // The server refuses: most likely the login has ended. The page's own refresh finds out.
      if (this.source.readyState === EventSource.CLOSED) {
        this.refresh();
        setTimeout(() => { if (!this.isOver) this.connect(); }, 3000);
      }
    });
    document.body.dataset.isLive = "yes";
  }

  say(words, address, link) {
    this.note.textContent = words;
    if (address) {
      const way = document.createElement("a");
      [way.href, way.textContent] = [address, link];
      this.note.append(" ", way);
    }
    this.note.hidden = false;
  }

  // What is on the page stays: somebody may be typing.
  end(words, address, link) {
    this.source.close();
    this.isOver = true;
    this.say(words, address, link);
  }

  async refresh() {
    if (this.isOver) return;
    this.stale = true;
    if (document.hidden || this.loading) return;
    this.loading = true;
    await new Promise((done) => setTimeout(done, Math.max(0, this.last + FRESH_EVERY - Date.now())));
    this.last = Date.now();
    this.stale = false;
    try {
      const address = location.href;
      const answer = await fetch(address, { headers: { Accept: "text/html" } });
      const text = await answer.text();
      if (answer.redirected && new URL(answer.url).pathname === "/login")
        this.end("You are logged out.", `/login?next=${encodeURIComponent(location.pathname + location.search)}`, "Log in again");
      else if (answer.status === 404) {
        for (const button of document.querySelectorAll("main form[method=post] button")) button.disabled = true;
        this.end("This is not there any more: it was deleted.", "/", "To the overview");
      } else if (address !== location.href) this.stale = true; // a script has gone on to another view meanwhile
      else if (answer.ok) exchange(new DOMParser().parseFromString(text, "text/html"));
    } catch { this.stale = true; }
    this.loading = false;
    if (this.stale) setTimeout(() => this.refresh(), FRESH_EVERY);
  }
}

// Every element with `data-part` and an id is a part; what the reader opened, or is typing into, stays as it is.
const shown = new WeakMap();

function exchange(fresh) {
  for (const part of document.querySelectorAll("[data-part][id]")) {
    const other = fresh.getElementById(part.id);
    if (!other || shown.get(part) === other.innerHTML) continue;
    const focused = document.activeElement;
    if (part.contains(focused) && focused.matches("input, textarea, select")) continue;
    shown.set(part, other.innerHTML);
    for (const details of part.querySelectorAll("details[id]"))
      other.querySelector(`#${CSS.escape(details.id)}`)?.toggleAttribute("open", details.open);
    const focusId = part.contains(focused) ? focused.id : null;
    const scrolled = [...part.querySelectorAll("[data-scroll][id]")].map((one) => [one.id, one.scrollLeft, one.scrollTop]);
    part.replaceChildren(...document.importNode(other, true).childNodes);
    for (const [id, left, top] of scrolled) document.getElementById(id)?.scrollTo(left, top);
    if (focusId) document.getElementById(focusId)?.focus();
    equip(part);
  }
  document.title = fresh.title;
}

equip();
setInterval(writeTimes, 10_000);
if (document.body.dataset.live) new LivePage(document.body.dataset.live);
