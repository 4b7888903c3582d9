// What somebody has begun to write stays when the inbox is brought up to date around it.
"use strict";

const written = new Map();

function keep(event) {
  const field = event.target;
  if (!field.id || !field.closest("form.decide")) return;
  written.set(field.id, field.type === "checkbox" ? field.checked : field.value);
}

function putBack(within) {
  for (const [id, value] of written) {
    const field = document.getElementById(id);
    if (!field || !within.contains(field)) continue;
    if (field.type === "checkbox") field.checked = value;
    else field.value = value;
  }
}

document.addEventListener("input", keep);
document.addEventListener("pingpulse:fresh", (event) => putBack(event.detail));
