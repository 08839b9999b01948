// The case page: begins the viewer, and joins it to the list of regions, the form and the neighbouring cases.

import { onKey } from "../shell/keys.js";
import { toast } from "../shell/toasts.js";
import { wordsOf } from "../shell/words.js";
import { Stage } from "./stage.js";
import { wireTools } from "./tools.js";

const data = wordsOf("case-data");
const stage = new Stage(document.getElementById("stage"), data);
wireTools(stage);
stage.begin();
wireRegions();
wireForm();
wireWay();
moveNotices();
if (data.waiting) {
  wait();
}

document.addEventListener("themechange", () => {
  stage.accent = getComputedStyle(document.body).getPropertyValue("--accent").trim();
  stage.invalidate();
});

function wireRegions() {
  const buttons = [...document.querySelectorAll("[data-region]")];
  const choose = (button) => {
    const [id, number] = button.dataset.region.split(":");
    let view = stage.views.find((one) => one.image.id === id);
    if (!view) {
      stage.enlargeImage(id);
      view = stage.views.find((one) => one.image.id === id);
    }
    stage.choose(view, Number(number), true);
  };
  for (const button of buttons) {
    button.addEventListener("click", () => choose(button));
  }
  for (const button of document.querySelectorAll("[data-enlarge]")) {
    button.addEventListener("click", () => stage.enlargeImage(button.dataset.enlarge));
  }
  stage.listeners.add(() => {
    for (const button of buttons) {
      const chosen = button.dataset.region === `${stage.chosen.id}:${stage.chosen.number}`;
      button.setAttribute("aria-pressed", String(chosen));
    }
  });
  onKey("x", () => {
    const here = buttons.findIndex((button) => button.getAttribute("aria-pressed") === "true");
    if (buttons.length) {
      choose(buttons[(here + 1) % buttons.length]);
    }
  });
}

/** Show what the server has to say of the last step in the corner, where it takes no room from the pictures. */
function moveNotices() {
  for (const notice of document.querySelectorAll("#main > .notice:not(.arrived)")) {
    toast(notice.textContent.trim(), notice.classList.contains("notice-error") ? "error" : "info");
    notice.remove();
  }
}

/** Whether the form holds something that is not saved. */
function written() {
  const form = document.getElementById("assessment-form");
  return Boolean(form && [...new FormData(form)].some(([name, value]) => name !== "csrf_token" && value !== ""));
}

function wireForm() {
  const form = document.getElementById("assessment-form");
  let sending = false;
  form?.addEventListener("submit", () => {
    sending = true;
  });
  window.addEventListener("beforeunload", (event) => {
    if (!sending && written()) {
      event.preventDefault();
    }
  });
  onKey("a", () => {
    document.getElementById("assessment")?.scrollIntoView({ block: "nearest" });
    form?.querySelector("input[type=radio]")?.focus();
  });
}

function wireWay() {
  for (const [key, id] of [["n", "case-after"], ["p", "case-before"], ["u", "case-back"]]) {
    onKey(key, () => document.getElementById(id)?.click());
  }
}

/** Ask from time to time whether the answers have come; the page changes only while nobody has begun to work on it. */
async function wait() {
  const first = JSON.stringify(Object.entries(data.images).map(([id, image]) => [id, !image.open]));
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const answer = await fetch(data.urls.state, { credentials: "same-origin", headers: { Accept: "application/json" } }).catch(() => null);
    if (!answer) {
      continue;
    }
    if (!answer.ok) {
      return;
    }
    const { state, images } = await answer.json();
    const present = JSON.stringify(Object.keys(data.images).map((id) => [id, !["queued", "running"].includes(images[id])]));
    if (state !== "waiting" || (present !== first && !stage.seen.length)) {
      break;
    }
  }
  if (!written() && !stage.views.some((view) => view.camera.touched)) {
    location.reload();
    return;
  }
  const notice = document.getElementById("arrived");
  notice.hidden = false;
  notice.querySelector("button").addEventListener("click", () => location.reload());
}
