// Makes the page lively; everything works without it.
//
//   [data-live]       what is asked for again every few seconds, while somebody looks
//   time[data-at]     how long ago, kept true between
//   [data-chart]      the numbers under the pointer
//   [data-confirm]    a form's button that asks before it does
//   [data-all]        a box that ticks all others of its form
//   [data-themes]     light and dark, without loading the page anew
"use strict";

const EVERY_MS = 5000;
const of = (selector, within = document) => [...within.querySelectorAll(selector)];

// -- times ----------------------------------------------------------------------------------------

function age(seconds) {
  for (const [unit, length, least] of [["d", 86400, 2], ["h", 3600, 1], ["min", 60, 1]]) {
    if (seconds >= length * least) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

// The relay's clock is the one that counts; the browser's may be wrong.
let ahead = Number(document.body.dataset.now || Date.now() / 1000) - Date.now() / 1000;

function away(at) {
  const left = at - Date.now() / 1000 - ahead;
  if (Math.abs(left) < 1) return "now";
  return left > 0 ? `in ${age(left)}` : `${age(-left)} ago`;
}

function tellTimes(within = document) {
  for (const time of of("time[data-at]", within)) {
    const at = Number(time.dataset.at);
    const words = away(at);
    if (time.textContent !== words) time.textContent = words;
    if (!time.dataset.local) {
      time.dataset.local = "yes";
      time.title = `${new Date(at * 1000).toLocaleString()} here; ${time.title}`;
    }
  }
}

// -- live -----------------------------------------------------------------------------------------

let live = of("[data-live]").length > 0;
let asking = false;

function keepWhatSomebodyDid(old, fresh) {
  const opened = of("details", old).map((one) => one.open);
  of("details", fresh).forEach((one, at) => { one.open = opened[at] ?? one.open; });
  const ticked = new Set(of("input:checked", old).map((one) => `${one.name}=${one.value}`));
  for (const box of of("input[type=checkbox]", fresh)) box.checked = ticked.has(`${box.name}=${box.value}`);
}

async function refresh() {
  if (!live || asking || document.hidden) return;
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { "X-Relay-Live": "1" }, credentials: "same-origin", redirect: "error" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    ahead = Number(page.body.dataset.now) - Date.now() / 1000;
    for (const old of of("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (!fresh || fresh.innerHTML === old.dataset.was || old.contains(document.activeElement) || old.matches(":hover [data-chart]")) continue;
      const was = fresh.innerHTML;
      keepWhatSomebodyDid(old, fresh);
      old.replaceChildren(...fresh.childNodes);
      old.dataset.was = was;
      tellTimes(old);
    }
    document.documentElement.classList.toggle("out-of-touch", !answer.ok);
  } catch {
    document.documentElement.classList.add("out-of-touch");
  } finally {
    asking = false;
  }
}

function offerSwitch() {
  for (const place of of("[data-live-switch]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    const tell = () => {
      button.setAttribute("aria-pressed", String(live));
      button.textContent = live ? "Live" : "Paused";
      button.title = live ? "The numbers follow; stop that" : "Follow the numbers again";
    };
    button.addEventListener("click", () => { live = !live; tell(); refresh(); });
    tell();
    place.append(button);
    place.hidden = false;
  }
}

// -- charts ---------------------------------------------------------------------------------------

document.addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.("[data-chart]");
  if (!chart) return;
  const box = chart.getBoundingClientRect();
  const groups = of("[data-values]", chart);
  const values = groups.map((group) => group.dataset.values.split(" "));
  const number = values[0].length;
  const along = (event.clientX - box.left) / box.width;
  const isOfColumns = chart.dataset.chart === "columns";
  const at = Math.max(0, Math.min(number - 1, isOfColumns ? Math.floor(along * number) : Math.round(along * (number - 1))));
  const when = new Date((Number(chart.dataset.from) + at * Number(chart.dataset.every)) * 1000);
  const words = groups.map((group, which) => `${group.dataset.name} ${values[which][at]}`);
  const hour = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  chart.parentElement.querySelector("[data-readout]").textContent = `${hour}  ·  ${words.join("  ·  ")}`;
  let hand = chart.querySelector(".hand");
  if (!hand) {
    hand = document.createElementNS("http://www.w3.org/2000/svg", "path");
    hand.setAttribute("class", "hand");
    chart.append(hand);
  }
  hand.setAttribute("d", `M${600 * (isOfColumns ? (at + .5) / number : at / (number - 1))} 0V150`);
});

// -- forms ----------------------------------------------------------------------------------------

function ask(button, form) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "asked");
  const words = document.createElement("p");
  words.id = "asked";
  const ticked = of("input[name=id]:checked", form).length;
  words.textContent = button.dataset.confirm.replace("{n}", ticked === 1 ? "1 message" : `${ticked} messages`);
  const row = document.createElement("p");
  row.className = "buttons";
  const yes = document.createElement("button");
  yes.type = "button";
  yes.className = "primary danger";
  yes.textContent = button.dataset.yes || "Yes";
  const no = document.createElement("button");
  no.type = "button";
  no.textContent = "No, leave it";
  row.append(yes, no);
  dialog.append(words, row);
  document.body.append(dialog);
  no.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { dialog.remove(); button.focus(); });
  yes.addEventListener("click", () => {
    const agreed = document.createElement("input");
    Object.assign(agreed, { type: "hidden", name: "agreed", value: "yes" });
    form.append(agreed);
    form.requestSubmit(button);
  });
  dialog.showModal();
  no.focus();
}

document.addEventListener("submit", (event) => {
  const button = event.submitter;
  const form = event.target;
  const isOfChosen = form.elements.scope === undefined || form.elements.scope.value === "chosen";
  if (button?.dataset.confirm && isOfChosen && !form.querySelector("input[name=agreed]")) {
    event.preventDefault();
    ask(button, form);
  }
});

document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.matches?.("[data-all]")) {
    for (const one of of("input[name=id]", box.form)) one.checked = box.checked;
  }
  const form = box.form;
  const counter = form?.querySelector("[data-ticked]");
  if (counter) {
    const number = of("input[name=id]:checked", form).length;
    counter.textContent = number === 1 ? "1 message chosen" : `${number} messages chosen`;
    form.classList.toggle("has-ticked", number > 0);
  }
});

for (const form of of("[data-themes]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = event.submitter.value;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `relay-theme=${chosen}; Path=/; Max-Age=${chosen ? 31536000 : 0}; SameSite=Strict${secure}`;
    if (chosen) document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
    for (const button of of("button", form)) button.setAttribute("aria-pressed", String(button === event.submitter));
  });
}

// -- the beginning ----------------------------------------------------------------------------------

document.querySelector(".pages [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
if (matchMedia("(max-width: 40rem)").matches) for (const one of of("[data-fold='']")) one.open = false;
tellTimes();
offerSwitch();
setInterval(tellTimes, 10000);
setInterval(refresh, EVERY_MS);
document.addEventListener("visibilitychange", refresh);
