// Keeps every part marked `data-live` as the server would show it now. Without it the page is the same, at rest.
"use strict";
const every = Number(document.documentElement.dataset.every) * 1000;
const button = document.getElementById("pause"), told = document.getElementById("told");
let paused = false;

function swap(old, fresh) {
  if (old.innerHTML === fresh.innerHTML) return;
  for (const one of old.querySelectorAll("details[open]")) fresh.querySelector("#" + CSS.escape(one.id))?.setAttribute("open", "");
  const held = old.contains(document.activeElement) ? document.activeElement.id : "";
  old.replaceChildren(...fresh.childNodes);
  if (held) document.getElementById(held)?.focus({ preventScroll: true });
}

async function look() {
  if (paused || document.hidden || !getSelection().isCollapsed) return true;
  const reply = await fetch(location.href, { headers: { "X-Mainstay-Live": "1" }, redirect: "error" });
  if (reply.status === 401) {
    told.textContent = "You are signed out; what stands here is old. Load the page again to sign in.";
    return false;
  }
  if (!reply.ok) throw new Error();
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    swap(old, page.getElementById(old.id) ?? old);
  }
  told.textContent = "";
  return true;
}

function later() {
  setTimeout(() => look().catch(() => { told.textContent = "Mainstay cannot be reached; what stands here is old."; return true; })
    .then((goes) => { if (goes) later(); }), every);
}

if (every) {
  button.hidden = false;
  button.addEventListener("click", () => { paused = !paused; button.textContent = paused ? "Go on" : "Pause"; });
  later();
}
