"""Style and script of `rig_page`: an orthographic view that turns under the mouse, drawn on a 2D canvas."""

STYLE = """
.rig canvas { width: 100%; height: min(70vh, 640px); display: block; background: var(--raised); border-radius: 6px;
  touch-action: none; cursor: grab; }
.rig .controls { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; margin: 12px 0 8px; }
.rig button { font: inherit; padding: 4px 14px; border: 1px solid var(--line); border-radius: 6px;
  background: var(--paper); color: var(--ink); cursor: pointer; }
.rig button[aria-pressed="true"] { background: var(--series-0); border-color: var(--series-0); color: var(--paper); }
"""

SCRIPT = r"""
(() => {
  "use strict";
  const root = document.querySelector(".rig");
  const canvas = root.querySelector("canvas"), pen = canvas.getContext("2d");
  const states = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const home = { azimuth: -0.9, elevation: 0.5, zoom: 1 };
  const view = { ...home, state: 0, rays: true, pictures: true, names: true };
  for (const state of states) for (const camera of state.cameras) {
    camera.image = new Image();
    camera.image.onload = () => draw();
    camera.image.src = camera.picture;
  }
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // A world point to [right, up, towards the viewer], in units of the farthest camera, the object in the middle.
  function turned(point) {
    const { object, reach } = states[view.state], [x, y, z] = point.map((v, i) => (v - object.center[i]) / reach);
    const ca = Math.cos(view.azimuth), sa = Math.sin(view.azimuth);
    const ce = Math.cos(view.elevation), se = Math.sin(view.elevation);
    const right = -sa * x + ca * y, ahead = ca * x + sa * y;
    return [right, ce * z - se * ahead, ce * ahead + se * z];
  }
  function size() { return view.zoom * Math.min(0.4 * canvas.clientWidth, 0.6 * canvas.clientHeight); }
  function screen(point) {
    const [right, up] = turned(point), scale = size();
    return [canvas.clientWidth / 2 + scale * right, canvas.clientHeight / 2 - scale * up];
  }
  function line(points, style, width, alpha = 1) {
    pen.globalAlpha = alpha; pen.strokeStyle = style; pen.lineWidth = width; pen.beginPath();
    points.forEach((point, i) => pen[i ? "lineTo" : "moveTo"](...screen(point)));
    pen.stroke(); pen.globalAlpha = 1;
  }
  function floor(state) {
    const { center, radius } = state.object, z = center[2] - radius;
    for (const share of [0.25, 0.5, 0.75, 1]) {
      const ring = Array.from({ length: 73 }, (_, i) => i * Math.PI / 36)
        .map((a) => [center[0] + share * state.reach * Math.cos(a), center[1] + share * state.reach * Math.sin(a), z]);
      line(ring, colour("--line"), 1);
    }
    const styles = ["#c82828", "#1e8c3c", "#2846c8"], names = ["x", "y", "z"];
    styles.forEach((style, i) => {
      const tip = [0, 0, 0];
      tip[i] = 0.25 * state.mean;
      line([[0, 0, 0], tip], style, 2);
      pen.fillStyle = style; pen.fillText(names[i], ...screen(tip));
    });
  }
  function disc(state) {
    const { center, radius } = state.object, [x, y] = screen(center);
    pen.fillStyle = "#d62878"; pen.globalAlpha = 0.25; pen.beginPath();
    pen.arc(x, y, radius * size() / state.reach, 0, 2 * Math.PI); pen.fill();
    pen.globalAlpha = 1; pen.beginPath(); pen.arc(x, y, 3, 0, 2 * Math.PI); pen.fill();
  }
  function thumbnail(camera) {
    const [a, b, , d] = camera.corners.map(screen), { width, height } = camera.image;
    if (!camera.image.complete || !width) return;
    pen.save();
    pen.transform((b[0] - a[0]) / width, (b[1] - a[1]) / width, (d[0] - a[0]) / height, (d[1] - a[1]) / height, ...a);
    pen.globalAlpha = 0.9; pen.drawImage(camera.image, 0, 0); pen.restore();
  }
  function frustum(camera) {
    const style = colour(camera.input ? "--series-0" : "--series-1"), { position, corners } = camera;
    if (view.rays) for (const end of camera.rays) line([position, end], style, 1, 0.3);
    line([position, camera.axis], style, 1, 0.8);
    if (view.pictures) thumbnail(camera);
    line([...corners, corners[0]], style, 1.5);
    for (const corner of corners) line([position, corner], style, 1.5);
    line([corners[0], corners[1]], style, 3.5);  // the picture's upper edge
    if (!view.names) return;
    const [x, y] = screen(position);
    pen.fillStyle = colour("--ink"); pen.fillText(camera.name, x + 6, y - 6);
  }
  function draw() {
    const ratio = window.devicePixelRatio || 1, state = states[view.state];
    canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = "13px system-ui, sans-serif";
    floor(state);
    const parts = state.cameras.map((camera) => [turned(camera.position)[2], () => frustum(camera)]);
    parts.push([0, () => disc(state)]);
    parts.sort((one, other) => one[0] - other[0]).forEach((part) => part[1]());
    pen.fillStyle = colour("--quiet");
    const mean = Number(state.mean.toPrecision(5));
    pen.fillText(`${state.title}: mean distance of the input cameras ${mean} ${state.unit}`, 12, 22);
  }
  function turn(right, up) {
    view.azimuth -= right;
    view.elevation = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, view.elevation + up));
    draw();
  }
  function zoom(factor) { view.zoom = Math.max(0.2, Math.min(20, view.zoom * factor)); draw(); }

  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    turn((event.clientX - held[0]) * 0.008, (event.clientY - held[1]) * 0.008);
    held = [event.clientX, event.clientY];
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { held = null; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015));
  }, { passive: false });
  canvas.addEventListener("dblclick", () => { Object.assign(view, home); draw(); });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    const zooms = { "+": 1.2, "=": 1.2, "-": 1 / 1.2 };
    if (event.key in moves) turn(...moves[event.key]); else if (event.key in zooms) zoom(zooms[event.key]); else return;
    event.preventDefault();
  });
  root.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => {
    view.state = Number(button.dataset.state);
    root.querySelectorAll("button").forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
    draw();
  }));
  root.querySelectorAll("input").forEach((box) => box.addEventListener("change", () => {
    view[box.dataset.show] = box.checked; draw();
  }));
  new ResizeObserver(draw).observe(canvas);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
"""
