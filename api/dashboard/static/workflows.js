// The form of a workflow: stages as rows, and only those fields that its kind has. Without scripts the stages are lines
// of a text, which the rows write here.
"use strict";

const form = document.querySelector("form[data-workflow]");

// Only what the kind has: the other fields are not sent, either.
function showKind() {
  const chosen = form.querySelector("input[name=kind]:checked");
  const kind = chosen ? chosen.value : form.dataset.kind;
  for (const group of form.querySelectorAll("fieldset[data-for]")) {
    const fits = group.dataset.for.split(" ").includes(kind);
    group.hidden = !fits;
    group.disabled = !fits;
  }
}

class StageRows {
  constructor(area) {
    this.area = area;
    this.separator = area.dataset.stages;
    const field = area.closest(".field");
    this.list = document.createElement("ol");
    this.list.className = "stage-rows";
    this.said = document.createElement("p");
    this.said.className = "hidden";
    this.said.setAttribute("role", "status");
    this.add = button("Add a stage", "");
    this.add.addEventListener("click", () => {
      this.append().focus();
      this.write();
    });
    const stages = this.read();
    for (const stage of stages.length ? stages : [{ name: "", timeout: "" }]) this.list.append(this.row(stage));
    field.after(this.list, this.add, this.said);
    // Only its help and what is wrong stay to be seen; the text is what is sent.
    area.hidden = true;
    this.list.id = area.id;
    this.list.tabIndex = -1;
    area.removeAttribute("id");
    const label = field.querySelector("label");
    label.textContent = "Stages, in their order";
    label.removeAttribute("for");
    field.querySelector(".help").textContent = "A timeout counts from the stage before: 90 s, 5 min, 1 h 30 min.";
    const problem = field.querySelector(".problem");
    if (problem) this.list.before(problem);
    this.list.addEventListener("input", () => this.write());
    this.list.addEventListener("click", (event) => this.act(event));
    this.list.addEventListener("keydown", (event) => this.type(event));
    this.number();
  }

  rows() { return [...this.list.children]; }

  read() {
    return this.area.value.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => {
      const at = line.lastIndexOf(this.separator);
      return at < 0 ? { name: line, timeout: "" } : { name: line.slice(0, at).trim(), timeout: line.slice(at + 1).trim() };
    });
  }

  write() {
    const lines = this.rows().map((row) => {
      const [name, timeout] = [...row.querySelectorAll("input")].map((input) => input.value.trim().replace(/\s+/g, " "));
      if (timeout) return `${name} ${this.separator} ${timeout}`.trim();
      return !name || name.includes(this.separator) ? `${name} ${this.separator}`.trim() : name;
    });
    // A single row in which nothing was written is no stage.
    this.area.value = lines.length === 1 && lines[0] === this.separator ? "" : lines.join("\n");
  }

  // A row for one more stage; the field that its name goes into.
  append() {
    const row = this.row({ name: "", timeout: "" });
    this.list.append(row);
    this.number();
    return row.querySelector("input");
  }

  row(stage) {
    const row = document.createElement("li");
    const number = document.createElement("span");
    number.className = "number";
    const name = input("name", stage.name, "Name", 200);
    const timeout = input("timeout", stage.timeout, "No limit", 64);
    const acts = document.createElement("div");
    acts.className = "row";
    acts.append(button("↑", "quiet", "up"), button("↓", "quiet", "down"), button("✕", "quiet", "remove"));
    row.append(number, name, timeout, acts);
    return row;
  }

  number() {
    const rows = this.rows();
    rows.forEach((row, at) => {
      const [name, timeout] = row.querySelectorAll("input");
      const [up, down, remove] = row.querySelectorAll("button");
      row.querySelector(".number").textContent = `${at + 1}`;
      name.setAttribute("aria-label", `Name of stage ${at + 1}`);
      timeout.setAttribute("aria-label", `Timeout of stage ${at + 1}`);
      up.setAttribute("aria-label", `Move stage ${at + 1} up`);
      down.setAttribute("aria-label", `Move stage ${at + 1} down`);
      remove.setAttribute("aria-label", `Remove stage ${at + 1}`);
      up.disabled = at === 0;
      down.disabled = at === rows.length - 1;
    });
  }

  act(event) {
    const pressed = event.target.closest("button[data-act]");
    if (!pressed) return;
    const row = pressed.closest("li");
    const before = this.rows().indexOf(row) + 1;
    const act = pressed.dataset.act;
    if (act === "up") row.previousElementSibling?.before(row);
    if (act === "down") row.nextElementSibling?.after(row);
    let next = pressed;
    if (act === "remove") {
      next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("input") ?? this.add;
      row.remove();
    }
    this.number();
    this.write();
    const after = this.rows().indexOf(row) + 1;
    this.said.textContent = act === "remove" ? `Stage ${before} was removed` : `Stage ${before} is stage ${after} now`;
    (next.disabled ? row.querySelector("button:not(:disabled)") : next).focus();
  }

  // Enter goes on to the next stage, and makes it if there is none: the form is sent by its button.
  type(event) {
    if (event.key !== "Enter" || !event.target.matches("input")) return;
    event.preventDefault();
    const next = event.target.closest("li").nextElementSibling;
    (next ? next.querySelector("input") : this.append()).focus();
    this.write();
  }
}

function input(kind, value, placeholder, most) {
  const made = document.createElement("input");
  Object.assign(made, { type: "text", value, placeholder, maxLength: most, autocomplete: "off", className: kind, dir: "auto" });
  return made;
}

function button(label, look, act) {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", className: look, textContent: label });
  if (act) made.dataset.act = act;
  return made;
}

if (form) {
  const area = form.querySelector("textarea[data-stages]");
  if (area) new StageRows(area);
  form.addEventListener("change", (event) => { if (event.target.name === "kind") showKind(); });
  showKind();
}
