// An instance: the slider moves while it is dragged, and links within the page exchange only what changes.
"use strict";

(() => {
  const form = document.querySelector("form[data-slider]");
  let under = null; // the request that is on its way; a newer one takes its place

  async function swap(address, { push = true } = {}) {
    under?.abort();
    under = new AbortController();
    const own = under;
    try {
      const answer = await fetch(address, { headers: { Accept: "text/html" }, signal: own.signal });
      if (!answer.ok || answer.redirected) { location.href = address; return; }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (own.signal.aborted) return;
      if (push) history.pushState({ swapped: true }, "", address);
      else history.replaceState({ swapped: true }, "", address);
      const part = document.activeElement?.closest("[data-part]");
      exchange(fresh);
      follow(fresh);
      // Whose link is gone goes on where it was.
      if (part && document.activeElement === document.body) (part.querySelector("h2, [tabindex]") ?? document.getElementById("stages-h")).focus();
    } catch (error) {
      if (error.name !== "AbortError") location.href = address;
    }
  }

  // The slider stays where the reader holds it; else it goes where the page is.
  function follow(fresh) {
    const find = document.getElementById("find-form"), other = fresh.getElementById("find-form");
    if (find && other && !find.contains(document.activeElement)) find.replaceWith(document.importNode(other, true));
    const ours = form?.elements.step, theirs = fresh.querySelector("form[data-slider] input[type=range]");
    if (!ours || !theirs) return;
    ours.max = theirs.max;
    ours.dataset.now = theirs.dataset.now;
    if (document.activeElement !== ours) ours.value = theirs.value;
  }

  if (form) {
    const range = form.elements.step;
    form.querySelector("button").hidden = true;
    let waiting = null;
    range.addEventListener("input", () => {
      const address = new URL(location.href);
      address.searchParams.set("step", range.value);
      address.searchParams.delete("from");
      clearTimeout(waiting);
      waiting = setTimeout(() => swap(address, { push: false }), 40);
    });
    form.addEventListener("submit", (event) => { event.preventDefault(); range.dispatchEvent(new Event("input")); });
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-swap]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    swap(link.href);
  });
  addEventListener("popstate", () => swap(location.href, { push: false }));

  // While nothing is held, arrows go from step to step.
  document.addEventListener("keydown", (event) => {
    if (!form || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea, pre, summary, .gantt")) return;
    const to = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    const link = to && document.querySelector(`#travel-part a[rel=${to}]`);
    if (link) { event.preventDefault(); swap(link.href, { push: false }); }
  });

  // New steps make the slider longer; who looks at now goes on doing so.
  document.addEventListener("pingpulse:fresh", (event) => {
    const part = event.detail.id === "travel-part" ? event.detail : null;
    if (!part || !form) return;
    const fresh = Number(part.querySelector("[data-steps]")?.dataset.steps);
    if (fresh) form.elements.step.max = Math.max(fresh - 1, Number(form.elements.step.max));
  });

  // What goes on grows, also while nothing is told.
  setInterval(async () => {
    const address = location.href;
    if (document.hidden || !document.querySelector("[data-open]")) return;
    try {
      const answer = await fetch(address, { headers: { Accept: "text/html" } });
      const text = await answer.text();
      if (answer.ok && !answer.redirected && address === location.href) exchange(new DOMParser().parseFromString(text, "text/html"));
    } catch { /* the next time, then */ }
  }, 15_000);
})();
