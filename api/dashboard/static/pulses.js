// The form of a pulse: shows the fields of one kind of schedule, and explains a cron expression while it is typed.
"use strict";

const pulseForm = document.querySelector("[data-pulse-form]");

if (pulseForm) {
  const explained = pulseForm.querySelector("[data-explained]");
  const cron = pulseForm.elements.cron;
  const timezone = pulseForm.elements.timezone;
  let waiting = 0;
  let asked = null;

  const showKind = () => {
    for (const part of pulseForm.querySelectorAll("[data-for]")) part.hidden = part.dataset.for !== pulseForm.elements.schedule.value;
  };

  const explain = async () => {
    const query = new URLSearchParams({ cron: cron.value, timezone: timezone.value }).toString();
    if (query === asked) return;
    asked = query;
    try {
      const answer = await fetch(`/pulses/explain?${query}`, { headers: { Accept: "text/html" } });
      // Somebody who types on asks again before this one is answered.
      if (!answer.ok || answer.redirected || query !== asked) return;
      const part = new DOMParser().parseFromString(await answer.text(), "text/html");
      explained.replaceChildren(...document.importNode(part.body, true).childNodes);
      equip(explained);
    } catch { asked = null; }
  };

  const explainSoon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(explain, 300);
  };

  pulseForm.querySelector("[data-check]").hidden = true;
  pulseForm.addEventListener("change", showKind);
  cron.addEventListener("input", explainSoon);
  timezone.addEventListener("input", explainSoon);
  showKind();
}
