// Mouse, touch, keys and controls of the page; then the page is started.
"use strict";

const $ = (name) => document.getElementById(name);
const SPIN = 0.5; // radians per second

Page.prototype.bind = function () {
  bindPointers(this, this.canvas);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("select, input[type=range], dialog *") && event.key.startsWith("Arrow");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    if (event.key === " " && event.target.matches("button")) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  document.querySelectorAll("input, select").forEach((input) => input.addEventListener("input", () => this.refresh()));
  $("time").addEventListener("input", () => { this.play(false); this.show(Number($("time").value)); });
  $("speed").value = Math.min(60, Math.max(1, Math.round(this.scene.rate)));
  $("speed").addEventListener("input", () => this.describe());
  const actions = {
    play: () => this.play(!this.playing), back: () => this.step(-1), on: () => this.step(1),
    "reset-view": () => this.reset(), whole: () => this.whole(), save: () => this.save(), "help-open": () => this.help(true),
    "help-close": () => this.help(false),
    menu: () => $("menu").setAttribute("aria-expanded", String(document.body.classList.toggle("open"))),
  };
  for (const [name, action] of Object.entries(actions)) $(name).addEventListener("click", action);
  document.querySelectorAll("[data-model]").forEach((button) => {
    button.addEventListener("click", () => this.model(Number(button.dataset.model) - this.now.model));
  });
  this.canvas.addEventListener("webglcontextlost", () => {
    tell("The graphics card has dropped this page's picture; reload the page.");
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.refresh());
  new ResizeObserver(() => this.refresh()).observe(this.canvas);
  let last = performance.now();
  const spin = (now) => {
    if (this.setting("spin")) this.turn(((now - last) / 1000) * SPIN, 0);
    last = now;
    requestAnimationFrame(spin);
  };
  requestAnimationFrame(spin);
};

// One pointer turns, with shift or another button it moves; two pointers move and zoom.
function bindPointers(page, canvas) {
  const held = new Map();
  const ratio = () => canvas.width / Math.max(canvas.clientWidth, 1);
  const spread = () => {
    const [a, b] = [...held.values()];
    return { far: Math.hypot(a[0] - b[0], a[1] - b[1]), x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2 };
  };
  canvas.addEventListener("pointerdown", (event) => {
    held.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held.has(event.pointerId)) return;
    const [x, y] = held.get(event.pointerId), before = held.size === 2 ? spread() : null;
    held.set(event.pointerId, [event.clientX, event.clientY]);
    const dx = event.clientX - x, dy = event.clientY - y;
    if (before) {
      const after = spread();
      page.pan((after.x - before.x) * ratio(), (after.y - before.y) * ratio());
      page.zoom(before.far / Math.max(after.far, 1));
    } else if (event.shiftKey || event.buttons & 6) page.pan(dx * ratio(), dy * ratio());
    else page.turn(-dx * 0.008, dy * 0.008);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => held.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    page.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.003));
  }, { passive: false });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => page.reset());
}

function tell(sentence) {
  $("problem").textContent = sentence;
  $("problem").hidden = false;
}

let page = null;
try {
  if (typeof DecompressionStream === "undefined") throw new Error("no DecompressionStream");
  page = new Page(JSON.parse($("scene").textContent), $("canvas"));
  page.ready.catch((error) => tell(`The Gaussians in this page cannot be read: ${error.message}`));
} catch (error) {
  const old = "This page needs a browser with WebGL 2 and DecompressionStream (Chrome 80, Firefox 113, Safari 16.4 or "
    + "later) and a working graphics driver; here it ended with: ";
  tell(old + error.message);
}
window.viewer = page;
