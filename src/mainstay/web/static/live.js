// htmx asks for the page again and puts in what changed. Here stands when it is not asked, and what is said when it fails.
// Without either the page is the same, at rest.
"use strict";
const button = document.getElementById("pause");
let paused = false, signedOut = false;

function tell(sentence) {
  document.getElementById("told").textContent = sentence;
}

document.addEventListener("htmx:before:request", (event) => {
  if (paused || signedOut || document.hidden || !getSelection().isCollapsed) event.preventDefault();
});

document.addEventListener("htmx:before:response", (event) => {
  const { status } = event.detail.ctx.response;
  if (status === 200) return;
  event.preventDefault();
  signedOut = status === 401;
  tell(signedOut ? "You are signed out; what stands here is old. Load the page again to sign in."
    : "Mainstay cannot be reached; what stands here is old.");
});

document.addEventListener("htmx:error", () => tell("Mainstay cannot be reached; what stands here is old."));

if (document.getElementById("main").hasAttribute("data-hx-get")) {
  button.hidden = false;
  button.addEventListener("click", () => { paused = !paused; button.textContent = paused ? "Go on" : "Pause"; });
}
